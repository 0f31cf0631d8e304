package node

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/client-go/tools/record"

	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/lbservice"
	"metallb.io/operator/speaker/sessions"
)

// routeReporter is one of which reportRoutes works.
func routeReporter(t *testing.T) *reporter {
	t.Helper()
	m, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{
		Options: Options{Name: "node-1", Metrics: m, Log: slog.New(slog.DiscardHandler), Recorder: &record.FakeRecorder{}},
		inputs:  newInputs(lbservice.Class{}, "node-1", "speaker", netip.Addr{}),
	}
	n.bgpStatuses = newStatuses(n, serviceBGPStatus)
	t.Cleanup(n.bgpStatuses.queue.ShutDown)
	return &reporter{Node: n}
}

// TestWhatIsNewOfRoutesIsAllThatIsReported has one reporter hear of every step, and another one of the last only: they say the same.
func TestWhatIsNewOfRoutesIsAllThatIsReported(t *testing.T) {
	prefix := func(i int) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32) }
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		steps := routeReporter(t)
		services := make([][]announce.BGPWhy, 6)
		observed := make([]sessions.Observed, 2)
		for i := range observed {
			observed[i].Name, observed[i].Session.State = fmt.Sprint("peer-", i), bgp.Active
		}
		var x result
		for range 1 + r.IntN(12) {
			i := r.IntN(len(services))
			switch r.IntN(4) {
			case 0:
				services[i] = nil
			case 1, 2:
				services[i] = nil
				for n := range 1 + r.IntN(2) {
					p := prefix(10*i + n)
					w := announce.BGPWhy{Service: fmt.Sprint("shop/web-", i), Address: p.Addr(), Reason: announce.Announced}
					switch r.IntN(4) {
					case 0:
						w.Reason, w.Message = announce.Conflict, fmt.Sprint("conflict ", r.IntN(2))
					case 1:
						w.Reason = announce.NoEndpoints
					default:
						w.Routes = []announce.BGPRoute{{Prefix: p, Peers: []string{"peer-0", "peer-1"}[r.IntN(2):]}}
					}
					services[i] = append(services[i], w)
				}
			default:
				o := &observed[r.IntN(len(observed))]
				if o.Session.IPv4 = r.IntN(3) > 0; o.Session.IPv4 {
					o.Session.State = bgp.Established
				} else {
					o.Session.State = bgp.Active
				}
				o.Paths = nil
				for n := range 60 {
					if r.IntN(2) == 0 {
						o.Paths = append(o.Paths, bgp.Path{Prefix: prefix(n)})
					}
				}
			}
			x = result{configured: true}
			for _, s := range services {
				x.desired.BGP.Why = append(x.desired.BGP.Why, s...)
			}
			steps.reportRoutes(&x, append([]sessions.Observed(nil), observed...))
		}
		last := routeReporter(t)
		last.reportRoutes(&x, observed)
		if d := cmp.Diff(last.bgpStatuses.want, steps.bgpStatuses.want); d != "" {
			t.Fatalf("what is said in the end, and after every step:\n%s", d)
		}
		if a, b := testutil.CollectAndCount(last.Metrics.announced), testutil.CollectAndCount(steps.Metrics.announced); a != b {
			t.Fatalf("%d addresses are announced in the end, and %d after every step", a, b)
		}
	}
}

// Thousands of Services that change one after the other must not each keep the plan of its time.
func TestWhatIsKeptOfAServiceKeepsNoPlan(t *testing.T) {
	r := routeReporter(t)
	x := result{configured: true}
	for i := range 1000 {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i / 256), byte(i)})
		x.desired.BGP.Why = append(x.desired.BGP.Why, announce.BGPWhy{Service: fmt.Sprintf("shop/web-%04d", i), Address: a, Reason: announce.NoEndpoints})
	}
	r.reportRoutes(&x, nil)
	if len(r.routes.of) != len(x.desired.BGP.Why) {
		t.Errorf("of %d Services %d are known", len(x.desired.BGP.Why), len(r.routes.of))
	}
	for service, s := range r.routes.of {
		if len(s.why) != 1 || cap(s.why) > 8 {
			t.Fatalf("of %s %d lines are kept, within %d", service, len(s.why), cap(s.why))
		}
	}
}
