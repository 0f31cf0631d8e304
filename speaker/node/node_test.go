package node

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/l2/l2test"
)

// three starts a cluster of three nodes with a speaker each.
func three(t *testing.T) (*cluster, []*speaker) {
	c := newCluster(t, 3)
	all := []*speaker{c.start(0, "a"), c.start(1, "a"), c.start(2, "a")}
	c.ready(all...)
	return c, all
}

// events takes what a speaker has told users so far.
func (s *speaker) events() []string {
	var out []string
	for {
		select {
		case e := <-s.recorder.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

// announced returns the metric's samples as service/ip.
func (s *speaker) announced(t *testing.T) []string {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == "metallb_speaker_announced" && m.GetGauge().GetValue() == 1 {
				l := map[string]string{}
				for _, p := range m.Label {
					l[p.GetName()] = p.GetValue()
				}
				if l["protocol"] != "layer2" || l["node"] != s.Name {
					t.Errorf("labels %v", l)
				}
				_, service, _ := strings.Cut(l["service"], "/")
				out = append(out, service+" "+l["ip"])
			}
		}
	}
	return out
}

func owner(t *testing.T, c *cluster, address string) int {
	t.Helper()
	var nodes []int
	l2test.Eventually(t, 10*time.Second, address+" is answered by one node", func() bool {
		nodes = c.answers(address)
		return len(nodes) == 1
	})
	return nodes[0]
}

func TestAServiceIsAnsweredByOneNodeWhileItHasEndpoints(t *testing.T) {
	c, all := three(t)
	svc, slice := c.service("web", "192.0.2.10", 0, 1)
	o := owner(t, c, "192.0.2.10")
	t.Logf("answered by node %d", o)
	l2test.Eventually(t, 10*time.Second, "the metric says so", func() bool { return cmp.Equal([]string{"web 192.0.2.10"}, all[o].announced(t)) })

	// What changes nothing is not told again.
	change(c, svc, func(s *corev1.Service) { s.Labels = map[string]string{"edited": "yes"} })
	time.Sleep(200 * time.Millisecond)
	want := []string{fmt.Sprintf("Normal nodeAssigned node %s announces 192.0.2.10 by layer2", c.node(o))}
	for i, s := range all {
		w := want
		if i != o {
			w = nil
		}
		if d := cmp.Diff(w, s.events()); d != "" {
			t.Errorf("events of node %d: %s", i, d)
		}
	}

	change(c, slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints = nil })
	c.eventually("no endpoint", "192.0.2.10")
	if d := cmp.Diff([]string{}, all[o].announced(t)); d != "" {
		t.Error(d)
	}
	change(c, slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints = c.endpoints(2) })
	c.eventually("an endpoint again", "192.0.2.10", o)
	if err := c.client.Delete(context.Background(), svc); err != nil {
		t.Fatal(err)
	}
	c.eventually("the Service is deleted", "192.0.2.10")
}

func TestAServiceWithAnIPv6AddressIsAnswered(t *testing.T) {
	c, all := three(t)
	c.service("web6", "2001:db8::10", 0)
	l2test.Eventually(t, 10*time.Second, "the client resolves the address", func() bool {
		c.lan.Inside(t, func() error {
			d, err := net.Dial("udp6", "[2001:db8::10]:9")
			if err == nil {
				_, _ = d.Write([]byte("x"))
				_ = d.Close()
			}
			return nil
		})
		for i := range all {
			if c.neighbourIs("2001:db8::10", i) {
				t.Logf("node %d", i)
				return cmp.Equal([]string{"web6 2001:db8::10"}, all[i].announced(t))
			}
		}
		return false
	})
}

func TestTheAnnouncerFollowsTheEndpointWithPolicyLocal(t *testing.T) {
	c, _ := three(t)
	svc, slice := c.service("web", "192.0.2.11", 0)
	change(c, svc, func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
	for _, i := range []int{0, 2, 1} {
		change(c, slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints = c.endpoints(i) })
		c.eventually(fmt.Sprintf("the endpoint is on node %d", i), "192.0.2.11", i)
	}
}

