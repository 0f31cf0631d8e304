package gobgp

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"metallb.io/operator/internal/bgp"
)

// FuzzAnnounce announces whatever a parent can want: GoBGP has the route then, with attributes that can be sent, and none
// afterwards.
func FuzzAnnounce(f *testing.F) {
	for _, peer := range []bool{true, false} {
		f.Add([]byte{192, 0, 2, 1}, uint8(32), uint32(100), []byte{0, 1, 2, 3}, peer)
		f.Add(netip.MustParseAddr("2001:db8::1").AsSlice(), uint8(64), uint32(0), bytes.Repeat([]byte{1}, 26), peer)
		f.Add(netip.MustParseAddr("::ffff:192.0.2.1").AsSlice(), uint8(128), uint32(0), []byte{}, peer)
	}
	p := bgp.Peer{Name: "router", LocalASN: 64512, ASN: 64513, RouterID: netip.MustParseAddr("192.0.2.1"), IPv4: true, IPv6: true}
	v, err := newSpeaker(p, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(v.close)
	hops := nextHops{ipv4: netip.MustParseAddr("192.0.2.1"), ipv6: netip.MustParseAddr("2001:db8::1")}
	f.Fuzz(func(t *testing.T, address []byte, bits uint8, localPref uint32, communities []byte, internal bool) {
		a, ok := netip.AddrFromSlice(address)
		prefix, err := a.Prefix(int(bits))
		if !ok || err != nil {
			return
		}
		p := p
		if internal {
			p.ASN = p.LocalASN
		}
		path := bgp.Path{Prefix: prefix}
		path.LocalPref = localPref
		for ; len(communities) >= 13; communities = communities[13:] {
			c := bgp.Community{Large: communities[12]&1 == 1}
			for i := range c.Parts {
				c.Parts[i] = binary.BigEndian.Uint32(communities[4*i:])
			}
			path.Communities = append(path.Communities, c)
		}
		if err := v.announce([]bgp.Path{path}, nil, p, hops); err != nil {
			t.Fatal(err)
		}
		if got := routes(t, v, prefix); len(got) != 1 {
			t.Fatalf("%d routes for %s", len(got), prefix)
		} else {
			sendable(t, got[0])
		}
		if err := v.announce(nil, []netip.Prefix{prefix}, p, hops); err != nil {
			t.Fatal(err)
		}
		if got := routes(t, v, prefix); len(got) != 0 {
			t.Fatalf("%s is announced still", prefix)
		}
	})
}

// routes are the paths to a prefix that the server has.
func routes(t *testing.T, v *speaker, prefix netip.Prefix) (out []*apiutil.Path) {
	t.Helper()
	request := apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: familyOf(prefix)}
	if err := v.server.ListPath(request, func(nlri packet.NLRI, paths []*apiutil.Path) {
		if nlri.String() != prefix.String() {
			t.Errorf("a route to %s, not %s", nlri, prefix)
		}
		out = append(out, paths...)
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// sendable has attributes written and read as they go over the wire.
func sendable(t *testing.T, p *apiutil.Path) {
	t.Helper()
	options := &packet.MarshallingOption{ExtendedMessage: true}
	b, err := packet.NewBGPUpdateMessage(nil, p.Attrs, nil).Serialize(options)
	if err != nil {
		return // longer than any message: GoBGP leaves it out, and says so
	}
	if _, err := packet.ParseBGPMessage(b, options); err != nil {
		t.Errorf("attributes that nobody can read: %v", err)
	}
}
