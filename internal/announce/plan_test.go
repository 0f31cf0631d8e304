package announce

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"metallb.io/operator/internal/ipam"
)

var comparing = []cmp.Option{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

// random makes a world of any kind.
func random(r *rand.Rand) *world {
	w := newWorld()
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	pick := func(n int) bool { return r.IntN(n) == 0 }
	opt := func(cond bool, s string) string {
		if cond {
			return s
		}
		return ""
	}
	must(w.do("pool one 192.0.2.0/28"))
	must(w.do("pool two 192.0.2.32-192.0.2.40 2001:db8::/120"))
	for i := range r.IntN(5) {
		must(w.do(strings.Join([]string{"advert", fmt.Sprintf("adv%d", i), []string{"one", "two"}[r.IntN(2)],
			opt(pick(3), fmt.Sprintf("nodes=zone=z%d", r.IntN(2))), opt(pick(4), fmt.Sprintf("services=app=a%d", r.IntN(2))),
			opt(pick(3), fmt.Sprintf("prefer=zone=z%d@%d", r.IntN(2), 1+r.IntN(100))), opt(pick(4), fmt.Sprintf("interfaces=eth%d", r.IntN(2)))}, " ")))
	}
	for i := range 1 + r.IntN(5) {
		name := fmt.Sprintf("node-%d", i)
		must(w.do(strings.Join([]string{"node", name, fmt.Sprintf("zone=z%d", r.IntN(2)), opt(pick(5), "cordoned"),
			opt(pick(8), "network-unavailable"), opt(pick(8), ExcludeLabel+"="), opt(pick(6), "interfaces=eth1"),
			opt(pick(10), fmt.Sprintf("address=192.0.2.%d", r.IntN(16)))}, " ")))
		if !pick(5) {
			must(w.do("member " + name))
		}
	}
	for i := range r.IntN(12) {
		address := fmt.Sprintf("192.0.2.%d", r.IntN(45))
		if pick(4) {
			address += fmt.Sprintf(",2001:db8::%d", r.IntN(4))
		}
		must(w.do(strings.Join([]string{"service", fmt.Sprintf("ns/s%d", i), address, fmt.Sprintf("app=a%d", r.IntN(2)), opt(pick(3), "local"),
			opt(!pick(5), fmt.Sprintf("endpoints=node-%d,node-%d", r.IntN(5), r.IntN(5)))}, " ")))
	}
	return w
}

func TestRandomWorlds(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	announced := 0
	for range 1000 {
		w := random(r)
		checkOwners(t, w, 0)
		for _, m := range w.names() {
			s := w.snapshot(m)
			first := Plan(s)
			r.Shuffle(len(s.Services), func(i, j int) { s.Services[i], s.Services[j] = s.Services[j], s.Services[i] })
			r.Shuffle(len(s.Nodes), func(i, j int) { s.Nodes[i], s.Nodes[j] = s.Nodes[j], s.Nodes[i] })
			r.Shuffle(len(s.Members), func(i, j int) { s.Members[i], s.Members[j] = s.Members[j], s.Members[i] })
			s.Members = append(s.Members, s.Members...)
			if d := cmp.Diff(first, Plan(s), comparing...); d != "" {
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
			if len(first.Why) != lines {
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
	if _, excluded := node.Labels[ExcludeLabel]; excluded || node.NetworkUnavailable || !slices.Contains(s.Members, s.Node) {
		t.Errorf("%s may announce nothing, yet announces %s", s.Node, e.Address)
	}
	for _, svc := range s.Services {
		if !slices.Contains(svc.Addresses, e.Address) || !slices.Contains(e.Services, svc.Name) {
			continue
		}
		if svc.Local && !slices.Contains(svc.Endpoints.Nodes, s.Node) || !svc.Endpoints.Any {
			continue
		}
		for _, p := range s.Config.Pools {
			in := slices.ContainsFunc(p.Addresses, func(r ipam.Range) bool { return r.Contains(e.Address) })
			for _, adv := range p.L2 {
				if in && (adv.NodeSelectors == nil || adv.NodeSelectors[0].Matches(node.Labels)) &&
					(adv.ServiceSelectors == nil || adv.ServiceSelectors[0].Matches(svc.Labels)) {
					return
				}
			}
		}
	}
	t.Errorf("nothing allows %s to announce %s: %+v", s.Node, e.Address, e)
}

// One plan of 100 nodes and 10 000 addresses, and what a node's loss moves.
func TestLargePlan(t *testing.T) {
	w := newWorld()
	for _, l := range []string{"pool big 10.0.0.0/16", "advert all big"} {
		if err := w.do(l); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		_ = w.do(fmt.Sprintf("node worker-%d kubernetes.io/hostname=worker-%d", i, i))
		_ = w.do(fmt.Sprintf("member worker-%d", i))
	}
	a := netip.MustParseAddr("10.0.0.1")
	for i := range 10_000 {
		_ = w.do(fmt.Sprintf("service ns/svc-%d %s endpoints=worker-%d", i, a, i%100))
		a = a.Next()
	}
	s := w.snapshot("worker-7")
	start := time.Now()
	d := Plan(s)
	t.Logf("one plan of 10000 addresses and 100 nodes: %v, %d entries here", time.Since(start).Round(time.Millisecond), len(d.L2))
	before := map[netip.Addr]string{}
	for _, y := range d.Why {
		before[y.Address] = y.Owner
	}
	s.Members = slices.DeleteFunc(slices.Clone(s.Members), func(m string) bool { return m == "worker-8" })
	moved := 0
	for _, y := range Plan(s).Why {
		if y.Owner != before[y.Address] {
			moved++
			if before[y.Address] != "worker-8" {
				t.Fatalf("%s moved from %s to %s when worker-8 left", y.Address, before[y.Address], y.Owner)
			}
		}
	}
	t.Logf("worker-8 left: %d addresses moved", moved)
}
