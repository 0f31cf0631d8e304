package announce

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"metallb.io/operator/internal/ipam"
	"metallb.io/operator/internal/l2"
)

// diff says in what two plans differ.
func diff(a, b Desired) string {
	if reflect.DeepEqual(a, b) { // which is fast
		return ""
	}
	return cmp.Diff(a, b, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.EquateEmpty())
}

// dice makes lines of a scenario.
type dice struct{ *rand.Rand }

func (r dice) once(in int, s string) string {
	if r.IntN(in) == 0 {
		return s
	}
	return ""
}

func (r dice) advert() string {
	return strings.Join([]string{"advert", fmt.Sprintf("adv%d", r.IntN(5)), []string{"one", "two"}[r.IntN(2)],
		r.once(3, fmt.Sprintf("nodes=zone=z%d", r.IntN(2))), r.once(4, fmt.Sprintf("services=app=a%d", r.IntN(2))),
		r.once(3, fmt.Sprintf("prefer=zone=z%d@%d", r.IntN(2), 1+r.IntN(100))), r.once(3, fmt.Sprintf("interfaces=eth%d", r.IntN(3)))}, " ")
}

func (r dice) node(i int) string {
	return strings.Join([]string{"node", fmt.Sprintf("node-%d", i), fmt.Sprintf("zone=z%d", r.IntN(2)), r.once(5, "cordoned"),
		r.once(8, "network-unavailable"), r.once(8, ExcludeLabel+"="), r.once(3, "interfaces=eth1"), r.once(12, "interfaces="),
		r.once(10, fmt.Sprintf("address=192.0.2.%d", r.IntN(16)))}, " ")
}

func (r dice) member(i int) string {
	return strings.Join([]string{"member", fmt.Sprintf("node-%d", i), r.once(20, "silent"), r.once(4, "broken")}, " ")
}

func (r dice) service(i int) string {
	address := fmt.Sprintf("192.0.2.%d", r.IntN(45))
	if r.IntN(4) == 0 {
		address += fmt.Sprintf(",2001:db8::%d", r.IntN(4))
	}
	endpoints := fmt.Sprintf("endpoints=node-%d,node-%d", r.IntN(5), r.IntN(5))
	if r.IntN(5) == 0 {
		endpoints = r.once(2, "endpoints=elsewhere")
	}
	return strings.Join([]string{"service", fmt.Sprintf("ns/s%d", i), address, fmt.Sprintf("app=a%d", r.IntN(2)), r.once(3, "local"), endpoints}, " ")
}

