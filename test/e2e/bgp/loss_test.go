package bgp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	bars "metallb.io/operator/bench"
	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// wide is how long a route may stay where nothing is judged: on a machine that others use.
const wide = 5 * time.Second

// frrPrefix is what the second FRR, on the client, announces to the router.
const frrPrefix = "100.66.0.1/32"

// TestANodeIsLost cuts a node's cable without a sign, and that of a second FRR: with BFD at 100 ms x 3 the router forwards
// nothing to them any more a moment later. Then it kills speakers.
func TestANodeIsLost(t *testing.T) {
	n := install(t)
	client := n.address(lab.Client)
	n.startRouter(lab.FRR, strings.Replace(n.gateway("bfd profile fast"), " address-family ipv4",
		fmt.Sprintf(" neighbor %[1]s remote-as 64514\n neighbor %[1]s bfd profile fast\n address-family ipv4", client), 1))
	configuration := fmt.Sprintf(`hostname second
bfd
 profile fast
  receive-interval 100
  transmit-interval 100
  detect-multiplier 3
 exit
exit
router bgp 64514
 bgp router-id %s
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor %[2]s remote-as %[3]d
 neighbor %[2]s bfd profile fast
 neighbor %[2]s timers connect 1
 address-family ipv4 unicast
  network %[4]s
 exit-address-family
exit
`, client, n.address(lab.Router), lab.RouterAS, frrPrefix)
	_, err := n.StartFRR(n.t, lab.Client, []string{"zebra", "bfdd", "bgpd"}, func(string) string { return configuration })
	n.must(err)
	interval := uint32(100)
	n.make(&v1beta1.BFDProfile{ObjectMeta: configured("fast"), Spec: v1beta1.BFDProfileSpec{ReceiveInterval: &interval, TransmitInterval: &interval}})
	n.expose(func(p *v1beta2.BGPPeerSpec) { p.BFDProfile = "fast" })
	routes := n.watchKernel()
	ready := func() {
		t.Helper()
		n.everywhere()
		n.must(product.Until(n.within(), "BFD to be up, and the second FRR's route", func() (bool, error) {
			peers, up := n.vtysh("show bfd peers brief"), 0
			for line := range strings.Lines(peers) {
				if f := strings.Fields(line); len(f) > 3 && f[3] == "up" {
					up++
				}
			}
			return up == len(n.Nodes())+1 && n.kernel(netip.MustParsePrefix(frrPrefix).Addr()) == 1, fmt.Errorf("%s", peers)
		}))
	}
	var ours, theirs, killed []time.Duration
	for range *cuts {
		ready()
		time.Sleep(time.Duration(rand.Int64N(int64(300 * time.Millisecond)))) // at no fixed distance from the packets
		cut := time.Now()
		n.must(n.CutCable("node2", lab.LAN, lab.Silent))
		cutSecond := time.Now()
		n.must(n.CutCable(lab.Client, lab.LAN, lab.Silent))
		ours = append(ours, routes.lost(edgePrefix, n.address("node2"), cut))
		theirs = append(theirs, routes.lost(frrPrefix, client, cutSecond))
		n.must(n.MendCable("node2", lab.LAN), n.MendCable(lab.Client, lab.LAN))
	}
	ready()
	for _, node := range n.Nodes()[:min(*cuts, len(n.Nodes()))] {
		out, err := n.Exec(n.within(), node, "pgrep", "-f", "^/metallb speaker")
		n.must(err)
		began := time.Now()
		_, err = n.Exec(n.within(), node, "kill", "-KILL", strings.TrimSpace(out.Stdout))
		n.must(err)
		killed = append(killed, routes.lost(edgePrefix, n.address(node), began))
		ready()
	}
	t.Logf("silent cuts, until the route is gone from the router's kernel: %v; of the second FRR: %v; speakers killed: %v", ours, theirs, killed)
	for _, d := range slices.Concat(ours, killed) {
		if d > wide {
			t.Errorf("a route stayed for %s", d)
		}
	}
	if *judged {
		verdict := bars.Samples{}
		verdict.Add(bars.RouteOverFRR, 0, milliseconds(slices.Max(ours)-slices.Max(theirs)))
		verdict.Add(bars.RouteWorst, 0, milliseconds(slices.Max(ours)))
		verdict.Add(bars.RouteKilled, 0, milliseconds(slices.Max(killed)))
		if !bars.Report(os.Stdout, bars.Judge(bars.LostRoutes, verdict)) {
			t.Error("a bar is missed")
		}
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }

// kernelRoutes are the routes of the router's kernel as it tells of their changes.
type kernelRoutes struct {
	n  *network
	mu sync.Mutex
	// changes of each prefix, in the order in which they came.
	changes map[string][]kernelRoute
}

type kernelRoute struct {
	at   time.Time
	hops []netip.Addr
}

func (n *network) watchKernel() *kernelRoutes {
	n.t.Helper()
	k := &kernelRoutes{n: n, changes: map[string][]kernelRoute{}}
	updates, done := make(chan netlink.RouteUpdate, 100), make(chan struct{})
	n.must(n.InNamespace(lab.Router, func() error { return netlink.RouteSubscribe(updates, done) }))
	n.t.Cleanup(func() { close(done) })
	go func() {
		for u := range updates {
			if u.Dst == nil {
				continue
			}
			r := kernelRoute{at: time.Now()}
			if u.Type != rtmDelRoute {
				r.hops = hops(u.Route)
			}
			k.mu.Lock()
			k.changes[u.Dst.String()] = append(k.changes[u.Dst.String()], r)
			k.mu.Unlock()
		}
	}()
	return k
}

const rtmDelRoute = 25 // RTM_DELROUTE, rtnetlink(7)

func hops(r netlink.Route) (out []netip.Addr) {
	if a, ok := netip.AddrFromSlice(r.Gw); ok {
		out = append(out, a.Unmap())
	}
	for _, m := range r.MultiPath {
		if a, ok := netip.AddrFromSlice(m.Gw); ok {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// lost waits until a prefix is not forwarded to the next hop any more, and says how long that took.
func (k *kernelRoutes) lost(prefix string, hop netip.Addr, since time.Time) (took time.Duration) {
	k.n.t.Helper()
	k.n.must(product.Until(k.n.within(), "the route to be gone", func() (bool, error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, c := range k.changes[prefix] {
			if c.at.After(since) && !slices.Contains(c.hops, hop) {
				took = c.at.Sub(since)
				return true, nil
			}
		}
		return false, fmt.Errorf("%s over %s is still there", prefix, hop)
	}))
	return took
}
