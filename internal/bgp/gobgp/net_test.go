package gobgp_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/bgp/bgptest"
	"metallb.io/operator/internal/bgp/gobgp"
	"metallb.io/operator/internal/l2/l2test"
)

// soon is far more than anything takes; a busy machine is no failure.
const soon = 60 * time.Second

func TestMain(m *testing.M) {
	// GoBGP empties the queue of a neighbour that is deleted without waiting, so what is put into it just then stays, with the
	// goroutine behind it.
	l2test.Main(m, (*testing.M).Run, goleak.IgnoreTopFunction("github.com/eapache/channels.(*InfiniteChannel).infiniteBuffer"))
}

// lan makes this node (192.0.2.1, 2001:db8::1, in the test's namespace) and a router's machine (192.0.2.2, 2001:db8::2; behind
// it, on its loopback interface, 198.51.100.2).
func lan(t *testing.T, tools ...string) *l2test.Host {
	t.Helper()
	l2test.Require(t, tools...)
	h := l2test.NewHost(t)
	h.Connect(t, "lan0", "eth0")
	for _, line := range []string{"addr add 192.0.2.1/24 dev lan0", "addr add 192.0.2.11/24 dev lan0", "addr add 2001:db8::1/64 dev lan0 nodad", "route add 198.51.100.2 via 192.0.2.2"} {
		l2test.IP(t, line)
	}
	for _, line := range []string{"addr add 192.0.2.2/24 dev eth0", "addr add 2001:db8::2/64 dev eth0 nodad", "addr add 198.51.100.2/32 dev lo"} {
		h.IP(t, line)
	}
	return h
}

