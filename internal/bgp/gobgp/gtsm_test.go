package gobgp_test

import (
	"strings"
	"testing"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/bgp/bgptest"
	"metallb.io/operator/internal/l2/l2test"
)

func within(hops uint8) func(*bgp.Peer) { return func(p *bgp.Peer) { p.TTLSecurityHops = hops } }

// TestTTLSecurityWithFRR has a router take packets of TTL 255 only, and wants to hear none with another.
func TestTTLSecurityWithFRR(t *testing.T) {
	for name, tt := range map[string]struct {
		frr    []string
		peer   bgp.Peer
		prefix string
		want   string // of what is said of a session that cannot begin; empty: it can
	}{
		"over IPv4":                 {[]string{"192.0.2.1 remote-as 64512", "192.0.2.1 ttl-security hops 1"}, peer("192.0.2.2", within(1)), "203.0.113.1/32", ""},
		"over IPv6":                 {[]string{"2001:db8::1 remote-as 64512", "2001:db8::1 ttl-security hops 1"}, peer("2001:db8::2", within(1)), "2001:db8:1::1/128", ""},
		"from another network":      {[]string{"192.0.2.1 remote-as 64512", "192.0.2.1 ttl-security hops 2", "192.0.2.1 update-source 198.51.100.2"}, peer("198.51.100.2", within(2)), "203.0.113.1/32", ""},
		"that a router lacks":       {[]string{"192.0.2.1 remote-as 64512"}, peer("192.0.2.2", within(1)), "", "with a TTL below 255"},
		"that it lacks, over IPv6":  {[]string{"2001:db8::1 remote-as 64512"}, peer("2001:db8::2", within(1)), "", "with a TTL below 255"},
		"that both have, over iBGP": {[]string{"192.0.2.1 remote-as 64513"}, peer("192.0.2.2", within(1), func(p *bgp.Peer) { p.LocalASN = 64513 }), "203.0.113.1/32", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := bgptest.StartFRR(t, lan(t, "/usr/lib/frr/bgpd", "vtysh"), frr(64513, tt.frr...))
			r := router(t)
			set(t, r, tt.peer)
			if tt.want != "" {
				eventually(t, r, "it is said that "+tt.want, func(s bgp.Session) bool { return s.State != bgp.Established && strings.Contains(s.Error, tt.want) })
				return
			}
			announce(t, r, path(tt.prefix))
			l2test.Eventually(t, soon, "FRR has the route", func() bool {
				return f.Routes(t, "ipv4")[tt.prefix].Valid || f.Routes(t, "ipv6")[tt.prefix].Valid
			})
		})
	}
}

// TestTTLSecurityWithBIRD is the same with another router.
func TestTTLSecurityWithBIRD(t *testing.T) {
	for address, us := range map[string]string{"192.0.2.2": "192.0.2.1", "2001:db8::2": "2001:db8::1"} {
		t.Run("from "+us, func(t *testing.T) {
			b := bgptest.StartBIRD(t, lan(t, "bird", "birdc"), `router id 192.0.2.2;
protocol device {}
protocol bgp speaker { local `+address+` as 64513; neighbor `+us+` as 64512; ttl security on; passive on;
 ipv4 { import all; export none; extended next hop on; }; ipv6 { import all; export none; }; }
`)
			r := router(t)
			set(t, r, peer(address, within(1)))
			announce(t, r, path("203.0.113.1/32"), path("2001:db8:1::1/128"))
			prefix := "203.0.113.1/32"
			if strings.Contains(address, ":") {
				prefix = "2001:db8:1::1/128"
			}
			l2test.Eventually(t, soon, "BIRD has the route", func() bool { return strings.Contains(b.Ask("show route all"), prefix) })
		})
	}
}
