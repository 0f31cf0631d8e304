package gobgp_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/bgp/bgptest"
	"metallb.io/operator/internal/l2/l2test"
)

// cable makes a router's machine with nothing but link-local addresses on the cable between it (eth0) and this node (lan0).
func cable(t *testing.T, tools ...string) *l2test.Host {
	t.Helper()
	l2test.Require(t, tools...)
	h := l2test.NewHost(t)
	h.Connect(t, "lan0", "eth0")
	return h
}

func overInterface(p *bgp.Peer) {
	p.Address, p.Interface, p.IPv4, p.IPv6 = netip.Addr{}, "lan0", true, true
}

const unnumberedFRR = `router bgp 64513
 bgp router-id 192.0.2.2
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor eth0 interface remote-as external
 address-family ipv4 unicast
  neighbor eth0 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor eth0 activate
 exit-address-family
`

// linkLocal is the link-local address of an interface as ip shows it.
func linkLocal(t *testing.T, show func(line string) string) string {
	t.Helper()
	address := ""
	l2test.Eventually(t, soon, "there is a link-local address", func() bool {
		for f := strings.Fields(show("ip -6 -o addr show scope link -tentative")); len(f) > 1; f = f[1:] {
			if f[0] == "inet6" {
				address, _, _ = strings.Cut(f[1], "/")
			}
		}
		return address != ""
	})
	return address
}

func here(line string) string {
	f := strings.Fields(line)
	out, _ := exec.Command(f[0], f[1:]...).CombinedOutput()
	return string(out)
}

// TestUnnumberedWithFRR has each end find the other by its router advertisements, and FRR forward traffic by the routes.
func TestUnnumberedWithFRR(t *testing.T) {
	h := cable(t, "/usr/lib/frr/bgpd", "vtysh")
	f := bgptest.StartFRR(t, h, unnumberedFRR)
	r := router(t)
	set(t, r, peer("192.0.2.2", overInterface, func(p *bgp.Peer) { p.ASN = 0 }))
	announce(t, r, path("203.0.113.1/32"), path("2001:db8:1::1/128"))
	us := linkLocal(t, here)
	both := map[string]bgptest.Route{"203.0.113.1/32": {NextHop: us, Path: "64512"}, "2001:db8:1::1/128": {NextHop: us, Path: "64512"}}
	l2test.Eventually(t, soon, "FRR has both routes", func() bool { return same(f, t, both) })
	s := established(t, r)
	if !s.IPv4 || !s.IPv6 || s.Local.String() != us || s.Found.Zone() != "lan0" {
		t.Errorf("%+v", s)
	}

	t.Run("traffic takes them", func(t *testing.T) {
		for _, line := range []string{"addr add 203.0.113.1/32 dev lo", "addr add 2001:db8:1::1/128 dev lo"} {
			l2test.IP(t, line)
		}
		t.Cleanup(func() { l2test.IP(t, "addr flush dev lo scope global") })
		h.IP(t, "addr add 198.51.100.2/32 dev lo")
		h.IP(t, "addr add 2001:db8:2::2/128 dev lo")
		theirs := s.Found.WithZone("").String()
		l2test.IP(t, "route add 198.51.100.2/32 via inet6 "+theirs+" dev lan0")
		l2test.IP(t, "route add 2001:db8:2::2/128 via "+theirs+" dev lan0")
		for from, to := range map[string]string{"198.51.100.2": "203.0.113.1", "2001:db8:2::2": "2001:db8:1::1"} {
			service, err := net.Listen("tcp", net.JoinHostPort(to, "80"))
			if err != nil {
				t.Fatal(err)
			}
			defer service.Close()
			d := net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			h.Inside(t, func() error {
				l2test.Eventually(t, soon, to+" is reached", func() bool {
					c, err := d.Dial("tcp", service.Addr().String())
					if err == nil {
						_ = c.Close()
					}
					return err == nil
				})
				return nil
			})
		}
	})
	t.Run("a router with another address is found again", func(t *testing.T) {
		before := established(t, r).Found
		h.IP(t, "addr add fe80::77/64 dev eth0 nodad")
		h.IP(t, "addr del "+before.WithZone("").String()+"/64 dev eth0")
		eventually(t, r, "the session is with the other address", func(s bgp.Session) bool {
			return s.State == bgp.Established && s.Found == netip.MustParseAddr("fe80::77%lan0")
		})
		l2test.Eventually(t, soon, "FRR has both routes again", func() bool { return same(f, t, both) })
	})
	t.Run("a link that goes ends the session at once, and it comes again", func(t *testing.T) {
		h.IP(t, "link set eth0 down")
		eventually(t, r, "it is said why", func(s bgp.Session) bool { return strings.Contains(s.Error, "interface lan0 has no carrier") })
		h.IP(t, "link set eth0 up")
		established(t, r)
		l2test.Eventually(t, soon, "FRR has both routes again", func() bool { return same(f, t, both) })
	})
}