func TestConfigurationIsFollowed(t *testing.T) {
	c, _ := three(t)
	c.service("web", "192.0.2.12", 0)
	owner(t, c, "192.0.2.12")
	adv := &v1beta1.L2Advertisement{}
	adv.Name, adv.Namespace = "front", c.namespace
	for _, i := range []int{0, 1, 2} {
		change(c, adv, func(a *v1beta1.L2Advertisement) {
			a.Spec.NodeSelectors = nil
			a.Spec.NodeSelectors = append(a.Spec.NodeSelectors, selectZone(i))
		})
		c.eventually(fmt.Sprintf("node %d is selected", i), "192.0.2.12", i)
	}
	pool := &v1beta1.IPAddressPool{}
	pool.Name, pool.Namespace = "front", c.namespace
	change(c, pool, func(p *v1beta1.IPAddressPool) { p.Spec.Addresses = []string{"192.0.2.64/26"} })
	c.eventually("the pool does not contain it any more", "192.0.2.12")
	change(c, pool, func(p *v1beta1.IPAddressPool) { p.Spec.Addresses = []string{"192.0.2.0/25", "192.0.2.200-192.0.2.130"} })
	c.eventually("it does again, an error in another range notwithstanding", "192.0.2.12", 2)
}

func TestNodesAreFollowed(t *testing.T) {
	c, _ := three(t)
	c.service("web", "192.0.2.13", 0)
	first := owner(t, c, "192.0.2.13")
	node := &corev1.Node{}
	node.Name = c.node(first)
	change(c, node, func(n *corev1.Node) { n.Labels[announce.ExcludeLabel] = "" })
	var second []int
	l2test.Eventually(t, 10*time.Second, "another node takes over from the excluded one", func() bool {
		second = c.answers("192.0.2.13")
		return len(second) == 1 && second[0] != first
	})
	change(c, node, func(n *corev1.Node) { delete(n.Labels, announce.ExcludeLabel) })
	c.eventually("the label is gone", "192.0.2.13", first)
	change(c, node, func(n *corev1.Node) { n.Spec.Unschedulable = true })
	c.eventually("cordoned, another is taken", "192.0.2.13", second[0])
}

func TestACrashMovesTheAddresses(t *testing.T) {
	c, all := three(t)
	c.service("web", "192.0.2.14", 0)
	first := owner(t, c, "192.0.2.14")
	c.lan.IP(t, "neigh replace 192.0.2.14 lladdr "+c.mac(first)+" nud reachable dev br0")
	stop := c.asker("192.0.2.14").poll()
	time.Sleep(100 * time.Millisecond)
	start := time.Now()
	all[first].crash()
	l2test.Eventually(t, 6*time.Second, "the client's neighbour entry is another node's", func() bool {
		for i := range all {
			if i != first && c.neighbourIs("192.0.2.14", i) {
				return true
			}
		}
		return false
	})
	t.Logf("the client knows the new node after %v", time.Since(start).Round(time.Millisecond))
	time.Sleep(1200 * time.Millisecond) // longer than a question that was asked before waits for its answer
	p := stop()
	t.Logf("%d of %d questions unanswered, for %v at most", p.unanswered, p.asked, p.longest.Round(time.Millisecond))
	if len(p.last) != 1 || p.last[0] == first {
		t.Errorf("answered by %v, before by %d", p.last, first)
	}
}

func TestAStopLosesNoAnswer(t *testing.T) {
	c, all := three(t)
	c.service("web", "192.0.2.15", 0)
	first := owner(t, c, "192.0.2.15")
	stop := c.asker("192.0.2.15").poll()
	time.Sleep(100 * time.Millisecond)
	start := time.Now()
	all[first].stop()
	t.Logf("stopped within %v", time.Since(start).Round(time.Millisecond))
	time.Sleep(300 * time.Millisecond)
	p := stop()
	t.Logf("%d questions, %d unanswered, %d answered twice", p.asked, p.unanswered, p.double)
	if p.unanswered > 0 {
		t.Errorf("%d of %d questions unanswered, for %v at most", p.unanswered, p.asked, p.longest)
	}
	if len(p.last) != 1 || p.last[0] == first {
		t.Errorf("answered by %v, before by %d", p.last, first)
	}
	if took := time.Since(start); took > leaveTimeout+yieldTimeout+time.Second {
		t.Errorf("took %v", took)
	}
}

