package gobgp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"metallb.io/operator/internal/bgp"
)

// relay is what is between a router and the server, for one connection. It passes on what the two agree on, and none of
// the routes of the router, so that nothing a router can write into an UPDATE is ever read by the server.
type relay struct {
	peer           bgp.Peer
	router, server net.Conn
	counters       *counters

	mu     sync.Mutex // held while a message is written to the router
	broken bool       // the last one was written in part only
	once   sync.Once
	cause  error
	over   chan struct{}

	deciding  sync.Mutex
	confirmed chan struct{} // closed when the router has agreed to the session

	// Of the router's direction alone.
	opened func([]byte) error // is told of its OPEN before the server is; nil: nobody is
	heard  bool               // its OPEN
	asn    uint32             // as it says itself
	fed    time.Time          // when the server heard of it last
}

// openTimeout is how long to wait for a router's OPEN. RFC 4271, section 8.2.2 suggests four minutes, in which nobody would know
// what is wrong.
const openTimeout = 30 * time.Second

// enough is how long to wait for a router to take what is written on parting.
const enough = 200 * time.Millisecond

func newRelay(p bgp.Peer, router, server net.Conn, c *counters) *relay {
	return &relay{peer: p, router: router, server: server, counters: c, over: make(chan struct{}), confirmed: make(chan struct{})}
}

// run passes messages on until the connection ends, and says why it did.
func (r *relay) run() error {
	var both sync.WaitGroup
	both.Go(func() { r.fail(r.fromServer()) })
	both.Go(func() { r.fail(r.fromRouter()) })
	both.Wait()
	return r.cause
}

// fail notes the first cause, and ends both directions.
func (r *relay) fail(cause error) {
	r.once.Do(func() {
		r.cause = cause
		close(r.over)
	})
	_ = r.router.Close()
	_ = r.server.Close()
}

// end parts from the router, with a notification if it has a code, at once.
func (r *relay) end(why bgp.Notification, cause error) {
	r.once.Do(func() {
		r.cause = cause
		close(r.over)
	})
	if why.Code != 0 {
		_ = r.router.SetWriteDeadline(time.Now().Add(enough))
		_ = r.tell(notification, compose(notification, why.Code, why.Subcode))
	}
	_ = r.router.Close()
	_ = r.server.Close()
}

// giveWay parts from the router because another connection is to be used, unless it has agreed to the session on this one; then it
// returns false.
func (r *relay) giveWay() bool {
	r.deciding.Lock()
	defer r.deciding.Unlock()
	if ended(r.confirmed) {
		return false
	}
	r.end(collision, errCollision)
	return true
}

// confirm notes that the router has agreed to the session.
func (r *relay) confirm() error {
	r.deciding.Lock()
	defer r.deciding.Unlock()
	if r.ended() {
		return net.ErrClosed
	}
	if !ended(r.confirmed) {
		close(r.confirmed)
	}
	return nil
}

// tell writes a message to the router.
func (r *relay) tell(kind byte, message []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken {
		return net.ErrClosed
	}
	n, err := r.router.Write(message)
	r.broken = err != nil && n > 0
	if err == nil {
		r.counters.sent[kind].Add(1)
	}
	return err
}

// fromServer passes on what the server says.
func (r *relay) fromServer() error {
	buf := make([]byte, longestMessage)
	for {
		m, kind, err := read(r.server, buf)
		if err != nil {
			return fmt.Errorf("this end closed the connection: %w", err)
		}
		if r.ended() {
			return net.ErrClosed // there has been a last word already
		}
		if kind == open && r.peer.HoldTime == 0 {
			neverExpire(m)
		}
		if err := r.tell(kind, m); err != nil {
			return r.lost(err)
		}
		if kind == notification {
			return r.refused(m)
		}
	}
}

func (r *relay) ended() bool { return ended(r.over) }

// fromRouter passes on what the router says, but its routes.
func (r *relay) fromRouter() error {
	buf := make([]byte, longestMessage)
	_ = r.router.SetReadDeadline(time.Now().Add(openTimeout))
	for {
		m, kind, err := read(r.router, buf)
		if err != nil {
			var bad malformed
			if errors.As(err, &bad) {
				_ = r.router.SetWriteDeadline(time.Now().Add(enough))
				_ = r.tell(notification, compose(notification, bad.Code, bad.Subcode))
				return fmt.Errorf("peer %s sent something that is not BGP: %s", r.peer.Address, bad.Notification)
			}
			return r.lost(err)
		}
		r.counters.received[kind].Add(1)
		switch kind {
		case open:
			r.heard, r.asn = true, asnOf(m)
			_ = r.router.SetReadDeadline(time.Time{}) // the hold timer sees to that
			if r.opened != nil {
				if err := r.opened(m); err != nil {
					return err
				}
			}
			if r.peer.HoldTime == 0 {
				neverExpire(m)
			}
		case keepalive:
			if err := r.confirm(); err != nil {
				return err
			}
		case notification:
			_, _ = r.server.Write(m)
			return r.answered(m)
		case update:
			if endOfRIB(m) {
				break
			}
			// A router need not send a KEEPALIVE beside an UPDATE (RFC 4271, section 4.4).
			if time.Since(r.fed) < time.Second {
				continue
			}
			m = compose(keepalive)
		}
		r.fed = time.Now()
		if _, err := r.server.Write(m); err != nil {
			return fmt.Errorf("this end closed the connection: %w", err)
		}
	}
}

// answered is a notification of the router in words.
func (r *relay) answered(m []byte) error {
	n, _ := notificationOf(m)
	if n == collision {
		return fmt.Errorf("peer %s answered: %s: %w", r.peer.Address, described(m), errCollision)
	}
	if n.Code == 2 && n.Subcode == 2 {
		return fmt.Errorf("peer %s answered: %s, we sent %d", r.peer.Address, described(m), r.peer.LocalASN)
	}
	return fmt.Errorf("peer %s answered: %s", r.peer.Address, described(m))
}

// refused is a notification of this end in words.
func (r *relay) refused(m []byte) error {
	n, _ := notificationOf(m)
	switch {
	case n.Code == 2 && n.Subcode == 2 && r.peer.ASN != 0:
		return fmt.Errorf("peer %s says that it has AS number %d, and %d is configured", r.peer.Address, r.asn, r.peer.ASN)
	case n.Code == 2 && n.Subcode == 3:
		return fmt.Errorf("peer %s has the router ID of this end, %s", r.peer.Address, r.peer.RouterID)
	case n.Code == 4:
		return fmt.Errorf("nothing came from peer %s for the hold time", r.peer.Address)
	}
	return fmt.Errorf("we ended the session with peer %s: %s", r.peer.Address, described(m))
}

// lost is the end of the connection in words.
func (r *relay) lost(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && !r.heard:
		return fmt.Errorf("peer %s took the connection and has said nothing for %v%s", r.peer.Address, openTimeout, unheard(r.peer))
	case errors.Is(err, io.EOF) && !r.heard:
		return fmt.Errorf("peer %s closed the connection before it said anything: it may not know this node's address, %s", r.peer.Address, address(r.router.LocalAddr()))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("peer %s closed the connection", r.peer.Address)
	}
	return fmt.Errorf("the connection to peer %s is lost: %w", r.peer.Address, inWords(err, r.peer))
}

func address(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}