// TestAnInterfaceThatComesLater has FRR, which is there already, seen as soon as the interface is.
func TestAnInterfaceThatComesLater(t *testing.T) {
	l2test.Require(t, "/usr/lib/frr/bgpd", "vtysh")
	r := router(t)
	set(t, r, peer("192.0.2.2", overInterface))
	eventually(t, r, "it is said that it is missing", func(s bgp.Session) bool { return s.State == bgp.Active && s.Error == "this node has no interface lan0" })
	h := l2test.NewHost(t)
	f := bgptest.StartFRR(t, h, unnumberedFRR)
	h.Connect(t, "lan0", "eth0")
	established(t, r)
	announce(t, r, path("203.0.113.1/32"))
	l2test.Eventually(t, soon, "FRR has the route", func() bool { return f.Routes(t, "ipv4")["203.0.113.1/32"].Valid })
}

// TestUnnumberedWithBIRD has BIRD, which finds nobody, be found, with and without an IPv6 next hop for IPv4.
func TestUnnumberedWithBIRD(t *testing.T) {
	for name, extended := range map[string]bool{"that takes an IPv6 next hop for IPv4": true, "that does not": false} {
		t.Run(name, func(t *testing.T) {
			h := cable(t, "bird", "birdc")
			us := linkLocal(t, here)
			linkLocal(t, func(line string) string { out, _ := h.Run(line); return out })
			dir := t.TempDir()
			next := map[bool]string{true: "on", false: "off"}[extended]
			config := fmt.Sprintf(`router id 192.0.2.2;
protocol device {}
protocol radv { interface "eth0" { max ra interval 4; default lifetime 0; }; }
protocol bgp speaker { local as 64513; neighbor %s%%eth0 as 64512; passive on;
 ipv4 { import all; export none; extended next hop %s; }; ipv6 { import all; export none; }; }
`, us, next)
			if err := os.WriteFile(dir+"/bird.conf", []byte(config), 0o644); err != nil {
				t.Fatal(err)
			}
			h.Start(t, fmt.Sprintf("bird -f -c %[1]s/bird.conf -s %[1]s/bird.ctl", dir))
			r := router(t)
			set(t, r, peer("192.0.2.2", overInterface))
			announce(t, r, path("203.0.113.1/32"), path("2001:db8:1::1/128"))
			s := eventually(t, r, "the session is Established", func(s bgp.Session) bool {
				return s.State == bgp.Established && s.IPv6 && s.IPv4 == extended
			})
			if strings.Contains(s.Error, "no IPv4 address that could be the next hop, and the router takes no IPv6 one") == extended {
				t.Errorf("error %q", s.Error)
			}
			l2test.Eventually(t, soon, "BIRD has the routes", func() bool {
				out, _ := h.Run("birdc -s " + dir + "/bird.ctl show route all")
				return strings.Contains(out, "2001:db8:1::1/128") && strings.Contains(out, us) && strings.Contains(out, "203.0.113.1/32") == extended
			})
		})
	}
}