func router(t *testing.T) *gobgp.Router {
	t.Helper()
	out := io.Discard
	if os.Getenv("METALLB_TEST_VERBOSE") != "" {
		out = os.Stderr
	}
	// All is logged, even to nobody: the lock of the handler orders GoBGP's goroutines for the race detector. Its StopBgp writes
	// what its handleOpen has read, and nothing else may lie between the two.
	r := gobgp.New(slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(r.Close)
	return r
}

// peer is one of AS 64513 at an address.
func peer(address string, edit ...func(*bgp.Peer)) bgp.Peer {
	a := netip.MustParseAddr(address)
	p := bgp.Peer{
		Name: "router", LocalASN: 64512, ASN: 64513, Address: a, Port: 179, RouterID: netip.MustParseAddr("192.0.2.1"),
		HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second, IPv4: a.Is4(), IPv6: a.Is6(),
	}
	for _, e := range edit {
		e(&p)
	}
	return p
}

func path(prefix string, edit ...func(*bgp.Path)) bgp.Path {
	p := bgp.Path{Prefix: netip.MustParsePrefix(prefix)}
	for _, e := range edit {
		e(&p)
	}
	return p
}

func set(t *testing.T, r *gobgp.Router, p bgp.Peer) {
	t.Helper()
	if err := r.Set(p); err != nil {
		t.Fatal(err)
	}
}

func announce(t *testing.T, r *gobgp.Router, paths ...bgp.Path) {
	t.Helper()
	if err := r.Announce("router", paths, nil); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until the session is so, and returns it.
func eventually(t *testing.T, r *gobgp.Router, what string, ok func(bgp.Session) bool) bgp.Session {
	t.Helper()
	var last bgp.Session
	defer func() {
		if t.Failed() {
			t.Logf("%+v", last)
		}
	}()
	l2test.Eventually(t, soon, what, func() bool {
		for _, last = range r.Sessions() {
			if ok(last) {
				return true
			}
		}
		return false
	})
	return last
}

func established(t *testing.T, r *gobgp.Router) bgp.Session {
	t.Helper()
	return eventually(t, r, "the session is Established", func(s bgp.Session) bool { return s.State == bgp.Established })
}

// frr is a router's configuration. What is in it for a neighbour begins with its address.
func frr(asn int, neighbours ...string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "router bgp %d\n bgp router-id 192.0.2.2\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n no bgp network import-check\n", asn)
	for _, n := range neighbours {
		fmt.Fprintf(&out, " neighbor %s\n", n)
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(&out, " address-family %s unicast\n", family)
		seen := map[string]bool{}
		for _, n := range neighbours {
			if address, _, _ := strings.Cut(n, " "); !seen[address] && (strings.Contains(address, ":") == (family == "ipv6") || strings.Contains(n, "interface both")) {
				seen[address] = true
				fmt.Fprintf(&out, "  neighbor %s activate\n", address)
			}
		}
		out.WriteString(" exit-address-family\n")
	}
	return out.String()
}

func going(p *bgp.Path) { p.Shutdown = true }

func preferred(med uint32, prepend int) func(*bgp.Path) {
	return func(p *bgp.Path) { p.MED, p.Prepend = bgp.Metric{Set: true, Value: med}, prepend }
}

var noExport = bgp.Community{Parts: [3]uint32{65535, 65281}}

// TestWithFRR has FRR be the judge of what is announced, for each kind of session.
func TestWithFRR(t *testing.T) {
	both := func(p *bgp.Peer) { p.IPv4, p.IPv6 = true, true }
	for name, tt := range map[string]struct {
		frr    []string // besides the AS number
		asn    int
		peer   bgp.Peer
		us     string // as FRR sees us
		paths  []bgp.Path
		routes map[string]bgptest.Route
		check  func(*testing.T, *bgptest.FRR, bgptest.Neighbour)
	}{
		"eBGP over IPv4": {
			frr: []string{"192.0.2.1 remote-as 64512"}, peer: peer("192.0.2.2"),
			paths:  []bgp.Path{path("203.0.113.1/32"), path("203.0.113.128/25", func(p *bgp.Path) { p.LocalPref = 200 })},
			routes: map[string]bgptest.Route{"203.0.113.1/32": {NextHop: "192.0.2.1", Path: "64512"}, "203.0.113.128/25": {NextHop: "192.0.2.1", Path: "64512"}},
			check: func(t *testing.T, _ *bgptest.FRR, n bgptest.Neighbour) {
				if n.HoldTime != 90000 || n.Keepalive != 30000 || n.RemoteRouterID != "192.0.2.1" {
					t.Errorf("%+v", n)
				}
			},
		},
		"iBGP with LOCAL_PREF": {
			frr: []string{"192.0.2.1 remote-as 64513"}, peer: peer("192.0.2.2", func(p *bgp.Peer) { p.LocalASN = 64513 }),
			paths:  []bgp.Path{path("203.0.113.1/32"), path("203.0.113.2/32", func(p *bgp.Path) { p.LocalPref = 200 })},
			routes: map[string]bgptest.Route{"203.0.113.1/32": {NextHop: "192.0.2.1", LocalPref: 100}, "203.0.113.2/32": {NextHop: "192.0.2.1", LocalPref: 200}},
		},
		"MED, and a longer AS path": {
			frr: []string{"192.0.2.1 remote-as 64512"}, peer: peer("192.0.2.2"),
			paths:  []bgp.Path{path("203.0.113.1/32", preferred(50, 2)), path("203.0.113.2/32", preferred(0, 0))},
			routes: map[string]bgptest.Route{"203.0.113.1/32": {NextHop: "192.0.2.1", Path: "64512 64512 64512", MED: 50}, "203.0.113.2/32": {NextHop: "192.0.2.1", Path: "64512"}},
		},
		"MED, and a longer AS path, over IPv6": {
			frr: []string{"2001:db8::1 remote-as 64512"}, peer: peer("2001:db8::2"), us: "2001:db8::1",
			paths:  []bgp.Path{path("2001:db8:1::1/128", preferred(50, 2))},
			routes: map[string]bgptest.Route{"2001:db8:1::1/128": {NextHop: "2001:db8::1", Path: "64512 64512 64512", MED: 50}},
		},
		"MED over iBGP, where the AS path stays empty": {
			frr: []string{"192.0.2.1 remote-as 64513", "192.0.2.1 description interface both"}, peer: peer("192.0.2.2", both, func(p *bgp.Peer) { p.LocalASN = 64513 }),
			paths:  []bgp.Path{path("203.0.113.1/32", preferred(50, 2)), path("2001:db8:1::1/128", preferred(50, 2))},
			routes: map[string]bgptest.Route{"203.0.113.1/32": {NextHop: "192.0.2.1", LocalPref: 100, MED: 50}, "2001:db8:1::1/128": {NextHop: "2001:db8::1", LocalPref: 100, MED: 50}},
		},
		"graceful shutdown": {
			frr: []string{"192.0.2.1 remote-as 64512"}, peer: peer("192.0.2.2"),
			paths:  []bgp.Path{path("203.0.113.1/32", going, func(p *bgp.Path) { p.Communities = []bgp.Community{{Parts: [3]uint32{64512, 100}}} })},
			routes: map[string]bgptest.Route{"203.0.113.1/32": {NextHop: "192.0.2.1", Path: "64512"}},
			check: func(t *testing.T, f *bgptest.FRR, _ bgptest.Neighbour) {
				if plain, _ := f.Communities(t, "ipv4", "203.0.113.1/32"); plain != "64512:100 graceful-shutdown" {
					t.Errorf("communities %q", plain)
				}
			},
		},
		"graceful shutdown over iBGP, with LOCAL_PREF 0": {
			frr: []string{"2001:db8::1 remote-as 64513"}, peer: peer("2001:db8::2", func(p *bgp.Peer) { p.LocalASN = 64513 }), us: "2001:db8::1",
			paths:  []bgp.Path{path("2001:db8:1::1/128", going, func(p *bgp.Path) { p.LocalPref = 200 }), path("2001:db8:1::2/128")},
			routes: map[string]bgptest.Route{"2001:db8:1::1/128": {NextHop: "2001:db8::1"}, "2001:db8:1::2/128": {NextHop: "2001:db8::1", LocalPref: 100}},
			check: func(t *testing.T, f *bgptest.FRR, _ bgptest.Neighbour) {
				const prefix = "2001:db8:1::1/128"
				if plain, _ := f.Communities(t, "ipv6", prefix); plain != "graceful-shutdown" || f.Routes(t, "ipv6")[prefix].LocalPref != 0 {
					t.Errorf("communities %q, LOCAL_PREF %d", plain, f.Routes(t, "ipv6")[prefix].LocalPref)
				}
			},
		},
		"AS numbers of four octets, other times, another router ID": {
			frr: []string{"192.0.2.1 remote-as 4200000001"}, asn: 4200000002,
			peer: peer("192.0.2.2", func(p *bgp.Peer) {
				p.LocalASN, p.ASN, p.HoldTime, p.KeepaliveTime, p.RouterID = 4200000001, 4200000002, 9*time.Second, 3*time.Second, netip.MustParseAddr("10.9.8.7")
			}),
			paths:  []bgp.Path{path("203.0.113.1/32")},
			routes: map[string]bgptest.Route{"203.0.113.1/32": {NextHop: "192.0.2.1", Path: "4200000001"}},
			check: func(t *testing.T, _ *bgptest.FRR, n bgptest.Neighbour) {
				if n.HoldTime != 9000 || n.RemoteRouterID != "10.9.8.7" || n.RemoteAS != 4200000001 {
					t.Errorf("%+v", n)
				}
			},
		},
		"no hold time": {
			frr: []string{"192.0.2.1 remote-as 64512"}, peer: peer("192.0.2.2", func(p *bgp.Peer) { p.HoldTime, p.KeepaliveTime = 0, 0 }),
			paths:  []bgp.Path{path("203.0.113.1/32")},
			routes: map[string]bgptest.Route{"203.0.113.1/32": {NextHop: "192.0.2.1", Path: "64512"}},
			check: func(t *testing.T, _ *bgptest.FRR, n bgptest.Neighbour) {
				if n.HoldTime != 0 || n.Keepalive != 0 {
					t.Errorf("%+v", n)
				}
			},
		},
		"any AS but ours": {
			frr: []string{"192.0.2.1 remote-as 64512"}, peer: peer("192.0.2.2", func(p *bgp.Peer) { p.ASN = 0 }),
			paths:  []bgp.Path{path("203.0.113.1/32")},
			routes: map[string]bgptest.Route{"203.0.113.1/32": {NextHop: "192.0.2.1", Path: "64512"}},
		},
		"eBGP over IPv6": {
			frr: []string{"2001:db8::1 remote-as 64512"}, peer: peer("2001:db8::2"), us: "2001:db8::1",
			paths:  []bgp.Path{path("2001:db8:1::1/128"), path("2001:db8:2::/64")},
			routes: map[string]bgptest.Route{"2001:db8:1::1/128": {NextHop: "2001:db8::1", Path: "64512"}, "2001:db8:2::/64": {NextHop: "2001:db8::1", Path: "64512"}},
		},
		"both families over IPv4": {
			frr: []string{"192.0.2.1 remote-as 64512", "192.0.2.1 description interface both"}, peer: peer("192.0.2.2", both),
			paths:  []bgp.Path{path("203.0.113.1/32"), path("2001:db8:1::1/128")},
			routes: map[string]bgptest.Route{"203.0.113.1/32": {NextHop: "192.0.2.1", Path: "64512"}, "2001:db8:1::1/128": {NextHop: "2001:db8::1", Path: "64512"}},
		},
		"both families over IPv6": {
			frr: []string{"2001:db8::1 remote-as 64512", "2001:db8::1 description interface both"}, peer: peer("2001:db8::2", both), us: "2001:db8::1",
			paths:  []bgp.Path{path("203.0.113.1/32"), path("2001:db8:1::1/128")},
			routes: map[string]bgptest.Route{"203.0.113.1/32": {NextHop: "192.0.2.1", Path: "64512"}, "2001:db8:1::1/128": {NextHop: "2001:db8::1", Path: "64512"}},
		},
		"a password and a source address": {
			frr: []string{"192.0.2.11 remote-as 64512", "192.0.2.11 password pass-word"}, us: "192.0.2.11",
			peer:   peer("192.0.2.2", func(p *bgp.Peer) { p.Password, p.Source = "pass-word", netip.MustParseAddr("192.0.2.11") }),
			paths:  []bgp.Path{path("203.0.113.1/32")},
			routes: map[string]bgptest.Route{"203.0.113.1/32": {NextHop: "192.0.2.11", Path: "64512"}},
		},
		"a password over IPv6": {
			frr: []string{"2001:db8::1 remote-as 64512", "2001:db8::1 password pass-word"}, us: "2001:db8::1",
			peer:   peer("2001:db8::2", func(p *bgp.Peer) { p.Password = "pass-word" }),
			paths:  []bgp.Path{path("2001:db8:1::1/128")},
			routes: map[string]bgptest.Route{"2001:db8:1::1/128": {NextHop: "2001:db8::1", Path: "64512"}},
		},
		"more than one hop": {
			frr:    []string{"192.0.2.1 remote-as 64512", "192.0.2.1 ebgp-multihop 5", "192.0.2.1 update-source 198.51.100.2"},
			peer:   peer("198.51.100.2", func(p *bgp.Peer) { p.MultiHop = true }),
			paths:  []bgp.Path{path("203.0.113.1/32")},
			routes: map[string]bgptest.Route{"203.0.113.1/32": {NextHop: "192.0.2.1", Path: "64512"}},
		},
		"communities": {
			frr: []string{"192.0.2.1 remote-as 64512"}, peer: peer("192.0.2.2"),
			paths: []bgp.Path{path("203.0.113.1/32", func(p *bgp.Path) {
				p.Communities = []bgp.Community{{Parts: [3]uint32{64512, 100}}, noExport, {Large: true, Parts: [3]uint32{4200000000, 1, 2}}}
			})},
			routes: map[string]bgptest.Route{"203.0.113.1/32": {NextHop: "192.0.2.1", Path: "64512"}},
			check: func(t *testing.T, f *bgptest.FRR, _ bgptest.Neighbour) {
				if plain, large := f.Communities(t, "ipv4", "203.0.113.1/32"); plain != "64512:100 no-export" || large != "4200000000:1:2" {
					t.Errorf("communities %q and %q", plain, large)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := lan(t, "/usr/lib/frr/bgpd", "vtysh")
			if tt.asn == 0 {
				tt.asn = 64513
			}
			if tt.us == "" {
				tt.us = "192.0.2.1"
			}
			f := bgptest.StartFRR(t, h, frr(tt.asn, tt.frr...))
			r := router(t)
			set(t, r, tt.peer)
			announce(t, r, tt.paths...)
			l2test.Eventually(t, soon, "FRR has all routes", func() bool {
				return same(f, t, tt.routes)
			})
			established(t, r)
			if n := f.Neighbour(t, tt.us); n.BGPState != "Established" || n.Established != 1 {
				t.Errorf("FRR sees %+v", n)
			} else if tt.check != nil {
				tt.check(t, f, n)
			}
		})
	}
}

func same(f *bgptest.FRR, t *testing.T, want map[string]bgptest.Route) bool {
	got := f.Routes(t, "ipv4")
	for prefix, r := range f.Routes(t, "ipv6") {
		got[prefix] = r
	}
	if len(got) != len(want) {
		return false
	}
	for prefix, w := range want {
		g := got[prefix]
		if !g.Valid || g.NextHop != w.NextHop || g.Path != w.Path || g.MED != w.MED || w.LocalPref != 0 && g.LocalPref != w.LocalPref {
			return false
		}
	}
	return true
}

// TestLifeOfASession has things change, with FRR as the judge of what is reset by them and what is not.
func TestLifeOfASession(t *testing.T) {
	h := lan(t, "/usr/lib/frr/bgpd", "vtysh")
	f := bgptest.StartFRR(t, h, frr(64513, "192.0.2.1 remote-as 64512"))
	r := router(t)
	set(t, r, peer("192.0.2.2"))
	first := path("203.0.113.1/32")
	announce(t, r, first)
	established(t, r)
	has := func(what string, prefixes ...string) {
		t.Helper()
		l2test.Eventually(t, soon, what, func() bool {
			got := f.Routes(t, "ipv4")
			for _, p := range prefixes {
				if _, ok := got[p]; !ok {
					return false
				}
			}
			return len(got) == len(prefixes)
		})
	}
	connections := func(want int) {
		t.Helper()
		if n := f.Neighbour(t, "192.0.2.1"); n.Established != want {
			t.Errorf("%d connections, not %d: %+v", n.Established, want, n)
		}
	}
	has("the first route", "203.0.113.1/32")

	t.Run("paths come and go without a reset", func(t *testing.T) {
		many := []bgp.Path{}
		for i := range 2000 {
			many = append(many, path(fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)))
		}
		announce(t, r, many...)
		l2test.Eventually(t, soon, "all are there", func() bool { return len(f.Routes(t, "ipv4")) == 2001 })
		gone := make([]netip.Prefix, len(many))
		for i := range many {
			gone[i] = many[i].Prefix
		}
		if err := r.Announce("router", nil, gone); err != nil {
			t.Fatal(err)
		}
		has("they are gone", "203.0.113.1/32")
		connections(1)
	})
	t.Run("graceful shutdown comes and goes without a reset", func(t *testing.T) {
		for _, want := range []string{"graceful-shutdown", ""} {
			announce(t, r, path("203.0.113.1/32", func(p *bgp.Path) { p.Shutdown = want != "" }))
			l2test.Eventually(t, soon, "the router is told", func() bool {
				plain, _ := f.Communities(t, "ipv4", "203.0.113.1/32")
				return plain == want
			})
		}
		connections(1)
	})
	t.Run("a connect time changes nothing", func(t *testing.T) {
		set(t, r, peer("192.0.2.2", func(p *bgp.Peer) { p.ConnectTime = 5 * time.Second }))
		set(t, r, peer("192.0.2.2"))
		connections(1)
	})
	t.Run("nothing that the router says is believed", func(t *testing.T) {
		before := established(t, r).Received.Updates
		f.Configure(t, "router bgp 64513", "address-family ipv4 unicast", "network 198.51.100.0/24")
		eventually(t, r, "the router's routes are counted", func(s bgp.Session) bool { return s.Received.Updates > before })
		if out, _ := exec.Command("ip", "route", "show", "198.51.100.0/24").Output(); len(out) > 0 {
			t.Errorf("installed: %s", out)
		}
		f.Configure(t, "router bgp 64513", "address-family ipv4 unicast", "no network 198.51.100.0/24")
		connections(1)
	})
	t.Run("another hold time resets it, and the paths stay", func(t *testing.T) {
		set(t, r, peer("192.0.2.2", func(p *bgp.Peer) { p.HoldTime, p.KeepaliveTime = 30*time.Second, 10*time.Second }))
		l2test.Eventually(t, soon, "the new one is agreed on", func() bool { return f.Neighbour(t, "192.0.2.1").HoldTime == 30000 })
		has("the route is back", "203.0.113.1/32")
		connections(2)
	})
	t.Run("a reset ends it at once, and it begins anew", func(t *testing.T) {
		since := established(t, r).Since
		if err := r.Reset("router", bgp.Notification{Code: bgp.Cease, Subcode: 10}); err != nil {
			t.Fatal(err)
		}
		eventually(t, r, "it is Established again", func(s bgp.Session) bool { return s.State == bgp.Established && s.Since.After(since) })
		has("the route is back", "203.0.113.1/32")
		connections(3)
	})
	t.Run("the router resets it", func(t *testing.T) {
		since := established(t, r).Since
		f.Ask(t, "clear bgp *")
		eventually(t, r, "it is said why", func(s bgp.Session) bool {
			return strings.Contains(s.Error, "peer 192.0.2.2 answered: administrative reset (cease)") || s.Since.After(since) && s.State == bgp.Established
		})
		eventually(t, r, "it is Established again", func(s bgp.Session) bool { return s.State == bgp.Established && s.Since.After(since) })
		connections(4)
	})
	t.Run("the end", func(t *testing.T) {
		if err := r.Remove("router"); err != nil {
			t.Fatal(err)
		}
		has("nothing is left")
		l2test.Eventually(t, soon, "FRR is told why", func() bool { return f.Neighbour(t, "192.0.2.1").LastNotification == "Cease/Peer De-configured" })
	})
}

// TestWordsOfASessionThatCannotBegin has FRR refuse in different ways.
func TestWordsOfASessionThatCannotBegin(t *testing.T) {
	for name, tt := range map[string]struct {
		frr  []string
		peer bgp.Peer
		want string
	}{
		"we have another AS for the router": {
			[]string{"192.0.2.1 remote-as 64512"}, peer("192.0.2.2", func(p *bgp.Peer) { p.ASN = 64999 }),
			"peer 192.0.2.2 says that it has AS number 64513, and 64999 is configured"},
		"the router has another AS for us": {
			[]string{"192.0.2.1 remote-as 64999"}, peer("192.0.2.2"), "peer 192.0.2.2 answered: bad peer AS (OPEN message error), we sent 64512"},
		"the router does not know us": {
			[]string{"192.0.2.99 remote-as 64512"}, peer("192.0.2.2"), "it may not know this node's address, 192.0.2.1"},
		"no router": {
			[]string{"192.0.2.1 remote-as 64512"}, peer("192.0.2.2", func(p *bgp.Peer) { p.Port = 1790 }), "cannot connect to 192.0.2.2:1790: it refuses connections"},
		"no machine": {
			[]string{"192.0.2.1 remote-as 64512"}, peer("192.0.2.77"), "cannot connect to 192.0.2.77:179: "},
		"a source address that is not ours": {
			[]string{"192.0.2.1 remote-as 64512"}, peer("192.0.2.2", func(p *bgp.Peer) { p.Source = netip.MustParseAddr("192.0.2.66") }),
			"this node does not have the source address 192.0.2.66"},
		"another password": {
			[]string{"192.0.2.1 remote-as 64512", "192.0.2.1 password right"}, peer("192.0.2.2", func(p *bgp.Peer) { p.Password = "wrong" }), "it does not answer; where it has another password"},
		"our own router ID": {
			[]string{"192.0.2.1 remote-as 64512"}, peer("192.0.2.2", func(p *bgp.Peer) { p.LocalASN, p.ASN, p.RouterID = 64513, 64513, netip.MustParseAddr("192.0.2.2") }), "192.0.2.2"},
	} {
		t.Run(name, func(t *testing.T) {
			h := lan(t, "/usr/lib/frr/bgpd", "vtysh")
			bgptest.StartFRR(t, h, frr(64513, tt.frr...))
			r := router(t)
			set(t, r, tt.peer)
			eventually(t, r, "the reason is "+tt.want, func(s bgp.Session) bool { return strings.Contains(s.Error, tt.want) })
		})
	}
}

// TestGracefulRestart has a process end and another one begin, with FRR keeping the routes meanwhile, or not.
func TestGracefulRestart(t *testing.T) {
	for name, graceful := range map[string]bool{"with graceful restart the routes stay": true, "without they go at once": false} {
		t.Run(name, func(t *testing.T) {
			h := lan(t, "/usr/lib/frr/bgpd", "vtysh")
			f := bgptest.StartFRR(t, h, strings.Replace(frr(64513, "192.0.2.1 remote-as 64512"), " bgp router-id", " bgp graceful-restart\n bgp router-id", 1))
			p := peer("192.0.2.2", func(p *bgp.Peer) { p.GracefulRestart = graceful })
			has := func() bool { return f.Routes(t, "ipv4")["203.0.113.1/32"].Valid }
			first := gobgp.New(slog.New(slog.DiscardHandler))
			set(t, first, p)
			announce(t, first, path("203.0.113.1/32"))
			l2test.Eventually(t, soon, "FRR has the route", has)
			first.Close()
			if !graceful {
				l2test.Eventually(t, soon, "the route is gone", func() bool { return !has() })
			}
			second := router(t)
			set(t, second, p)
			announce(t, second, path("203.0.113.1/32"))
			lost := 0
			l2test.Eventually(t, soon, "there is another session", func() bool {
				if !has() {
					lost++
				}
				return f.Neighbour(t, "192.0.2.1").Established == 2
			})
			if graceful && lost > 0 {
				t.Errorf("the route was away, %d times", lost)
			}
			l2test.Eventually(t, soon, "FRR has the route again", has)
			established(t, second)
		})
	}
}

// TestWithBIRD has BIRD be the judge, over both families of one session.
func TestWithBIRD(t *testing.T) {
	b := bgptest.StartBIRD(t, lan(t, "bird", "birdc"), `router id 192.0.2.2;
protocol device {}
protocol bgp speaker { local 192.0.2.2 as 64513; neighbor 192.0.2.1 as 64512; password "pass-word"; passive on;
 ipv4 { import all; export none; }; ipv6 { import all; export none; }; }
`)
	r := router(t)
	set(t, r, peer("192.0.2.2", func(p *bgp.Peer) { p.Password, p.IPv6 = "pass-word", true }))
	announce(t, r, path("2001:db8:1::1/128"), path("203.0.113.1/32", func(p *bgp.Path) {
		p.Communities = []bgp.Community{{Parts: [3]uint32{64512, 7}}, {Large: true, Parts: [3]uint32{64512, 1, 2}}}
	}), path("2001:db8:1::3/128", preferred(7, 1)), path("2001:db8:1::4/128", going), path("203.0.113.3/32", preferred(9, 2)))
	show := func() string { return b.Ask("show route all") }
	l2test.Eventually(t, soon, "BIRD has both routes", func() bool {
		out := show()
		return strings.Contains(out, "203.0.113.1/32") && strings.Contains(out, "2001:db8:1::1/128") && strings.Contains(out, "2001:db8:1::4/128") && strings.Contains(out, "203.0.113.3/32")
	})
	for _, want := range []string{"BGP.next_hop: 192.0.2.1", "BGP.next_hop: 2001:db8::1", "BGP.as_path: 64512", "BGP.community: (64512,7)", "BGP.large_community: (64512, 1, 2)",
		"BGP.as_path: 64512 64512\n", "BGP.as_path: 64512 64512 64512\n", "BGP.med: 7", "BGP.med: 9", "BGP.community: (65535,0)"} {
		if out := show(); !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
}