func TestAnUpgradeMovesNoAddress(t *testing.T) {
	c, all := three(t)
	c.service("web", "192.0.2.16", 0)
	first := owner(t, c, "192.0.2.16")
	old := all[first]
	stop := c.asker("192.0.2.16").poll()
	newer := c.start(first, "b")
	if err := old.Ready(); err != nil { // before the API server has told it of the new pod
		t.Log(err)
	}
	l2test.Eventually(t, 10*time.Second, "the new pod is ready and known to be", func() bool {
		return newer.Ready() == nil && old.Ready() == nil && old.members.View().Sibling
	})
	start := time.Now()
	old.stop()
	t.Logf("the old one stopped within %v", time.Since(start).Round(time.Millisecond))
	time.Sleep(2500 * time.Millisecond)
	p := stop()
	t.Logf("%d questions, %d unanswered", p.asked, p.unanswered)
	if p.unanswered > 0 || p.double > 0 || !slices.Equal(p.last, []int{first}) {
		t.Errorf("%d unanswered, %d answered by two nodes, at last by %v instead of %d", p.unanswered, p.double, p.last, first)
	}
	if e := newer.events(); len(e) > 0 {
		t.Errorf("the new pod tells of a move that was none: %v", e)
	}
	for i, s := range all {
		if i != first && len(s.announced(t)) > 0 {
			t.Errorf("node %d announces %v", i, s.announced(t))
		}
	}
}

func TestAnUpgradeOfASingleNode(t *testing.T) {
	c := newCluster(t, 1)
	old := c.start(0, "a")
	c.service("web", "192.0.2.20", 0)
	owner(t, c, "192.0.2.20")
	stop := c.asker("192.0.2.20").poll()
	newer := c.start(0, "b")
	l2test.Eventually(t, 10*time.Second, "both are ready and know each other", func() bool {
		return newer.Ready() == nil && old.Ready() == nil && old.members.View().Sibling && newer.members.View().Sibling
	})
	old.stop()
	time.Sleep(300 * time.Millisecond)
	if p := stop(); p.unanswered > 0 {
		t.Errorf("%d of %d questions unanswered", p.unanswered, p.asked)
	}
	if e := newer.events(); len(e) > 0 {
		t.Errorf("the new pod tells of a move that was none: %v", e)
	}
}

