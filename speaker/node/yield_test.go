package node

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/l2test"
)

func TestYieldingEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := l2.Entry{Address: netip.MustParseAddr("192.0.2.1")}, l2.Entry{Address: netip.MustParseAddr("192.0.2.2")}
		var y yielding
		since := func(what string, yields []l2.Entry, still, unclaimed int) {
			t.Helper()
			s, u := y.since(yields, time.Now())
			if len(s) != still || len(u) != unclaimed {
				t.Errorf("%s: %d are yielded and %d unclaimed, want %d and %d", what, len(s), len(u), still, unclaimed)
			}
		}
		since("nothing", nil, 0, 0)
		if y.over() != nil {
			t.Error("waits for nothing")
		}
		start := time.Now()
		since("one", []l2.Entry{a}, 1, 0)
		time.Sleep(yieldTimeout / 2)
		since("another one later", []l2.Entry{a, b}, 2, 0)
		<-y.over()
		if took := time.Since(start); took != yieldTimeout {
			t.Errorf("signalled after %v", took)
		}
		since("the first has had its time", []l2.Entry{a, b}, 1, 1)
		<-y.over()
		if took := time.Since(start); took != yieldTimeout*3/2 {
			t.Errorf("signalled after %v", took)
		}
		since("the first has ended", []l2.Entry{b}, 0, 1)
		since("both have ended", nil, 0, 0)
		since("it is yielded once more, and has its time again", []l2.Entry{a}, 1, 0)
	})
}

// move makes an address move by a change, while it is asked for without a pause.
func (c *cluster) move(what, address string, from int, change func()) (to int) {
	c.t.Helper()
	stop := c.asker(address).poll()
	time.Sleep(50 * time.Millisecond)
	change()
	a := c.asker(address)
	l2test.Eventually(c.t, 10*time.Second, what+": another node alone answers", func() bool {
		by := a.ask(20 * time.Millisecond)
		if len(by) == 1 {
			to = by[0]
		}
		return len(by) == 1 && to != from
	})
	p := stop()
	c.t.Logf("%s: from node %d to %d; %d questions, %d unanswered, %d answered twice", what, from, to, p.asked, p.unanswered, p.double)
	if p.unanswered > 0 {
		c.t.Errorf("%s: %d of %d questions unanswered, for %v at most", what, p.unanswered, p.asked, p.longest)
	}
	return to
}

func TestAMoveLosesNoAnswer(t *testing.T) {
	c, _ := three(t)
	const address = "192.0.2.30"
	svc, slice := c.service("web", address, 0, 1, 2)
	first := owner(t, c, address)
	node := &corev1.Node{}
	node.Name = c.node(first)
	for range 3 {
		at := c.move("excluded", address, first, func() { change(c, node, func(n *corev1.Node) { n.Labels[announce.ExcludeLabel] = "" }) })
		c.move("included", address, at, func() { change(c, node, func(n *corev1.Node) { delete(n.Labels, announce.ExcludeLabel) }) })
	}
	adv := &v1beta1.L2Advertisement{}
	adv.Name, adv.Namespace = "front", c.namespace
	at := c.move("other nodes are selected", address, first, func() {
		change(c, adv, func(a *v1beta1.L2Advertisement) {
			a.Spec.NodeSelectors = []metav1.LabelSelector{selectZone((first + 1) % 3), selectZone((first + 2) % 3)}
		})
	})
	node.Name = c.node(at)
	c.move("the label of the node", address, at, func() { change(c, node, func(n *corev1.Node) { n.Labels["zone"] = "none" }) })
	change(c, svc, func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
	change(c, adv, func(a *v1beta1.L2Advertisement) { a.Spec.NodeSelectors = nil })
	at = owner(t, c, address)
	for range 2 {
		at = c.move("the endpoint", address, at, func() {
			change(c, slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints = c.endpoints((at + 1) % 3) })
		})
	}
}

// The node that is to take over is not heard: the old one answers for as long as it may have to wait.
func TestANodeYieldsForAWhile(t *testing.T) {
	c, all := three(t)
	const address = "192.0.2.31"
	c.service("web", address, 0)
	first := owner(t, c, address)
	for i := range all {
		if i != first {
			c.lan.IP(t, fmt.Sprintf("link set port%d nomaster", i)) // of the LAN; it is a member like before
		}
	}
	node := &corev1.Node{}
	node.Name = c.node(first)
	start := time.Now()
	change(c, node, func(n *corev1.Node) { n.Labels[announce.ExcludeLabel] = "" })
	l2test.Eventually(t, 10*time.Second, "it gives the address up", func() bool { return len(all[first].arp.Running()) == 0 })
	if took := time.Since(start); took < yieldTimeout {
		t.Errorf("it did so after %v already", took)
	}
}
