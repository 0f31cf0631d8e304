package gobgp

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/bgp/bgptest/hostile"
)

// line is a connection of which one end says all that it has to say at once.
type line struct {
	net.Conn
	says  io.Reader
	hears bytes.Buffer
}

func (l *line) Read(b []byte) (int, error)     { return l.says.Read(b) }
func (l *line) Write(b []byte) (int, error)    { return l.hears.Write(b) }
func (*line) Close() error                     { return nil }
func (*line) SetReadDeadline(time.Time) error  { return nil }
func (*line) SetWriteDeadline(time.Time) error { return nil }
func (*line) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 50000} }

// FuzzRelay has a router say whatever it likes: what the server hears of it are whole messages, and no route.
func FuzzRelay(f *testing.F) {
	routes := compose(update, 0, 4, 24, 192, 0, 2, 0, 0)
	for _, seed := range [][]byte{
		hostile.Open(), compose(keepalive), compose(notification, 6, 2), compose(update, 0, 0, 0, 0), routes, compose(routeRefresh, 0, 1, 0, 1),
		bytes.Join([][]byte{hostile.Open(), compose(keepalive), routes, routes, compose(update, 0, 0, 0, 0), compose(77)}, nil),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		router, server := &line{says: bytes.NewReader(wire)}, &line{}
		r := newRelay(bgp.Peer{Address: netip.MustParseAddr("192.0.2.2")}, router, server, &counters{})
		if err := r.fromRouter(); err == nil {
			t.Error("ended without a reason")
		}
		for buf := make([]byte, longestMessage); server.hears.Len() > 0; {
			m, kind, err := read(&server.hears, buf)
			if err != nil {
				t.Fatalf("the server hears what is no message: %v", err)
			}
			if kind == update && !endOfRIB(m) {
				t.Errorf("the server hears of a route: %x", m)
			}
		}
	})
}