func TestAnOlderPodIsAsReadyAsItsSuccessor(t *testing.T) {
	c := newCluster(t, 1)
	old := c.start(0, "a")
	c.ready(old)
	time.Sleep(1100 * time.Millisecond) // creation times have a resolution of a second
	pod := &corev1.Pod{}
	pod.Name, pod.Namespace, pod.Labels = "newer", c.namespace, map[string]string{"component": "speaker"}
	pod.Spec = corev1.PodSpec{NodeName: c.node(0), Containers: []corev1.Container{{Name: "speaker", Image: "none"}}}
	c.create(pod)
	l2test.Eventually(t, 10*time.Second, "the old one is not ready because of the new one", func() bool { return old.Ready() != nil })
	t.Log(old.Ready())
	if err := c.client.Delete(context.Background(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	l2test.Eventually(t, 10*time.Second, "the new one is gone", func() bool { return old.Ready() == nil })
}

func TestAnOutageOfTheAPIServerChangesNothingOnTheLAN(t *testing.T) {
	c, all := three(t)
	_, slice := c.service("web", "192.0.2.17", 0)
	first := owner(t, c, "192.0.2.17")
	stop := c.asker("192.0.2.17").poll()
	for _, s := range all {
		s.api.cut()
	}
	time.Sleep(2 * time.Second)
	if p := stop(); p.unanswered > 0 || !slices.Equal(p.last, []int{first}) {
		t.Errorf("%d unanswered, at last by %v instead of %d", p.unanswered, p.last, first)
	}
	// Members are still followed: the owner goes, another takes over.
	all[first].stop()
	second := owner(t, c, "192.0.2.17")
	if second == first {
		t.Error("answered by a speaker that was stopped")
	}
	for _, s := range all {
		s.api.mend()
	}
	change(c, slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints = nil })
	l2test.Eventually(t, 40*time.Second, "after the outage changes are followed", func() bool { return len(c.answers("192.0.2.17")) == 0 })
}

func TestAnInterfaceThatGoesTakesTheNodeOut(t *testing.T) {
	c, all := three(t)
	c.service("web", "192.0.2.18", 0)
	first := owner(t, c, "192.0.2.18")
	l2test.IP(t, fmt.Sprintf("link set lan%d down", first))
	var second []int
	l2test.Eventually(t, 10*time.Second, "another node takes over", func() bool {
		second = c.answers("192.0.2.18")
		return len(second) == 1 && second[0] != first
	})
	if err := all[first].Ready(); err != nil {
		t.Errorf("a node without a usable interface is not ready: %v", err)
	}
	l2test.IP(t, fmt.Sprintf("link set lan%d up", first))
	c.eventually("the interface is back", "192.0.2.18", first)
}

func TestNamedInterfacesThatAreMissingAreSaid(t *testing.T) {
	c, all := three(t)
	svc, _ := c.service("web", "192.0.2.19", 0)
	first := owner(t, c, "192.0.2.19")
	all[first].events()
	adv := &v1beta1.L2Advertisement{}
	adv.Name, adv.Namespace = "front", c.namespace
	change(c, adv, func(a *v1beta1.L2Advertisement) { a.Spec.Interfaces = []string{"eth9"} })
	c.eventually("nobody has the interface", "192.0.2.19")
	change(c, svc, func(s *corev1.Service) { s.Labels = map[string]string{"edited": "yes"} })
	time.Sleep(200 * time.Millisecond)
	if e := all[first].events(); len(e) != 1 || !strings.Contains(e[0], "Warning announceFailed") || !strings.Contains(e[0], "eth9") {
		t.Errorf("events %q", e)
	}
}

func TestAnotherNodeIsChosenWhereTheFirstLacksTheInterface(t *testing.T) {
	c, all := three(t)
	c.service("web", "192.0.2.21", 0)
	first := owner(t, c, "192.0.2.21")
	adv := &v1beta1.L2Advertisement{}
	adv.Name, adv.Namespace = "front", c.namespace
	for _, i := range []int{0, 1, 2} {
		change(c, adv, func(a *v1beta1.L2Advertisement) { a.Spec.Interfaces = []string{fmt.Sprintf("lan%d", i), "eth9"} })
		c.eventually(fmt.Sprintf("node %d has the interface, of which node %d would be chosen", i, first), "192.0.2.21", i)
	}
	second := (first + 1) % 3
	change(c, adv, func(a *v1beta1.L2Advertisement) {
		a.Spec.Interfaces = []string{fmt.Sprintf("lan%d", first), fmt.Sprintf("lan%d", second)}
	})
	c.eventually("two have one of the interfaces", "192.0.2.21", first)
	l2test.IP(t, fmt.Sprintf("link set lan%d down", first))
	c.eventually("that of the owner goes down", "192.0.2.21", second)
	l2test.IP(t, fmt.Sprintf("link set lan%d up", first))
	c.eventually("and comes up", "192.0.2.21", first)
	for i, s := range all {
		for _, e := range s.events() {
			if strings.Contains(e, "Warning") {
				t.Errorf("node %d: %s", i, e)
			}
		}
	}
}

// A node that is excluded, as kubeadm's control planes are, says so, and so does one for each Service that is left without.
func TestExclusionIsSaid(t *testing.T) {
	c, all := three(t)
	svc, _ := c.service("web", "192.0.2.22", 0)
	owner(t, c, "192.0.2.22")
	warnings := func() (of []string) {
		for i, s := range all {
			for _, e := range s.events() {
				if !strings.Contains(e, "nodeAssigned") {
					of = append(of, fmt.Sprintf("%d %s", i, e))
				}
			}
		}
		return of
	}
	node := &corev1.Node{}
	for i := range all {
		node.Name = c.node(i)
		change(c, node, func(n *corev1.Node) { n.Labels[announce.ExcludeLabel] = "" })
	}
	c.eventually("all are excluded", "192.0.2.22")
	change(c, svc, func(s *corev1.Service) { s.Labels = map[string]string{"edited": "yes"} })
	change(c, node, func(n *corev1.Node) { n.Labels["edited"] = "yes" })
	time.Sleep(200 * time.Millisecond)
	got := warnings()
	t.Logf("%q", got)
	for i := range all {
		want := fmt.Sprintf("%d Warning nodeExcluded this node announces no address of a Service, because it has the label %s", i, announce.ExcludeLabel)
		if n := count(got, want); n != 1 {
			t.Errorf("%d of %q", n, want)
		}
	}
	if n := count(got, "Warning announceFailed no node may announce it: "); n != 1 || len(got) != 4 {
		t.Errorf("%d events, %d about the Service", len(got), n)
	}
	change(c, node, func(n *corev1.Node) { delete(n.Labels, announce.ExcludeLabel) })
	c.eventually("the last may again", "192.0.2.22", 2)
	if got := warnings(); len(got) != 1 || !strings.Contains(got[0], "2 Normal nodeIncluded") {
		t.Errorf("%q", got)
	}
}

func count(events []string, part string) (n int) {
	for _, e := range events {
		if strings.Contains(e, part) {
			n++
		}
	}
	return n
}

func selectZone(i int) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{"zone": fmt.Sprint(i)}}
}
