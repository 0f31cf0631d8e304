package gobgp_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/bgp/bgptest"
	"metallb.io/operator/internal/bgp/gobgp"
	"metallb.io/operator/internal/bgp/tcp"
	"metallb.io/operator/internal/l2/l2test"
)

// listen has the peer open connections to the router's session.
func listen(t *testing.T, r *gobgp.Router, p bgp.Peer) {
	t.Helper()
	l := tcp.New(179, func(name string, c net.Conn) { _ = r.Accept(name, c) }, slog.New(slog.DiscardHandler))
	t.Cleanup(l.Close)
	if err := l.Sync([]bgp.Peer{p}); err != nil {
		t.Fatal(err)
	}
}

func passive(p *bgp.Peer) { p.Passive = true }

// TestRoutersThatOpenFirst has FRR open the connection to a session that waits for it.
func TestRoutersThatOpenFirst(t *testing.T) {
	for name, tt := range map[string]struct {
		frr  []string
		peer bgp.Peer
		path string
	}{
		"over IPv4": {[]string{"192.0.2.1 remote-as 64512"}, peer("192.0.2.2", passive), "203.0.113.1/32"},
		"over IPv6": {[]string{"2001:db8::1 remote-as 64512"}, peer("2001:db8::2", passive), "2001:db8:1::1/128"},
		"with a password": {[]string{"192.0.2.1 remote-as 64512", "192.0.2.1 password pass-word"},
			peer("192.0.2.2", passive, func(p *bgp.Peer) { p.Password = "pass-word" }), "203.0.113.1/32"},
		"over more than one hop": {[]string{"192.0.2.1 remote-as 64512", "192.0.2.1 ebgp-multihop 5", "192.0.2.1 update-source 198.51.100.2"},
			peer("198.51.100.2", passive, func(p *bgp.Peer) { p.MultiHop = true }), "203.0.113.1/32"},
	} {
		t.Run(name, func(t *testing.T) {
			h := lan(t, "/usr/lib/frr/bgpd", "vtysh")
			f := bgptest.StartFRR(t, h, frr(64513, append(tt.frr, strings.Fields(tt.frr[0])[0]+" timers connect 1")...))
			r := router(t)
			set(t, r, tt.peer)
			listen(t, r, tt.peer)
			announce(t, r, path(tt.path))
			established(t, r)
			l2test.Eventually(t, soon, "FRR has the route", func() bool {
				return f.Routes(t, "ipv4")[tt.path].Valid || f.Routes(t, "ipv6")[tt.path].Valid
			})
		})
	}
}

// TestCollisions has both ends open connections at once, again and again, with the greater identifier at either end (RFC 4271,
// section 6.8). In the end there is one, and the session.
func TestCollisions(t *testing.T) {
	for name, id := range map[string]string{"the router's identifier is greater": "192.0.2.1", "ours is greater": "192.0.2.200"} {
		t.Run(name, func(t *testing.T) {
			h := lan(t, "/usr/lib/frr/bgpd", "vtysh", "ss")
			f := bgptest.StartFRR(t, h, frr(64513, "192.0.2.1 remote-as 64512", "192.0.2.1 timers connect 1"))
			p := peer("192.0.2.2")
			p.RouterID = netip.MustParseAddr(id)
			for i := range 10 {
				f.Ask(t, "clear bgp *") // it connects within a second or so
				time.Sleep(time.Duration(i) * 150 * time.Millisecond)
				r := gobgp.New(slog.New(slog.DiscardHandler))
				l := tcp.New(179, func(name string, c net.Conn) { _ = r.Accept(name, c) }, slog.New(slog.DiscardHandler))
				set(t, r, p)
				if err := l.Sync([]bgp.Peer{p}); err != nil {
					t.Fatal(err)
				}
				announce(t, r, path("203.0.113.1/32"))
				since := established(t, r).Since
				l2test.Eventually(t, soon, "FRR has the route, and one connection is left", func() bool {
					out, _ := h.Run("ss -Htn state established ( sport = :179 or dport = :179 )")
					return f.Routes(t, "ipv4")["203.0.113.1/32"].Valid && strings.Count(out, "192.0.2.1") == 1
				})
				if s := established(t, r); s.Since != since {
					t.Errorf("an Established session was given up: %+v", s)
				}
				l.Close()
				r.Close()
			}
		})
	}
}

// TestBIRDOpensFirst has BIRD open the connection while this end would, too.
func TestBIRDOpensFirst(t *testing.T) {
	h := lan(t, "bird", "birdc")
	dir := t.TempDir()
	config := `router id 192.0.2.2;
protocol device {}
protocol bgp speaker { local 192.0.2.2 as 64513; neighbor 192.0.2.1 as 64512; password "pass-word"; connect delay time 1; connect retry time 1;
 ipv4 { import all; export none; }; }
`
	if err := os.WriteFile(dir+"/bird.conf", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	h.Start(t, fmt.Sprintf("bird -f -c %[1]s/bird.conf -s %[1]s/bird.ctl", dir))
	for name, edit := range map[string]func(*bgp.Peer){"alone": passive, "as this end does": func(*bgp.Peer) {}} {
		t.Run(name, func(t *testing.T) {
			p := peer("192.0.2.2", edit, func(p *bgp.Peer) { p.Password = "pass-word" })
			r := router(t)
			set(t, r, p)
			listen(t, r, p)
			announce(t, r, path("203.0.113.1/32"))
			established(t, r)
			l2test.Eventually(t, soon, "BIRD has the route", func() bool {
				out, _ := h.Run("birdc -s " + dir + "/bird.ctl show route")
				return strings.Contains(out, "203.0.113.1/32")
			})
		})
	}
}
