package bgp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/bgp/bgptest/hostile"
	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

const (
	// askEvery is the time between two ARP requests.
	askEvery = 10 * time.Millisecond
	// A session's process and the speaker may have so much memory, in KiB.
	mostEngine, mostSpeaker = 64 << 10, 140 << 10
)

// behaviour is what a router does with a connection, the n-th that it takes.
type behaviour func(ctx context.Context, c net.Conn, n int)

// badRouters are those that break the rules, by name.
func badRouters() map[string]behaviour {
	all := map[string]behaviour{
		"half-opens": func(ctx context.Context, _ net.Conn, _ int) { <-ctx.Done() },
		"resets": func(_ context.Context, c net.Conn, _ int) {
			_ = c.(*net.TCPConn).SetLinger(0)
		},
		"resets what is established": func(ctx context.Context, c net.Conn, _ int) {
			greet(c)
			pause(ctx, time.Second)
			_ = c.(*net.TCPConn).SetLinger(0)
		},
		flood: func(ctx context.Context, c net.Conn, _ int) {
			greet(c)
			const updates, routes = 1000, 1000
			for i := range updates {
				if _, err := c.Write(hostile.Update(i*routes, routes)); err != nil {
					return
				}
			}
			for ctx.Err() == nil {
				pause(ctx, time.Second)
				_, _ = c.Write(hostile.Keepalive())
			}
		},
	}
	for name, wire := range hostile.Messages() {
		all[name] = func(ctx context.Context, c net.Conn, n int) {
			if n%2 == 1 { // after an OPEN that keeps the rules, and in its place
				greet(c)
			}
			_, _ = c.Write(wire)
			pause(ctx, time.Second)
		}
	}
	return all
}

const flood = "a million routes"

func greet(c net.Conn) { _, _ = c.Write(append(hostile.Open(), hostile.Keepalive()...)) }

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// TestHostileRouters has the node that answers ARP for an address speak BGP with routers that break the rules, and with one
// that does not: the speaker lives, and neither ARP nor the good session notices.
func TestHostileRouters(t *testing.T) {
	n := install(t)
	n.startRouter(lab.FRR, n.gateway())
	ns := n.expose(nil)
	address, node := n.layer2(ns)
	to := netip.AddrPortFrom(edge4, 80)
	n.answered(to, n.Nodes())
	before, life := n.speaker(node), n.established(node)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var questions []product.Question
	asked := make(chan error, 1)
	go func() {
		var err error
		questions, err = n.Question(ctx, askEvery, address)
		asked <- err
	}()
	taken := n.attack(ctx, node)
	began := time.Now()
	speaker, engine := 0, 0
	for time.Since(began) < *attacked {
		s, e := n.memory(node)
		speaker, engine = max(speaker, s), max(engine, e)
		pause(ctx, 500*time.Millisecond)
	}
	n.must(product.Until(n.within(), "each router to have been called twice, and the flood to be borne", func() (bool, error) {
		var missing []string
		for name, count := range taken.counts() {
			if count < 2 && name != flood && name != "half-opens" {
				missing = append(missing, name)
			}
		}
		state, err := n.sessionState(node, badPeer(slices.Index(badNames(), flood)))
		return err == nil && len(missing) == 0 && state.BGPStatus == established, errors.Join(err, fmt.Errorf("%q were not, the flood's session is %s", missing, state.BGPStatus))
	}))
	stop()
	n.must(<-asked)

	unanswered := 0
	for _, q := range questions {
		if len(q.Replies) == 0 {
			unanswered++
		}
	}
	t.Logf("%d routers broke the rules on %d connections for %s: %d of %d ARP requests were not answered; at most %d KiB of memory for a session, %d KiB for the speaker",
		len(taken.counts()), taken.total(), time.Since(began).Round(time.Second), unanswered, len(questions), engine, speaker)
	if *judged && unanswered > 0 || unanswered*100 > len(questions) || len(questions) < 100 {
		t.Errorf("%d of %d ARP requests were not answered", unanswered, len(questions))
	}
	if engine > mostEngine || speaker > mostSpeaker || engine == 0 {
		t.Errorf("a session takes %d KiB, the speaker %d KiB", engine, speaker)
	}
	if now := n.speaker(node); now != before {
		t.Errorf("the speaker was %s, and is %s", before, now)
	}
	if now := n.established(node); now != life {
		t.Errorf("the session with the good router was the %s, and is the %s", life, now)
	}
}

