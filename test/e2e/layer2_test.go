package e2e

import (
	"context"
	"flag"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

var (
	offs = flag.Int("offs", 1, "how often the node that answers is switched off")
	cuts = flag.Int("cuts", 2, "how often its cable to the LAN is cut, by loss of carrier and silently in turn")
	bars = flag.Bool("bars", false, "fail where the address is longer unanswered than it may be: half a second in the median, a second at most; where a rolling update loses a request, or where a busy node is taken for dead")
)

const (
	pollEvery = 10 * time.Millisecond
	// medianBar and worstBar are for the time without an answer, healBar is when only one node answers again once a cable is
	// back. looseBar is for a machine that does other things beside.
	medianBar, worstBar = 500 * time.Millisecond, time.Second
	healBar             = time.Second
	looseBar            = 3 * time.Second
)

// The node that answers for an address loses its power, and its cable: another one answers, and when it is back there is
// only one that does.
func TestFailover(t *testing.T) {
	p, ns, first := aspera(t)
	addresses := append(moreServices(t, p, ns, 5), first)

	var outages []time.Duration
	for range *offs {
		outages = append(outages, powerOff(t, p, addresses))
	}
	judge(t, "switched off", outages)
	for _, how := range []lab.Cut{lab.CarrierLoss, lab.Silent} {
		outages = nil
		var doubles []time.Duration
		for i := range *cuts {
			if i%2 == int(how-lab.CarrierLoss) {
				outage, double := cutCable(t, p, addresses, how)
				outages, doubles = append(outages, outage), append(doubles, double)
			}
		}
		what := map[lab.Cut]string{lab.CarrierLoss: "cable cut, carrier lost", lab.Silent: "cable cut silently"}[how]
		judge(t, what, outages)
		t.Logf("%s: when it was back, two nodes answered for up to %s", what, doubles)
		for _, d := range doubles {
			if d > healBar && *bars || d > looseBar {
				t.Errorf("%s: for %s after the cable was back two nodes answered", what, d)
			}
		}
	}
}

func judge(t *testing.T, what string, outages []time.Duration) {
	t.Helper()
	if len(outages) == 0 {
		return
	}
	slices.Sort(outages)
	median, worst := outages[len(outages)/2], outages[len(outages)-1]
	t.Logf("%s %d times: without an answer for %s in the median, %s at most: %s", what, len(outages), median, worst, outages)
	if *bars && (median > medianBar || worst > worstBar) || worst > looseBar {
		t.Errorf("%s: without an answer for %s in the median and %s at most", what, median, worst)
	}
}

// moreServices makes Services of the same pods, so that each node has something to announce.
func moreServices(t *testing.T, p *product.Product, ns string, n int) (out []netip.Addr) {
	t.Helper()
	ctx := product.Within(t, time.Minute)
	like := &corev1.Service{}
	like.Namespace, like.Name = ns, "aspera-tcp-proxy"
	product.Must(t, p.Get(ctx, client.ObjectKeyFromObject(like), like))
	for range n {
		svc := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "more-"},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Selector: like.Spec.Selector, Ports: []corev1.ServicePort{{Port: 80}}},
		}
		product.Must(t, p.Create(ctx, svc))
		address, err := p.Address(ctx, ns, svc.Name)
		product.Must(t, err)
		out = append(out, address)
	}
	return out
}

// owned chooses a node and returns it with the addresses that it answers for.
func owned(t *testing.T, p *product.Product, addresses []netip.Addr) (node string, its []netip.Addr) {
	t.Helper()
	ctx := product.Within(t, time.Minute)
	by := map[string][]netip.Addr{}
	for _, a := range addresses {
		n, _, err := p.Announcer(ctx, a)
		product.Must(t, err)
		by[n] = append(by[n], a)
	}
	for n, as := range by {
		if len(as) > len(its) {
			node, its = n, as
		}
	}
	return node, its
}