// random makes a world of any kind.
func random(t *testing.T, r dice) *world {
	t.Helper()
	w := newWorld()
	lines := []string{"pool one 192.0.2.0/28", "pool two 192.0.2.32-192.0.2.40 2001:db8::/120"}
	for range r.IntN(5) {
		lines = append(lines, r.advert())
	}
	for i := range 1 + r.IntN(5) {
		lines = append(lines, r.node(i))
		if r.IntN(5) != 0 {
			lines = append(lines, r.member(i))
		}
	}
	for i := range r.IntN(12) {
		lines = append(lines, r.service(i))
	}
	for _, l := range lines {
		if err := w.do(l); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func TestRandomWorlds(t *testing.T) {
	r := dice{rand.New(rand.NewPCG(7, 8))}
	announced := 0
	for range 1000 {
		w := random(t, r)
		checkOwners(t, w, 0)
		for _, m := range append(w.names(), "") {
			s := w.snapshot(m)
			first := Plan(s)
			r.Shuffle(len(s.Services), func(i, j int) { s.Services[i], s.Services[j] = s.Services[j], s.Services[i] })
			r.Shuffle(len(s.Nodes), func(i, j int) { s.Nodes[i], s.Nodes[j] = s.Nodes[j], s.Nodes[i] })
			r.Shuffle(len(s.Members), func(i, j int) { s.Members[i], s.Members[j] = s.Members[j], s.Members[i] })
			s.Members = append(s.Members, s.Members...)
			if d := diff(first, Plan(s)); d != "" {
				t.Fatalf("permuted input gives another plan: %s", d)
			}
			for _, e := range first.L2 {
				announced++
				checkAllowed(t, s, e)
			}
			lines := 0
			for _, svc := range s.Services {
				lines += len(svc.Addresses)
			}
			if m == "" && len(first.Why) != lines {
				t.Fatalf("%d reasons for %d addresses of Services", len(first.Why), lines)
			}
		}
		if t.Failed() {
			t.Fatalf("in %+v", w)
		}
	}
	if announced < 1000 {
		t.Errorf("only %d entries in all worlds: the worlds are too empty to show anything", announced)
	}
}

// checkAllowed is the slow oracle: an entry needs a Service, an advertisement and a node that go together, said in the
// plainest way.
func checkAllowed(t *testing.T, s Snapshot, e L2Entry) {
	t.Helper()
	var node Node
	for _, n := range s.Nodes {
		if n.Name == s.Node {
			node = n
		}
		if slices.Contains(n.Addresses, e.Address) {
			t.Errorf("%s is the address of %s", e.Address, n.Name)
		}
	}
	if _, excluded := node.Labels[ExcludeLabel]; excluded || node.NetworkUnavailable || !slices.ContainsFunc(s.Members, func(m Member) bool { return m.Node == s.Node }) {
		t.Errorf("%s may announce nothing, yet announces %s", s.Node, e.Address)
	}
	if !slices.ContainsFunc(s.Interfaces, e.On) {
		t.Errorf("%s announces %s on %v and has %v", s.Node, e.Address, e.Interfaces, s.Interfaces)
	}
	for _, svc := range s.Services {
		if !slices.Contains(svc.Addresses, e.Address) || !slices.Contains(e.Services, svc.Name) {
			continue
		}
		if e := svc.endpoints(e.Address); svc.Local && !slices.Contains(e.Nodes, s.Node) || !e.Any {
			continue
		}
		for _, p := range s.Config.Pools {
			in := slices.ContainsFunc(p.Addresses, func(r ipam.Range) bool { return r.Contains(e.Address) })
			for _, adv := range p.L2 {
				if in && (adv.NodeSelectors == nil || adv.NodeSelectors[0].Matches(node.Labels)) &&
					(adv.ServiceSelectors == nil || adv.ServiceSelectors[0].Matches(svc.Labels)) &&
					(adv.Interfaces == nil || slices.Contains(s.Interfaces, adv.Interfaces[0])) {
					return
				}
			}
		}
	}
	t.Errorf("nothing allows %s to announce %s: %+v", s.Node, e.Address, e)
}

// TestAPlanThatIsKeptUpToDateIsThatOfTheWhole plans each step of random histories with what has changed, and anew.
func TestAPlanThatIsKeptUpToDateIsThatOfTheWhole(t *testing.T) {
	r := dice{rand.New(rand.NewPCG(9, 10))}
	parts := 0
	for range 60 {
		w := random(t, r)
		planners, before := map[string]*Planner{}, map[string]Service{}
		var history []string
		for range 40 {
			var changed []Service
			for name, s := range w.services {
				if old, ok := before[name]; !ok || !reflect.DeepEqual(old, s) {
					changed = append(changed, s)
				}
				before[name] = s
			}
			for name := range before {
				if _, ok := w.services[name]; !ok {
					changed = append(changed, Service{Name: name})
					delete(before, name)
				}
			}
			for i := range 5 {
				name := fmt.Sprintf("node-%d", i)
				if planners[name] == nil {
					planners[name] = &Planner{}
				}
				p, s := planners[name], w.snapshot(name)
				was, kept := p.cluster, p.desired
				copied := kept
				copied.L2, copied.Why, copied.Checks = slices.Clone(kept.L2), slices.Clone(kept.Why), slices.Clone(kept.Checks)
				if was == nil { // has missed what was before
					changed = s.Services
				}
				p.Plan(s.Cluster, changed)
				if p.cluster == was {
					parts++
				}
				if d := diff(Plan(s), p.desired); d != "" {
					t.Fatalf("%s, after %q: -anew +kept %s", name, history, d)
				}
				if d := diff(copied, kept); d != "" {
					t.Fatalf("a plan that was given away is changed: %s", d)
				}
			}
			var line string
			switch i := r.IntN(5); r.IntN(9) {
			case 0:
				line = r.advert()
			case 1:
				line = r.node(i)
			case 2:
				line = r.member(i)
			case 3:
				line = fmt.Sprintf("gone node-%d", i)
			case 4:
				line = fmt.Sprintf("lost node-%d", i)
			case 5:
				line = fmt.Sprintf("delete ns/s%d", r.IntN(12))
			default:
				line = r.service(r.IntN(12))
			}
			history = append(history, line)
			if err := w.do(line); err != nil {
				t.Fatal(err)
			}
		}
	}
	if parts < 1000 {
		t.Errorf("only %d steps were taken in part", parts)
	}
}

// large is a cluster with so many nodes, members and Services with an address each, as the member on a node sees it.
func large(tb testing.TB, nodes, services int, on string) Snapshot {
	tb.Helper()
	w := newWorld()
	do := func(format string, args ...any) {
		if err := w.do(fmt.Sprintf(format, args...)); err != nil {
			tb.Fatal(err)
		}
	}
	do("pool big 10.0.0.0/16")
	do("advert all big")
	for i := range nodes {
		do("node worker-%d kubernetes.io/hostname=worker-%d", i, i)
		do("member worker-%d", i)
	}
	a := netip.MustParseAddr("10.0.0.1")
	for i := range services {
		do("service ns/svc-%d %s endpoints=worker-%d", i, a, i%nodes)
		a = a.Next()
	}
	return w.snapshot(on)
}

func BenchmarkPlan10000Of100Nodes(b *testing.B) {
	s := large(b, 100, 10_000, "worker-7")
	b.ReportAllocs()
	for b.Loop() {
		Plan(s)
	}
}

func BenchmarkOneServiceOf10000(b *testing.B) {
	for _, nodes := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d nodes", nodes), func(b *testing.B) {
			s := large(b, nodes, 10_000, "worker-0")
			var p Planner
			p.Plan(s.Cluster, s.Services)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				svc := s.Services[i%len(s.Services)]
				if i%2 == 0 {
					svc.Endpoints4 = Endpoints{}
				}
				p.Plan(s.Cluster, []Service{svc})
			}
		})
	}
}