// layer2 makes a Service whose address a node answers ARP for, and returns both.
func (n *network) layer2(ns string) (address netip.Addr, node string) {
	n.t.Helper()
	n.make(
		&v1beta1.IPAddressPool{ObjectMeta: configured("layer2"), Spec: v1beta1.IPAddressPoolSpec{AutoAssign: ptr.To(false), Addresses: []string{"172.30.0.200/32"}}},
		&v1beta1.L2Advertisement{ObjectMeta: configured("layer2"), Spec: v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"layer2"}}}, fromPool(ns, "layer2", "layer2"))
	address, err := n.Address(n.within(), ns, "layer2")
	n.must(err)
	node, _, err = n.Announcer(n.within(), address)
	n.must(err)
	return address, node
}

// fromPool is a Service of the pods on all nodes with an address of a pool.
func fromPool(ns, name, pool string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{"app": "echo"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intOrString(33001)}},
	}}
	s.Annotations = map[string]string{"metallb.io/address-pool": pool}
	return s
}

// called counts the connections of each router.
type called struct {
	mu sync.Mutex
	of map[string]int
}

func (c *called) next(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[name]++
	return c.of[name] - 1
}

func (c *called) counts() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.of)
}

func (c *called) total() (all int) {
	for _, n := range c.counts() {
		all += n
	}
	return all
}

// badNetwork is where they all are, and the node.
const badNetwork = "172.29.250."

func badAddress(i int) string { return fmt.Sprintf("%s%d", badNetwork, 100+i) }

func badPeer(i int) string { return fmt.Sprintf("bad-%d", i) }

// badNames are the names of all in an order.
func badNames() []string { return slices.Sorted(maps.Keys(badRouters())) }

// attack has a node speak with all bad routers until the context ends.
func (n *network) attack(ctx context.Context, node string) *called {
	n.t.Helper()
	taken := &called{of: map[string]int{}}
	_, err := n.Exec(n.within(), node, "ip", "addr", "replace", badNetwork+"11/24", "dev", "eth0")
	n.must(err)
	routers := badRouters()
	for i, name := range badNames() {
		_, err := n.Exec(n.within(), lab.Router, "ip", "addr", "replace", badAddress(i)+"/24", "dev", "eth0")
		n.must(err)
		l, err := n.Listen(ctx, lab.Router, "tcp", fmt.Sprintf("%s:%d", badAddress(i), otherPort))
		n.must(err)
		n.t.Cleanup(func() { _ = l.Close() })
		taken.of[name] = 0
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				count := taken.next(name)
				go func() { _, _ = io.Copy(io.Discard, c) }() // what it is told does not matter
				go func() {
					defer c.Close()
					routers[name](ctx, c, count)
				}()
			}
		}()
		n.make(&v1beta2.BGPPeer{ObjectMeta: configured(badPeer(i)), Spec: v1beta2.BGPPeerSpec{
			MyASN: lab.NodeAS, ASN: hostile.ASN, Address: badAddress(i), Port: otherPort, NodeSelectors: on(node), ConnectTime: duration(time.Second),
		}})
	}
	return taken
}

// speaker names the container of a node's speaker.
func (n *network) speaker(node string) string {
	n.t.Helper()
	pods := &corev1.PodList{}
	n.must(n.List(n.within(), pods, client.InNamespace(namespace), client.MatchingLabels{"component": "speaker"}))
	for _, p := range pods.Items {
		if p.Spec.NodeName == node && len(p.Status.ContainerStatuses) > 0 {
			return p.Status.ContainerStatuses[0].ContainerID
		}
	}
	n.t.Fatalf("no speaker on %s", node)
	return ""
}

// established is how often FRR has had a session with a node, and lost it.
func (n *network) established(node string) string {
	n.t.Helper()
	var lines []string
	for line := range strings.Lines(n.vtysh("show bgp neighbors " + n.address(node).String())) {
		if strings.Contains(line, "Connections established") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, " ")
}

// memory, in KiB, of a node's speaker, and of its largest session.
func (n *network) memory(node string) (speaker, engine int) {
	n.t.Helper()
	out, err := n.Exec(n.within(), node, "ps", "-eo", "rss=,args=")
	n.must(err)
	for line := range strings.Lines(out.Stdout) {
		var rss int
		if _, err := fmt.Sscan(line, &rss); err != nil {
			continue
		}
		switch {
		case strings.Contains(line, "/metallb speaker"):
			speaker = max(speaker, rss)
		case strings.Contains(line, "/metallb-bgp "):
			engine = max(engine, rss)
		}
	}
	return speaker, engine
}
