package engine

import (
	"errors"
	"io"
	"sync"
	"time"

	"metallb.io/operator/internal/bgp"
)

// Router is what the child has.
type Router interface {
	bgp.Router
	// Reset ends a session at once if it is Established.
	Reset(peer string, why bgp.Notification) error
	// Sessions says how all sessions are; Changed that one has changed.
	Sessions() []bgp.Session
	Changed() <-chan struct{}
}

// countEvery is how often the sessions are reported for the sake of their counters.
const countEvery = 5 * time.Second

// Serve does what the parent wants until that closes the pipe, which is no error.
func Serve(in io.Reader, out io.Writer, r Router) error {
	var mu sync.Mutex // of out
	say := func(what report) error {
		mu.Lock()
		defer mu.Unlock()
		return write(out, what)
	}
	over := make(chan struct{})
	var beside sync.WaitGroup
	defer beside.Wait()
	defer close(over)
	beside.Go(func() {
		tick := time.NewTicker(countEvery)
		defer tick.Stop()
		for {
			select {
			case <-r.Changed():
			case <-tick.C:
			case <-over:
				return
			}
			if sessions := r.Sessions(); len(sessions) > 0 && say(report{Sessions: sessions}) != nil {
				return
			}
		}
	})
	// A reset must not wait for paths that are being handed over.
	requests := make(chan request)
	failed := make(chan error, 1)
	beside.Go(func() {
		for q := range requests {
			if err := say(report{Reply: carryOut(r, q)}); err != nil {
				failed <- err
				for range requests { // until the reader notices
				}
			}
		}
	})
	defer close(requests)
	for {
		var q request
		switch err := read(in, &q); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if q.Reset != nil {
			_ = r.Reset(q.Reset.Peer, q.Reset.Why) // one that has gone meanwhile needs none
			continue
		}
		select {
		case requests <- q:
		case err := <-failed:
			return err
		}
	}
}

// carryOut does what a request wants.
func carryOut(r Router, q request) *reply {
	var err error
	switch {
	case q.Set != nil:
		p := q.Set.Peer
		p.Password = bgp.Password(q.Set.Secret)
		err = r.Set(p)
	case q.Announce != nil:
		err = r.Announce(q.Announce.Peer, q.Announce.Advertise, q.Announce.Withdraw)
	case q.Remove != "":
		err = r.Remove(q.Remove)
	default:
		err = errors.New("the request says nothing")
	}
	if err != nil {
		return &reply{Error: err.Error()}
	}
	return &reply{}
}
