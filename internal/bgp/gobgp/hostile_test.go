package gobgp

import (
	"bytes"
	"encoding/binary"
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

// theirOpen is the OPEN of AS 64513 with the capabilities for IPv4 unicast and AS numbers of four octets.
var theirOpen = compose(open, 4, 0xfc, 1, 0, 90, 127, 0, 0, 2, 16, 2, 14, 1, 4, 0, 1, 0, 1, 65, 4, 0, 0, 0xfc, 1, 2, 0)

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
	if _, err := c.Write(append(bytes.Clone(theirOpen), compose(keepalive)...)); err != nil {
		t.Fatal(err)
	}
	l2test.Eventually(t, time.Minute, "the session is Established", func() bool { return state(r, f.peer.Name) == bgp.Established })
	return c
}

// attributes makes an UPDATE of path attributes and a prefix.
func attributes(all ...[]byte) []byte {
	joined := bytes.Join(all, nil)
	body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(joined)))
	return compose(update, append(append(body, joined...), 24, 203, 0, 113)...)
}

// hostile is what breaks the rules in one way or another.
func hostile() map[string][]byte {
	origin, path, hop := []byte{0x40, 1, 1, 0}, []byte{0x40, 2, 6, 2, 1, 0, 0, 0xfc, 1}, []byte{0x40, 3, 4, 127, 0, 0, 2}
	length := func(n int, m []byte) []byte {
		m = bytes.Clone(m)
		binary.BigEndian.PutUint16(m[16:], uint16(n))
		return m
	}
	return map[string][]byte{
		"not BGP":                         []byte("GET / HTTP/1.1\r\nHost: router\r\n\r\n"),
		"zeros":                           make([]byte, 64),
		"a marker that is none":           append([]byte{1}, compose(keepalive)[1:]...),
		"type 0":                          compose(0),
		"type 77":                         compose(77, 1, 2, 3),
		"length 0":                        length(0, compose(keepalive)),
		"length 18":                       length(18, compose(keepalive)),
		"a keepalive with a body":         compose(keepalive, 1),
		"a long open":                     append(compose(open, make([]byte, 4096)...), compose(keepalive)...),
		"a short open":                    length(28, compose(open, make([]byte, 9)...)),
		"an open of version 3":            compose(open, 3, 0xfc, 1, 0, 90, 127, 0, 0, 2, 0),
		"an open with hold time 1":        compose(open, 4, 0xfc, 1, 0, 1, 127, 0, 0, 2, 0),
		"an open with router ID 0":        compose(open, 4, 0xfc, 1, 0, 90, 0, 0, 0, 0, 0),
		"an open of AS 0":                 compose(open, 4, 0, 0, 0, 90, 127, 0, 0, 2, 0),
		"an open cut off in a parameter":  compose(open, 4, 0xfc, 1, 0, 90, 127, 0, 0, 2, 10, 2, 200, 1),
		"an open cut off in a capability": compose(open, 4, 0xfc, 1, 0, 90, 127, 0, 0, 2, 4, 2, 2, 1, 200),
		"an open with extended lengths":   compose(open, 4, 0xfc, 1, 0, 90, 127, 0, 0, 2, 255, 255, 0xff, 0xff),
		"capabilities that are none":      compose(open, 4, 0xfc, 1, 0, 90, 127, 0, 0, 2, 8, 2, 6, 69, 1, 9, 64, 1, 7),
		"a second open":                   append(bytes.Clone(theirOpen), theirOpen...),
		"a short notification":            length(20, compose(notification, 6)),
		"a notification with a long text": compose(notification, append([]byte{6, 2, 255}, make([]byte, 20)...)...),
		"a notification of no code":       compose(notification, 200, 200),
		"a route refresh of no family":    compose(routeRefresh, 0xff, 0xff, 0xff, 0xff),
		"a long route refresh":            compose(routeRefresh, make([]byte, 600)...),
		"AS4_PATH before AS_PATH":         attributes(origin, []byte{0xc0, 17, 6, 2, 1, 0, 0, 0xfc, 1}, path, hop),
		"a short MP_REACH_NLRI":           attributes(origin, []byte{0x80, 14, 3, 0, 2, 1}),
		"an SRv6 prefix SID":              attributes(origin, path, hop, []byte{0xc0, 40, 6, 5, 0, 3, 0, 1, 0}),
		"attributes longer than all":      compose(update, 0, 0, 0xff, 0xff, 1, 2, 3),
		"withdrawn routes longer":         compose(update, 0xff, 0xff, 1, 2, 3),
		"a prefix of length 255":          compose(update, 0, 0, 0, 0, 255, 1, 2, 3),
		"no attribute at all":             attributes(),
		"an AS_PATH of no end":            attributes(origin, []byte{0x40, 2, 2, 2, 255}, hop),
		"an attribute of no kind":         attributes(origin, path, hop, []byte{0x00, 99, 0}),
		"half a message":                  compose(update, 0, 0, 0, 0)[:20],
		"nothing":                         nil,
	}
}

// TestTheServerSeesNothingThatBreaksTheRules has a router send all that, and looks at what comes out at the other end.
func TestTheServerSeesNothingThatBreaksTheRules(t *testing.T) {
	for name, wire := range hostile() {
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
	for name, wire := range hostile() {
		if len(wire) < headerLength || wire[18] == update || wire[18] == keepalive {
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
		body := []byte{0, 0, 0, 20, 0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfc, 1, 0x40, 3, 4, 127, 0, 0, 2}
		for j := range routes {
			n := i*routes + j
			body = append(body, 24, byte(n>>16), byte(n>>8), byte(n))
		}
		if _, err := c.Write(compose(update, body...)); err != nil {
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
