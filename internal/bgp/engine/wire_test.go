package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"metallb.io/operator/internal/bgp"
)

func TestFramesComeBackAsTheyWere(t *testing.T) {
	p := bgp.Peer{
		Name: "r", LocalASN: 4200000000, ASN: 64512, Address: netip.MustParseAddr("fe80::1%eth0"), Port: 179, Source: netip.MustParseAddr("fe80::2"),
		Device: "red", RouterID: netip.MustParseAddr("192.0.2.1"), HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second, ConnectTime: time.Second,
		MultiHop: true, TTLSecurityHops: 254, GracefulRestart: true, IPv4: true, IPv6: true,
	}
	paths := []bgp.Path{
		{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Preference: bgp.Preference{LocalPref: 7, MED: bgp.Metric{Set: true}, Prepend: 2}, Communities: []bgp.Community{{Parts: [3]uint32{1, 2}}, {Large: true, Parts: [3]uint32{1, 2, 3}}}},
		{Prefix: netip.MustParsePrefix("2001:db8::1/128"), Shutdown: true},
	}
	for name, q := range map[string]request{
		"set":      {Set: &peer{Peer: p, Secret: "s"}},
		"remove":   {Remove: "r"},
		"announce": {Announce: &announce{"r", paths, []netip.Prefix{netip.MustParsePrefix("2001:db8::2/128")}}},
		"reset":    {Reset: &reset{"r", bgp.Notification{Code: 6, Subcode: 10}}},
	} {
		t.Run(name, func(t *testing.T) {
			var wire bytes.Buffer
			if err := write(&wire, q); err != nil {
				t.Fatal(err)
			}
			var got request
			if err := read(&wire, &got); err != nil || !reflect.DeepEqual(got, q) {
				t.Errorf("%+v, error %v; not %+v", got, err, q)
			}
		})
	}
}

func TestFramesThatAreNone(t *testing.T) {
	length := func(n uint32, body string) []byte { return append(binary.BigEndian.AppendUint32(nil, n), body...) }
	for name, tt := range map[string]struct {
		wire []byte
		err  error // nil: any
	}{
		"nothing":                     {nil, io.EOF},
		"half a length":               {[]byte{0, 0}, io.ErrUnexpectedEOF},
		"a body that is cut off":      {length(10, "{}"), io.ErrUnexpectedEOF},
		"a promise of four gigabytes": {length(1<<32-1, "{}"), nil},
		"no JSON":                     {length(1, "{"), nil},
		"an address that is none":     {length(26, `{"Set":{"Address":"nowhere"`[:26]), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var q request
			if err := read(bytes.NewReader(tt.wire), &q); err == nil || tt.err != nil && !errors.Is(err, tt.err) {
				t.Errorf("error %v, not %v", err, tt.err)
			}
		})
	}
}

// FuzzRequest reads whatever a parent sends.
func FuzzRequest(f *testing.F) {
	for _, q := range []request{{Remove: "r"}, {Reset: &reset{Peer: "r"}}, {Set: &peer{Secret: "s"}}, {Announce: &announce{Peer: "r"}}} {
		var wire bytes.Buffer
		if err := write(&wire, q); err != nil {
			f.Fatal(err)
		}
		f.Add(wire.Bytes())
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		_ = Serve(bytes.NewReader(wire), io.Discard, idle{})
	})
}

// FuzzReport reads whatever a child says.
func FuzzReport(f *testing.F) {
	for _, r := range []report{{Reply: &reply{Error: "no"}}, {Sessions: []bgp.Session{{Peer: "r", State: bgp.Established}}}} {
		var wire bytes.Buffer
		if err := write(&wire, r); err != nil {
			f.Fatal(err)
		}
		f.Add(wire.Bytes())
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		c := &client{replies: make(chan reply, 1)}
		if err := c.take(bytes.NewReader(wire), func([]bgp.Session) {}); err == nil {
			t.Error("ended without an error")
		}
	})
}

// idle is a Router that does nothing.
type idle struct{}

func (idle) Set(bgp.Peer) error                                { return nil }
func (idle) Remove(string) error                               { return nil }
func (idle) Announce(string, []bgp.Path, []netip.Prefix) error { return nil }
func (idle) Reset(string, bgp.Notification) error              { return nil }
func (idle) Sessions() []bgp.Session                           { return nil }
func (idle) Changed() <-chan struct{}                          { return nil }
