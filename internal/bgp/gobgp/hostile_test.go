package gobgp

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/bgp/bgptest/hostile"
	"metallb.io/operator/internal/l2/l2test"
)

// fake is a router that a test speaks for, on a loopback address.
type fake struct {
	listener net.Listener
	peer     bgp.Peer
}

func newFake(t *testing.T) *fake {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	at := l.Addr().(*net.TCPAddr).AddrPort()
	return &fake{l, bgp.Peer{
		Name: at.String(), LocalASN: 64512, ASN: 64513, Address: at.Addr(), Port: at.Port(), RouterID: netip.MustParseAddr("192.0.2.1"),
		HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second, IPv4: true,
	}}
}

// accept takes a connection and has it closed in the end.
func (f *fake) accept(t *testing.T) net.Conn {
	t.Helper()
	c, err := f.listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() { _, _ = io.Copy(io.Discard, c) }() // what it is told does not matter
	return c
}

func state(r *Router, name string) bgp.State {
	for _, s := range r.Sessions() {
		if s.Peer == name {
			return s.State
		}
	}
	return ""
}

func (f *fake) behave(t *testing.T, r *Router) net.Conn {
	t.Helper()
	c := f.accept(t)
	if _, err := c.Write(append(hostile.Open(), hostile.Keepalive()...)); err != nil {
		t.Fatal(err)
	}
	l2test.Eventually(t, time.Minute, "the session is Established", func() bool { return state(r, f.peer.Name) == bgp.Established })
	return c
}

// TestTheServerSeesNothingThatBreaksTheRules has a router send all that, and looks at what comes out at the other end.
func TestTheServerSeesNothingThatBreaksTheRules(t *testing.T) {
	for name, wire := range hostile.Messages() {
		t.Run(name, func(t *testing.T) {
			router, near := net.Pipe()
			server, far := net.Pipe()
			r := newRelay(bgp.Peer{Address: netip.MustParseAddr("192.0.2.2"), LocalASN: 64512}, near, far, &counters{})
			ended := make(chan error, 1)
			go func() { ended <- r.run() }()
			go func() { _, _ = io.Copy(io.Discard, router) }()
			go func() {
				_, _ = router.Write(wire)
				_ = router.Close()
			}()
			for buf := make([]byte, longestMessage); ; {
				m, kind, err := read(server, buf)
				if err != nil {
					if !errors.Is(err, io.EOF) {
						t.Errorf("the server gets what is no message: %v", err)
					}
					break
				}
				if kind == update && !endOfRIB(m) {
					t.Errorf("the server gets an UPDATE: %x", m)
				}
			}
			if err := <-ended; err == nil || err.Error() == "" {
				t.Error("the relay does not say why it ended")
			}
		})
	}
}

// TestHostileRouters has a router say, in place of an OPEN, what the server does get to see, and wants to see it called again.
func TestHostileRouters(t *testing.T) {
	l2test.Require(t)
	for name, wire := range hostile.Messages() {
		if hostile.Harmless(wire) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			r := New(slog.New(slog.DiscardHandler))
			defer r.Close()
			f := newFake(t)
			if err := r.Set(f.peer); err != nil {
				t.Fatal(err)
			}
			c := f.accept(t)
			_, _ = c.Write(wire)
			l2test.Eventually(t, time.Minute, "it is said what is wrong", func() bool { return r.Sessions()[0].Error != "" })
			f.accept(t)
		})
	}
}

// TestAFloodOfRoutes has a router send a million routes: they are counted, and take no memory.
func TestAFloodOfRoutes(t *testing.T) {
	l2test.Require(t)
	r := New(slog.New(slog.DiscardHandler))
	t.Cleanup(r.Close)
	f := newFake(t)
	if err := r.Set(f.peer); err != nil {
		t.Fatal(err)
	}
	c := f.behave(t, r)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	const updates, routes = 1000, 1000
	for i := range updates {
		if _, err := c.Write(hostile.Update(i*routes, routes)); err != nil {
			t.Fatal(err)
		}
	}
	l2test.Eventually(t, time.Minute, "all are counted", func() bool { return r.Sessions()[0].Received.Updates == updates })
	if state(r, f.peer.Name) != bgp.Established {
		t.Errorf("%+v", r.Sessions()[0])
	}
	if grown := int64(heap()) - int64(before); grown > 16<<20 {
		t.Errorf("a million routes take %s", fmt.Sprintf("%d MiB", grown>>20))
	}
}
