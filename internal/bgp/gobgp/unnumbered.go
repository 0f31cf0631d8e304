package gobgp

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"metallb.io/operator/internal/bgp"
)

// locate returns the peer with its address, which is the one that has been found where it has none of its own.
func (s *session) locate(p bgp.Peer) (bgp.Peer, error) {
	if s.link == nil {
		return p, nil
	}
	a, err := s.link.Router()
	s.found(a)
	p.Address = a
	return p, err
}

// found notes where the router is.
func (s *session) found(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.Found != a {
		s.status.Found = a
		s.router.signal()
	}
}

// pause waits before the next attempt to connect, for less if the router is found or opens a connection.
func (s *session) pause(ctx context.Context, d time.Duration) {
	var moved <-chan struct{}
	if s.link != nil {
		moved = s.link.Changed()
	}
	end := time.After(d)
	for {
		select {
		case <-ctx.Done():
			return
		case <-end:
			return
		case <-s.calls.came:
			return
		case <-moved:
			if _, err := s.link.Router(); err == nil {
				return
			}
		}
	}
}

// follow ends a connection as soon as the router is no more where it was, until stop is called.
func (s *session) follow(r *relay) (stop func()) {
	if s.link == nil {
		return func() {}
	}
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-over:
				return
			case <-s.link.Changed():
			}
			a, err := s.link.Router()
			s.found(a)
			switch {
			case err != nil:
				r.end(bgp.Notification{}, err)
			case a != r.peer.Address:
				r.end(bgp.Notification{}, fmt.Errorf("the router on interface %s has another address now, %s", r.peer.Interface, a.WithZone("")))
			}
		}
	}()
	return func() {
		close(over)
		<-done
	}
}
