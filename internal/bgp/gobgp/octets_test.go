package gobgp_test

import (
	"strings"
	"testing"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/bgp/bgptest"
	"metallb.io/operator/internal/l2/l2test"
)

// TestRoutersOfTwoOctets has routers that do not know AS numbers of four octets (RFC 6793): they see AS_TRANS in our place, and
// put the path together of AS_PATH and AS4_PATH, as far as they do that.
func TestRoutersOfTwoOctets(t *testing.T) {
	for name, tt := range map[string]struct {
		asn     uint32
		prepend int
		path    string
	}{
		"an AS number of four octets":              {4200000001, 0, "4200000001"},
		"an AS number of four octets, three times": {4200000001, 2, "4200000001 4200000001 4200000001"},
		"an AS number of two octets":               {64512, 1, "64512 64512"},
	} {
		us := func(p *bgp.Peer) { p.LocalASN = tt.asn }
		t.Run("BIRD, "+name, func(t *testing.T) {
			b := bgptest.StartBIRD(t, lan(t, "bird", "birdc"), `router id 192.0.2.2;
protocol device {}
protocol bgp speaker { local 192.0.2.2 as 64513; neighbor 192.0.2.1 external; enable as4 off; passive on; ipv4 { import all; export none; }; }
`)
			r := router(t)
			set(t, r, peer("192.0.2.2", us))
			announce(t, r, path("203.0.113.1/32", preferred(0, tt.prepend)))
			l2test.Eventually(t, soon, "BIRD has the route", func() bool { return strings.Contains(b.Ask("show route all"), "203.0.113.1/32") })
			if out := b.Ask("show route all"); !strings.Contains(out, "BGP.as_path: "+tt.path+"\n") {
				t.Errorf("no path %s in %s", tt.path, out)
			}
		})
	}
	t.Run("FRR, without any capability", func(t *testing.T) {
		f := bgptest.StartFRR(t, lan(t, "/usr/lib/frr/bgpd", "vtysh"), frr(64513, "192.0.2.1 remote-as 4200000001", "192.0.2.1 dont-capability-negotiate"))
		r := router(t)
		set(t, r, peer("192.0.2.2", func(p *bgp.Peer) { p.LocalASN, p.IPv6 = 4200000001, true }))
		announce(t, r, path("203.0.113.1/32", preferred(0, 1)), path("2001:db8:1::1/128"))
		l2test.Eventually(t, soon, "FRR has the route", func() bool { return f.Routes(t, "ipv4")["203.0.113.1/32"].Valid })
		// It has heard that we know four octets, and so does not look into AS4_PATH.
		if got := f.Routes(t, "ipv4")["203.0.113.1/32"].Path; got != "23456 23456" {
			t.Errorf("path %q", got)
		}
		if s := established(t, r); !s.IPv4 || s.IPv6 {
			t.Errorf("families of a router that says none: %+v", s)
		}
	})
}