func TestYields(t *testing.T) {
	const three = "pool front 192.0.2.0/24\nadvert front front\nnode a zone=a\nnode b zone=b\nnode c zone=c\nmember a\nmember b\nmember c\n"
	for name, c := range map[string]struct {
		lines string
		want  []string // of 192.0.2.1 and 192.0.2.2, which the node a answers
	}{
		"what the node is to announce is not yielded": {three + `service ns/1 192.0.2.1 endpoints=a local
			service ns/2 192.0.2.2 endpoints=a local`, nil},
		"an address whose endpoints have gone to another node": {three + `service ns/1 192.0.2.1 endpoints=b local
			service ns/2 192.0.2.2 endpoints=a local`, []string{"192.0.2.1"}},
		"the label that excludes the node": {three + `service ns/1 192.0.2.1 endpoints=b
			service ns/2 192.0.2.2 endpoints=b
			node a zone=a ` + ExcludeLabel + "=", []string{"192.0.2.1", "192.0.2.2"}},
		"other nodes are selected": {three + `service ns/1 192.0.2.1 endpoints=b
			service ns/2 192.0.2.2 endpoints=b
			delete front
			pool front 192.0.2.0/24
			advert front front nodes=zone=b`, []string{"192.0.2.1", "192.0.2.2"}},
		"other nodes are preferred": {three + `service ns/1 192.0.2.1 endpoints=b
			service ns/2 192.0.2.2 endpoints=b
			advert more front prefer=zone=c@10`, []string{"192.0.2.1", "192.0.2.2"}},
		"the Service is deleted": {three + `service ns/1 192.0.2.1 endpoints=b local`, []string{"192.0.2.1"}},
		"no endpoint is left": {three + `service ns/1 192.0.2.1 endpoints=b local
			service ns/2 192.0.2.2 local`, []string{"192.0.2.1"}},
		"the pool is gone": {three + `service ns/1 192.0.2.1 endpoints=b local
			service ns/2 192.0.2.2 endpoints=b local
			delete front
			pool front 192.0.2.1/32
			advert front front`, []string{"192.0.2.1"}},
		"a node holds the address": {three + `service ns/1 192.0.2.1 endpoints=b local
			service ns/2 192.0.2.2 endpoints=b local
			node b zone=b address=192.0.2.2`, []string{"192.0.2.1"}},
		"no node may announce it": {three + `service ns/1 192.0.2.1 endpoints=b
			delete front
			pool front 192.0.2.0/24
			advert front front nodes=zone=d`, nil},
		"the node counts as gone": {three + `service ns/1 192.0.2.1 endpoints=b local
			service ns/2 192.0.2.2 endpoints=b local
			gone a`, nil},
		"the node has not joined the others": {three + `service ns/1 192.0.2.1 endpoints=b local
			service ns/2 192.0.2.2 endpoints=b local
			lost a`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			for line := range strings.Lines(c.lines) {
				if err := w.do(strings.TrimSpace(line)); err != nil {
					t.Fatal(line, err)
				}
			}
			var p Planner
			s := w.snapshot("a")
			p.Plan(s.Cluster, s.Services)
			var got []string
			for _, e := range p.Yields([]l2.Entry{{Address: netip.MustParseAddr("192.0.2.1")}, {Address: netip.MustParseAddr("192.0.2.2")}}) {
				if !e.Yielding {
					t.Errorf("%v is not marked", e)
				}
				got = append(got, e.Address.String())
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
	if got := new(Planner).Yields([]l2.Entry{{Address: netip.MustParseAddr("192.0.2.1")}}); got != nil {
		t.Errorf("yields %v before the first plan", got)
	}
}
