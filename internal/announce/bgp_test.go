package announce

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/ipam"
)

func selector(text string) []labels.Selector {
	s, err := labels.Parse(text)
	if err != nil {
		panic(err)
	}
	return []labels.Selector{s}
}

func addressRange(text string) ipam.Range {
	r, err := ipam.ParseRange(text)
	if err != nil {
		panic(err)
	}
	return r
}

func addresses(text string) []netip.Addr {
	var out []netip.Addr
	for a := range strings.SplitSeq(text, ",") {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// routed is a cluster as node-1 sees it: two peers, one for each family, a pool that all of it is announced of.
func routed(advertisements []config.BGPAdvertisement, edit ...func(*Cluster)) Cluster {
	pool := config.Pool{Name: "pool", BGP: advertisements, Addresses: []ipam.Range{
		addressRange("203.0.113.0/24"), addressRange("2001:db8:1::/120"),
	}}
	c := Cluster{
		Node: "node-1",
		Config: &config.Config{Pools: []config.Pool{pool}, Peers: []config.Peer{
			{Name: "four", MyASN: 64512, ASN: 64513, Address: netip.MustParseAddr("192.0.2.2"), Port: 179},
			{Name: "six", MyASN: 64512, Dynamic: "internal", Address: netip.MustParseAddr("2001:db8::2"), Port: 179},
		}},
		Nodes: []Node{
			{Name: "node-1", Labels: labels.Set{"rack": "1"}, Addresses: addresses("192.0.2.101,2001:db8::101")},
			{Name: "node-2", Labels: labels.Set{"rack": "2"}, Addresses: addresses("192.0.2.102,203.0.113.99")},
		},
	}
	for _, e := range edit {
		e(&c)
	}
	return c
}

func exact(name string, edit ...func(*config.BGPAdvertisement)) config.BGPAdvertisement {
	a := config.BGPAdvertisement{Name: name, Length4: 32, Length6: 128}
	for _, e := range edit {
		e(&a)
	}
	return a
}

func community(n uint32) bgp.Community { return bgp.Community{Parts: [3]uint32{64512, n}} }

func web(name, at string, edit ...func(*Service)) Service {
	both := Endpoints{Any: true, Nodes: []string{"node-1", "node-2"}}
	s := Service{Name: name, Addresses: addresses(at), Endpoints4: both, Endpoints6: both}
	for _, e := range edit {
		e(&s)
	}
	return s
}

// told writes what the peers are told, as "peer prefix localPref MED prepended communities".
func told(b BGP) []string {
	var out []string
	for _, p := range b.Peers {
		for _, x := range p.Paths {
			line := fmt.Sprintf("%s %s", p.Name, x.Prefix)
			if x.LocalPref != 0 {
				line += fmt.Sprintf(" %d", x.LocalPref)
			}
			if x.MED.Set {
				line += " med=" + x.MED.String()
			}
			if x.Prepend != 0 {
				line += fmt.Sprintf(" prepend=%d", x.Prepend)
			}
			if x.Shutdown {
				line += " shutdown"
			}
			for _, c := range x.Communities {
				line += " " + c.String()
			}
			out = append(out, line)
		}
	}
	return out
}

func reasons(b BGP) []string {
	var out []string
	for _, w := range b.Why {
		out = append(out, fmt.Sprintf("%s %s %s", w.Service, w.Address, w.Reason))
	}
	return out
}

func TestRoutes(t *testing.T) {
	plain := []config.BGPAdvertisement{exact("all")}
	local := func(s *Service) { s.Local = true }
	for name, tt := range map[string]struct {
		cluster  Cluster
		services []Service
		told     []string
		reasons  []string
	}{
		"a Service, each family to the peer that carries it": {
			routed(plain), []Service{web("shop/a", "203.0.113.1,2001:db8:1::1")},
			[]string{"four 203.0.113.1/32", "six 2001:db8:1::1/128"}, []string{"shop/a 203.0.113.1 Announced", "shop/a 2001:db8:1::1 Announced"}},
		"both families to a peer of both": {
			routed(plain, func(c *Cluster) { c.Config.Peers[0].DualStack = true }), []Service{web("shop/a", "203.0.113.1,2001:db8:1::1")},
			[]string{"four 203.0.113.1/32", "four 2001:db8:1::1/128", "six 2001:db8:1::1/128"}, []string{"shop/a 203.0.113.1 Announced", "shop/a 2001:db8:1::1 Announced"}},
		"an aggregate for two Services": {
			routed([]config.BGPAdvertisement{exact("net", func(a *config.BGPAdvertisement) { a.Length4 = 26 })}),
			[]Service{web("shop/a", "203.0.113.1"), web("shop/b", "203.0.113.60"), web("shop/c", "203.0.113.64")},
			[]string{"four 203.0.113.0/26", "four 203.0.113.64/26"}, []string{"shop/a 203.0.113.1 Announced", "shop/b 203.0.113.60 Announced", "shop/c 203.0.113.64 Announced"}},
		"an aggregate beside the address itself": {
			routed([]config.BGPAdvertisement{
				exact("host", func(a *config.BGPAdvertisement) { a.LocalPref = 100; a.Communities = []bgp.Community{community(1)} }),
				exact("net", func(a *config.BGPAdvertisement) { a.Length4, a.LocalPref = 24, 50 }),
			}),
			[]Service{web("shop/a", "203.0.113.1")},
			[]string{"four 203.0.113.0/24 50", "four 203.0.113.1/32 100 64512:1"}, []string{"shop/a 203.0.113.1 Announced"}},
		"two advertisements of one prefix, whose communities are merged": {
			routed([]config.BGPAdvertisement{
				exact("a", func(a *config.BGPAdvertisement) { a.Communities = []bgp.Community{community(2), community(1)} }),
				exact("b", func(a *config.BGPAdvertisement) { a.Communities = []bgp.Community{community(2), {Large: true}} }),
			}),
			[]Service{web("shop/a", "203.0.113.1")},
			[]string{"four 203.0.113.1/32 64512:1 64512:2 large:0:0:0"}, []string{"shop/a 203.0.113.1 Announced"}},
		"two that contradict one another for a Service": {
			routed([]config.BGPAdvertisement{
				exact("a", func(a *config.BGPAdvertisement) { a.LocalPref, a.ServiceSelectors = 1, selector("app=a") }),
				exact("b", func(a *config.BGPAdvertisement) { a.LocalPref = 2 }),
			}),
			[]Service{web("shop/a", "203.0.113.1", func(s *Service) { s.Labels = labels.Set{"app": "a"} }), web("shop/b", "203.0.113.2")},
			[]string{"four 203.0.113.2/32 2"}, []string{"shop/a 203.0.113.1 ConflictingAdvertisements", "shop/b 203.0.113.2 Announced"}},
		"two that differ in MED and AS path": {
			routed([]config.BGPAdvertisement{
				exact("a", func(a *config.BGPAdvertisement) { a.MED = bgp.Metric{Set: true} }),
				exact("b", func(a *config.BGPAdvertisement) { a.Prepend = 2 }),
			}),
			[]Service{web("shop/a", "203.0.113.1")}, nil, []string{"shop/a 203.0.113.1 ConflictingAdvertisements"}},
		"two Services of one prefix that differ in MED and AS path, the best of which counts": {
			routed([]config.BGPAdvertisement{
				exact("a", func(a *config.BGPAdvertisement) {
					a.MED, a.Prepend, a.ServiceSelectors = bgp.Metric{Set: true, Value: 10}, 3, selector("app=a")
				}),
				exact("b", func(a *config.BGPAdvertisement) {
					a.MED, a.Prepend, a.ServiceSelectors = bgp.Metric{Set: true, Value: 20}, 2, selector("app=b")
				}),
			}),
			[]Service{
				web("shop/a", "203.0.113.1", func(s *Service) { s.Labels = labels.Set{"app": "a"} }),
				web("shop/b", "203.0.113.1", func(s *Service) { s.Labels = labels.Set{"app": "b"} }),
			},
			[]string{"four 203.0.113.1/32 med=10 prepend=2"}, []string{"shop/a 203.0.113.1 Announced", "shop/b 203.0.113.1 Announced"}},
		"two that differ for different peers": {
			routed([]config.BGPAdvertisement{
				exact("a", func(a *config.BGPAdvertisement) { a.LocalPref, a.Peers = 1, []string{"four"} }),
				exact("b", func(a *config.BGPAdvertisement) { a.LocalPref, a.Peers = 2, []string{"six", "nobody"} }),
			}, func(c *Cluster) { c.Config.Peers[1].DualStack = true }),
			[]Service{web("shop/a", "203.0.113.1")},
			[]string{"four 203.0.113.1/32 1", "six 203.0.113.1/32 2"}, []string{"shop/a 203.0.113.1 Announced"}},
		"Services that share an address, one of which wants more": {
			routed([]config.BGPAdvertisement{
				exact("all"),
				exact("some", func(a *config.BGPAdvertisement) {
					a.Communities, a.ServiceSelectors = []bgp.Community{community(1)}, selector("app=a")
				}),
			}),
			[]Service{web("shop/a", "203.0.113.1", func(s *Service) { s.Labels = labels.Set{"app": "a"} }), web("shop/b", "203.0.113.1")},
			[]string{"four 203.0.113.1/32 64512:1"}, []string{"shop/a 203.0.113.1 Announced", "shop/b 203.0.113.1 Announced"}},
		"for other nodes": {
			routed([]config.BGPAdvertisement{exact("all", func(a *config.BGPAdvertisement) { a.NodeSelectors = selector("rack=2") })}),
			[]Service{web("shop/a", "203.0.113.1")}, nil, nil},
		"for other Services": {
			routed([]config.BGPAdvertisement{exact("all", func(a *config.BGPAdvertisement) { a.ServiceSelectors = selector("app=a") })}),
			[]Service{web("shop/a", "203.0.113.1")}, nil, nil},
		"peers of other nodes": {
			routed(plain, func(c *Cluster) {
				c.Config.Peers[0].NodeSelectors, c.Config.Peers[1].NodeSelectors = selector("rack=2"), selector("rack=2")
			}),
			[]Service{web("shop/a", "203.0.113.1")}, nil, []string{"shop/a 203.0.113.1 NoPeer"}},
		"of no pool": {routed(plain), []Service{web("shop/a", "198.51.100.1")}, nil, nil},
		"no endpoint": {
			routed(plain), []Service{web("shop/a", "203.0.113.1", func(s *Service) { s.Endpoints4 = Endpoints{} })},
			nil, []string{"shop/a 203.0.113.1 NoEndpoints"}},
		"Local, with an endpoint here": {routed(plain), []Service{web("shop/a", "203.0.113.1", local)}, []string{"four 203.0.113.1/32"}, []string{"shop/a 203.0.113.1 Announced"}},
		"Local, with endpoints elsewhere": {
			routed(plain), []Service{web("shop/a", "203.0.113.1", local, func(s *Service) { s.Endpoints4.Nodes = []string{"node-2"} })},
			nil, []string{"shop/a 203.0.113.1 NoEndpoints"}},
		"endpoints of one family only": {
			routed(plain, func(c *Cluster) { c.Config.Peers[0].DualStack = true }),
			[]Service{web("shop/a", "203.0.113.1,2001:db8:1::1", func(s *Service) { s.Endpoints6 = Endpoints{} })},
			[]string{"four 203.0.113.1/32"}, []string{"shop/a 203.0.113.1 Announced", "shop/a 2001:db8:1::1 NoEndpoints"}},
		"Local, with endpoints of each family on another node": {
			routed(plain, func(c *Cluster) { c.Config.Peers[0].DualStack = true }),
			[]Service{web("shop/a", "203.0.113.1,2001:db8:1::1", local, func(s *Service) { s.Endpoints4.Nodes = []string{"node-2"} })},
			[]string{"four 2001:db8:1::1/128", "six 2001:db8:1::1/128"}, []string{"shop/a 203.0.113.1 NoEndpoints", "shop/a 2001:db8:1::1 Announced"}},
		"held by a node": {routed(plain), []Service{web("shop/a", "203.0.113.99")}, nil, []string{"shop/a 203.0.113.99 HeldByNode"}},
		"held by this node": {
			routed(plain, func(c *Cluster) { c.Addresses = addresses("203.0.113.1") }), []Service{web("shop/a", "203.0.113.1")},
			nil, []string{"shop/a 203.0.113.1 HeldByNode"}},
		"a node that is excluded": {
			routed(plain, func(c *Cluster) { c.Nodes[0].Labels[ExcludeLabel] = "" }), []Service{web("shop/a", "203.0.113.1")},
			nil, []string{"shop/a 203.0.113.1 NodeExcluded"}},
		"a node that would be": {
			routed(plain, func(c *Cluster) { c.Nodes[0].Labels[ExcludeLabel] = ""; c.IgnoreExcludeLabel = true }), []Service{web("shop/a", "203.0.113.1")},
			[]string{"four 203.0.113.1/32"}, []string{"shop/a 203.0.113.1 Announced"}},
		"a node that was excluded just now": {
			routed(plain, func(c *Cluster) { c.Nodes[0].Labels[ExcludeLabel], c.Parting = "", true }), []Service{web("shop/a", "203.0.113.1")},
			[]string{"four 203.0.113.1/32 shutdown"}, []string{"shop/a 203.0.113.1 Announced"}},
		"a node that was excluded, and has lost its network": {
			routed(plain, func(c *Cluster) {
				c.Nodes[0].Labels[ExcludeLabel], c.Parting, c.Nodes[0].NetworkUnavailable = "", true, true
			}), []Service{web("shop/a", "203.0.113.1")},
			nil, []string{"shop/a 203.0.113.1 NodeExcluded"}},
		"a node that could part, and need not": {
			routed(plain, func(c *Cluster) { c.Parting = true }), []Service{web("shop/a", "203.0.113.1")},
			[]string{"four 203.0.113.1/32"}, []string{"shop/a 203.0.113.1 Announced"}},
		"a node that is cordoned": {
			routed(plain, func(c *Cluster) { c.Nodes[0].Cordoned = true }), []Service{web("shop/a", "203.0.113.1,2001:db8:1::1")},
			[]string{"four 203.0.113.1/32 shutdown", "six 2001:db8:1::1/128 shutdown"}, []string{"shop/a 203.0.113.1 Announced", "shop/a 2001:db8:1::1 Announced"}},
		"another node that is cordoned": {
			routed(plain, func(c *Cluster) { c.Nodes[1].Cordoned = true }), []Service{web("shop/a", "203.0.113.1")},
			[]string{"four 203.0.113.1/32"}, []string{"shop/a 203.0.113.1 Announced"}},
		"a node without network": {
			routed(plain, func(c *Cluster) { c.Nodes[0].NetworkUnavailable = true }), []Service{web("shop/a", "203.0.113.1")},
			nil, []string{"shop/a 203.0.113.1 NodeExcluded"}},
		"no node": {routed(plain, func(c *Cluster) { c.Node = "" }), []Service{web("shop/a", "203.0.113.1")}, nil, nil},
		"a peer without an address": {
			routed(plain, func(c *Cluster) {
				c.Config.Peers[0].Address, c.Config.Peers[0].Interface = netip.Addr{}, "eth0"
			}), []Service{web("shop/a", "203.0.113.1")},
			[]string{"four 203.0.113.1/32"}, []string{"shop/a 203.0.113.1 Announced"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Plan(Snapshot{tt.cluster, tt.services}).BGP
			if d := cmp.Diff(tt.told, told(got)); d != "" {
				t.Errorf("told: %s", d)
			}
			if d := cmp.Diff(tt.reasons, reasons(got)); d != "" {
				t.Errorf("reasons: %s", d)
			}
			for _, w := range got.Why {
				if w.Message == "" || len(w.Routes) > 0 != (w.Reason == Announced) {
					t.Errorf("%+v", w)
				}
			}
		})
	}
}

func TestPeersOfANode(t *testing.T) {
	c := routed(nil, func(c *Cluster) {
		c.Config.Peers = append(c.Config.Peers,
			config.Peer{Name: "any", MyASN: 64512, LocalASN: 64999, Dynamic: "external", Address: netip.MustParseAddr("192.0.2.3"), RouterID: netip.MustParseAddr("10.0.0.1"), DualStack: true, VRF: "red", MultiHop: true, Password: "x"},
			config.Peer{Name: "link", MyASN: 64512, ASN: 1, Interface: "eth0", Passive: true, MultiHop: true, Source: netip.MustParseAddr("192.0.2.5"), TTLSecurityHops: 3},
			config.Peer{Name: "others", MyASN: 64512, ASN: 1, Address: netip.MustParseAddr("192.0.2.4"), NodeSelectors: selector("rack=2")})
	})
	id := netip.MustParseAddr("192.0.2.101")
	want := []bgp.Peer{
		{Name: "any", LocalASN: 64999, Address: netip.MustParseAddr("192.0.2.3"), RouterID: netip.MustParseAddr("10.0.0.1"), Device: "red", MultiHop: true, Password: "x", IPv4: true, IPv6: true},
		{Name: "four", LocalASN: 64512, ASN: 64513, Address: netip.MustParseAddr("192.0.2.2"), Port: 179, RouterID: id, IPv4: true},
		{Name: "link", LocalASN: 64512, ASN: 1, Interface: "eth0", Passive: true, RouterID: id, IPv4: true, IPv6: true, TTLSecurityHops: 3},
		{Name: "six", LocalASN: 64512, ASN: 64512, Address: netip.MustParseAddr("2001:db8::2"), Port: 179, RouterID: id, IPv6: true},
	}
	for i, got := range Plan(Snapshot{Cluster: c}).BGP.Peers {
		if got.Peer != want[i] {
			t.Errorf("%+v, not %+v", got.Peer, want[i])
		}
	}
	c.Nodes[0].Addresses = addresses("2001:db8::101")
	for _, p := range Plan(Snapshot{Cluster: c}).BGP.Peers {
		if !p.RouterID.Is4() || p.RouterID.IsUnspecified() {
			t.Errorf("%s has the router ID %v on a node without IPv4", p.Name, p.RouterID)
		}
	}
}

// TestEnding: of a speaker that ends, a peer that keeps the paths for the next one hears nothing.
func TestEnding(t *testing.T) {
	c := routed([]config.BGPAdvertisement{exact("all")}, func(c *Cluster) { c.Config.Peers[1].GracefulRestart = true })
	all := Plan(Snapshot{c, []Service{web("shop/a", "203.0.113.1,2001:db8:1::1")}}).BGP
	before := told(all)
	if d := cmp.Diff([]string{"four 203.0.113.1/32 shutdown", "six 2001:db8:1::1/128"}, told(all.Ending())); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(before, told(all)); d != "" {
		t.Errorf("the plan is changed: %s", d)
	}
	if !all.Tells() || Plan(Snapshot{Cluster: c}).BGP.Tells() {
		t.Error("there is something to tell with a Service only")
	}
}

// TestRoutesThatAreKeptUpToDate plans random histories step by step and anew.
func TestRoutesThatAreKeptUpToDate(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var all []config.BGPAdvertisement
		for i := range 1 + r.IntN(4) {
			all = append(all, exact(fmt.Sprint(i), func(a *config.BGPAdvertisement) {
				a.Length4 = []int{32, 32, 28, 24}[r.IntN(4)]
				a.LocalPref, a.MED = uint32(r.IntN(3)), bgp.Metric{Set: r.IntN(4) == 0}
				a.Communities = []bgp.Community{community(uint32(r.IntN(3)))}
				if r.IntN(3) == 0 {
					a.ServiceSelectors = selector(fmt.Sprintf("app=a%d", r.IntN(2)))
				}
				if r.IntN(3) == 0 {
					a.Peers = []string{[]string{"four", "six"}[r.IntN(2)]}
				}
			}))
		}
		c := routed(all, func(c *Cluster) { c.Config.Peers[1].DualStack = true })
		var p Planner
		services := map[string]Service{}
		for step := range 30 {
			name := fmt.Sprintf("shop/s%d", r.IntN(6))
			s := Service{Name: name}
			if r.IntN(4) > 0 {
				s = web(name, fmt.Sprintf("203.0.113.%d", r.IntN(20)), func(s *Service) {
					s.Labels = labels.Set{"app": fmt.Sprintf("a%d", r.IntN(2))}
					if s.Local = r.IntN(2) == 0; r.IntN(3) == 0 {
						s.Endpoints4.Nodes = []string{"node-2"}
					}
					if r.IntN(3) == 0 {
						s.Addresses = append(s.Addresses, netip.MustParseAddr(fmt.Sprintf("203.0.113.%d", r.IntN(20))))
						slices.SortFunc(s.Addresses, netip.Addr.Compare)
						s.Addresses = slices.Compact(s.Addresses)
					}
				})
				services[name] = s
			} else {
				delete(services, name)
			}
			if r.IntN(10) == 0 {
				c.Nodes = slices.Clone(c.Nodes)
				c.Nodes[0].NetworkUnavailable = !c.Nodes[0].NetworkUnavailable
			}
			if r.IntN(10) == 0 {
				c.Nodes = slices.Clone(c.Nodes)
				c.Nodes[0].Cordoned = !c.Nodes[0].Cordoned
			}
			before := p.router.out
			copied := slices.Concat(told(before), reasons(before))
			got := p.Plan(c, []Service{s}).BGP
			var snapshot []Service
			for _, s := range services {
				snapshot = append(snapshot, s)
			}
			if d := cmp.Diff(Plan(Snapshot{c, snapshot}).BGP, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.EquateEmpty()); d != "" {
				t.Fatalf("step %d: -anew +kept %s", step, d)
			}
			if d := cmp.Diff(copied, slices.Concat(told(before), reasons(before))); d != "" {
				t.Fatalf("a plan that was given away is changed: %s", d)
			}
		}
	}
}

// What is said of all nodes is what each of them plans.
func TestRoutesByNode(t *testing.T) {
	for name, edit := range map[string]func(*Cluster, *Service){
		"both nodes tell":             func(*Cluster, *Service) {},
		"one is excluded":             func(c *Cluster, _ *Service) { c.Nodes[1].NetworkUnavailable = true },
		"one has no speaker":          func(c *Cluster, _ *Service) { c.Members = c.Members[:1] },
		"one has no endpoint":         func(_ *Cluster, s *Service) { s.Local, s.Endpoints4.Nodes = true, []string{"node-2"} },
		"one has no peer":             func(c *Cluster, _ *Service) { c.Config.Peers[0].NodeSelectors = selector("rack=2") },
		"an advertisement is for one": func(c *Cluster, _ *Service) { c.Config.Pools[0].BGP[0].NodeSelectors = selector("rack=2") },
		"two contradict each other there": func(c *Cluster, _ *Service) {
			c.Config.Pools[0].BGP = append(c.Config.Pools[0].BGP, exact("b", func(a *config.BGPAdvertisement) { a.LocalPref, a.NodeSelectors = 7, selector("rack=1") }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := routed([]config.BGPAdvertisement{exact("all")}), web("shop/a", "203.0.113.1,2001:db8:1::1")
			c.Members = []Member{{Node: "node-1"}, {Node: "node-2"}}
			edit(&c, &s)
			var want []NodeRoutes
			for _, m := range c.Members {
				c.Node = m.Node
				for _, w := range Plan(Snapshot{Cluster: c, Services: []Service{s}}).BGP.Why {
					want = append(want, NodeRoutes{m.Node, w})
				}
			}
			if d := cmp.Diff(want, RoutesByNode(c, s), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestRoutersOnly: of addresses that only routers are told of no node speaks on the LAN, while whoever asks for no node hears why
// there is none.
func TestRoutersOnly(t *testing.T) {
	c := routed([]config.BGPAdvertisement{exact("all")}, func(c *Cluster) {
		c.Joined, c.Interfaces = true, []string{"eth0"}
		c.Members = []Member{{Node: "node-1", Interfaces: c.Interfaces}}
	})
	services := []Service{web("ns/web", "203.0.113.7,2001:db8:1::7")}
	if d := Plan(Snapshot{c, services}); len(d.Why) > 0 || len(d.BGP.Why) != 2 {
		t.Errorf("node-1 says %v, and of BGP %v", d.Why, d.BGP.Why)
	}
	c.Node = ""
	for _, w := range Plan(Snapshot{c, services}).Why {
		if w.Reason != NoAdvertisement {
			t.Errorf("%s: %s", w.Address, w.Reason)
		}
	}
	c.Config.Pools[0].BGP, c.Node = nil, "node-1"
	if d := Plan(Snapshot{c, services}); len(d.Why) != 2 {
		t.Errorf("of what nobody announces node-1 says %v", d.Why)
	}
}
