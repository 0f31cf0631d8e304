package gobgp

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"metallb.io/operator/internal/bgp"
)

// errCollision ends the one of two connections to a router that is not to stay.
var errCollision = errors.New("each end has opened a connection, and the other one is used")

// collision is said on the one that is not to stay (RFC 4486).
var collision = bgp.Notification{Code: bgp.Cease, Subcode: 7}

const (
	// openPatience is how long a router may take to say OPEN on a connection that it has opened beside another one.
	openPatience = 10 * time.Second
	// settling is how long to wait for a router to decide between the two by itself. That it goes on with the first
	// one shows by its KEEPALIVE, which may be on its way.
	settling = time.Second
)

// Accept gives a session a connection that its peer has opened. It takes the connection over, also where it returns an error.
func (r *Router) Accept(peer string, c net.Conn) error {
	s, err := r.session(peer)
	if err != nil {
		return errors.Join(err, c.Close())
	}
	s.calls.put(&call{c, bufio.NewReader(c)})
	return nil
}

// call is a connection that a router has opened, of which the first message can be looked at before it is read.
type call struct {
	net.Conn
	buffer *bufio.Reader
}

func (c *call) Read(b []byte) (int, error) { return c.buffer.Read(b) }

// refuse says why there is no session on a connection, and closes it.
func (c *call) refuse(why bgp.Notification) {
	_ = c.SetWriteDeadline(time.Now().Add(enough))
	_, _ = c.Write(compose(notification, why.Code, why.Subcode))
	_ = c.Close()
}

// open waits for the OPEN until the deadline for reading. It is read again later.
func (c *call) open() ([]byte, error) {
	header, err := c.buffer.Peek(headerLength)
	if err != nil {
		return nil, err
	}
	least, most := lengths(open)
	n := int(binary.BigEndian.Uint16(header[16:]))
	if header[18] != open || n < least || n > most {
		return nil, malformed{bgp.Notification{Code: 5, Subcode: 1}}
	}
	return c.buffer.Peek(n)
}

// calls keeps the latest connection that a router has opened until it is used.
type calls struct {
	came chan struct{} // size 1: there may be one

	mu     sync.Mutex
	latest *call
	closed bool
}

func newCalls() *calls { return &calls{came: make(chan struct{}, 1)} }

// put takes a connection in the place of one before it: a router that opens another one has given that up.
func (q *calls) put(c *call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.latest != nil {
		_ = q.latest.Close()
		q.latest = nil
	}
	if q.closed {
		_ = c.Close()
		return
	}
	q.latest = c
	select {
	case q.came <- struct{}{}:
	default:
	}
}

// putBack is put for one that was taken, unless there is a later one.
func (q *calls) putBack(c *call) {
	q.mu.Lock()
	later := q.latest != nil
	q.mu.Unlock()
	if later {
		_ = c.Close()
		return
	}
	q.put(c)
}

func (q *calls) waiting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.latest != nil
}

// take returns the connection; nil: there is none.
func (q *calls) take() *call {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.latest
	q.latest = nil
	return c
}

// close closes what was not used, and what comes later.
func (q *calls) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if q.latest != nil {
		_ = q.latest.Close()
		q.latest = nil
	}
}

// answer returns the connection that the router has opened, ready to be used; nil: there is none that can be.
func (s *session) answer(p bgp.Peer) (net.Conn, bgp.Peer) {
	c := s.calls.take()
	if c == nil {
		return nil, p
	}
	at, err := s.locate(p)
	if err == nil && at.Interface != "" && at.Address.WithZone("") != c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().WithZone("") {
		err = errors.New("another router on the link")
	}
	if err == nil {
		err = tune(c.Conn, at)
	}
	if err != nil {
		_ = c.Close()
		return nil, p
	}
	_ = c.SetReadDeadline(time.Time{}) // collide may have set one
	return c, at
}

// tune gives a connection that was accepted what one that is dialled has from the beginning.
func tune(c net.Conn, p bgp.Peer) (err error) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return errors.New("no connection of the kernel's")
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = prepare(int(fd), p) }); e != nil {
		return e
	}
	return err
}

// call dials the router, unless that opens a connection meanwhile.
func (s *session) call(ctx context.Context, p bgp.Peer) (net.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-s.calls.came:
			cancel(errCollision)
		case <-ctx.Done():
		}
	}()
	c, err := dial(ctx, p)
	if err != nil && errors.Is(context.Cause(ctx), errCollision) {
		return nil, errCollision
	}
	return c, err
}

// collisions decides, while one connection is used, about those that the router opens, until stop is called (RFC 4271, section
// 6.8).
func (s *session) collisions(r *relay) (stop func()) {
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for !ended(over) {
			c := s.calls.take()
			if c == nil {
				select {
				case <-s.calls.came:
				case <-over:
				}
				continue
			}
			if s.collide(r, c, over) {
				s.calls.putBack(c) // it is the next
				return
			}
		}
	}()
	return func() {
		close(over)
		<-done
	}
}

// collide decides between the connection that is used and one that the router has opened. The one that the end with the greater
// BGP Identifier has opened stays; where the router has opened both, the later one. An Established session always stays. It
// returns whether the one that the router has opened is to be used.
func (s *session) collide(r *relay, c *call, over <-chan struct{}) bool {
	if ended(r.confirmed) {
		c.refuse(collision)
		return false
	}
	ours := false
	if _, accepted := r.router.(*call); !accepted {
		_ = c.SetReadDeadline(time.Now().Add(openPatience))
		reading := make(chan struct{})
		go func() {
			select {
			case <-over:
				_ = c.SetReadDeadline(time.Now()) // it is wanted now
			case <-reading:
			}
		}()
		m, err := c.open()
		close(reading)
		switch {
		case ended(over):
			return true
		case err != nil:
			_ = c.Close()
			return false
		}
		ours = greater(r.peer, m)
		select {
		case <-over:
		case <-r.confirmed:
		case <-time.After(settling):
		}
	}
	if !ended(over) && (ours || !r.giveWay()) {
		c.refuse(collision)
		return false
	}
	return true
}

func ended(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// greater reports whether this end's BGP Identifier is greater than that in an OPEN; where they are the same, the AS number
// decides (RFC 6286, section 2.3).
func greater(p bgp.Peer, m []byte) bool {
	theirs := netip.AddrFrom4([4]byte(m[headerLength+5:]))
	if c := p.RouterID.Compare(theirs); c != 0 {
		return c > 0
	}
	return p.LocalASN > asnOf(m)
}