// polled asks for addresses while do runs.
func polled(t *testing.T, p *product.Product, addresses []netip.Addr, do func()) []product.Reply {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	type result struct {
		replies []product.Reply
		err     error
	}
	done := make(chan result, 1)
	go func() {
		replies, err := p.AskByARP(ctx, pollEvery, addresses...)
		done <- result{replies, err}
	}()
	time.Sleep(500 * time.Millisecond)
	do()
	stop()
	r := <-done
	product.Must(t, r.err)
	return r.replies
}

// powerOff switches the node with most of the addresses off, and on again, and returns the longest time in which one of them
// was not answered.
func powerOff(t *testing.T, p *product.Product, addresses []netip.Addr) time.Duration {
	t.Helper()
	node, its := owned(t, p, addresses)
	var off time.Time
	replies := polled(t, p, its, func() {
		off = time.Now()
		product.Must(t, p.PowerOff(node))
		time.Sleep(4 * time.Second)
	})
	ctx := product.Within(t, 2*time.Minute)
	product.Must(t, p.PowerOn(ctx, node), p.WaitNode(ctx, node, true), p.WaitAvailable(ctx, "metallb-system"),
		p.WaitRollout(ctx, product.OperatorNamespace, operatorDeployment))
	return explained(t, p, outage(t, its, replies, off))
}

// explained logs what the speakers said of late where an outage was longer than it may be.
func explained(t *testing.T, p *product.Product, outage time.Duration) time.Duration {
	t.Helper()
	if outage > worstBar {
		t.Logf("%s:", outage)
		p.Dump(t, []string{"logs", "-n", "metallb-system", "-l", "app=metallb,component=speaker", "--since=60s", "--tail=-1", "--prefix"})
	}
	return outage
}

// cutCable cuts the cable of the node with most of the addresses for a while, and returns the longest time in which one of
// them was not answered, and for how long after its return two nodes answered for one.
func cutCable(t *testing.T, p *product.Product, addresses []netip.Addr, how lab.Cut) (without, double time.Duration) {
	t.Helper()
	node, its := owned(t, p, addresses)
	var cut, back time.Time
	replies := polled(t, p, addresses, func() {
		cut = time.Now()
		product.Must(t, p.CutCable(node, lab.LAN, how))
		time.Sleep(4 * time.Second)
		back = time.Now()
		product.Must(t, p.MendCable(node, lab.LAN))
		time.Sleep(4 * time.Second)
	})
	for _, a := range addresses {
		double = max(double, twoAnswer(a, replies, back))
	}
	return explained(t, p, outage(t, its, replies, cut)), double
}

// outage is the longest time between two replies for an address, one interval of asking less.
func outage(t *testing.T, addresses []netip.Addr, replies []product.Reply, from time.Time) (longest time.Duration) {
	t.Helper()
	if len(replies) == 0 {
		t.Fatal("nothing was answered at all")
	}
	for _, a := range addresses {
		var last product.Reply
		for _, r := range replies {
			if r.Address != a {
				continue
			}
			if r.At.After(from) && !last.At.IsZero() {
				longest = max(longest, r.At.Sub(last.At)-pollEvery)
			}
			last = r
		}
		if end := replies[len(replies)-1].At; end.Sub(last.At) > 20*pollEvery {
			t.Errorf("%s was not answered in the last %s", a, end.Sub(last.At))
		}
	}
	if longest < 5*pollEvery {
		t.Errorf("without an answer for %s only: the node did not answer for what it was to lose", longest)
	}
	return longest.Round(time.Millisecond)
}

// twoAnswer is how long after a moment two nodes answered one request for the last time.
func twoAnswer(a netip.Addr, replies []product.Reply, from time.Time) time.Duration {
	var last product.Reply
	var until time.Time
	for _, r := range replies {
		if r.Address != a || r.At.Before(from) {
			continue
		}
		if last.MAC != "" && last.MAC != r.MAC && r.At.Sub(last.At) < pollEvery {
			until = r.At
		}
		last = r
	}
	if until.IsZero() {
		return 0
	}
	return until.Sub(from).Round(time.Millisecond)
}
