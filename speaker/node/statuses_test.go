package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/l2/l2test"
	"metallb.io/operator/internal/lbservice"
)

func TestAStatusSaysWhatIsAnnouncedOfAService(t *testing.T) {
	named := func(names ...string) (out []v1beta1.InterfaceInfo) {
		for _, n := range names {
			out = append(out, v1beta1.InterfaceInfo{Name: n})
		}
		return out
	}
	line := func(address string, interfaces ...string) announce.Why {
		return announce.Why{Service: "shop/web", Address: netip.MustParseAddr(address), Interfaces: interfaces}
	}
	for name, tt := range map[string]struct {
		lines []announce.Why
		want  v1beta1.ServiceL2StatusStatus
	}{
		"one address on all interfaces": {
			[]announce.Why{line("192.0.2.1")}, v1beta1.ServiceL2StatusStatus{Addresses: []string{"192.0.2.1"}}},
		"one address on some": {
			[]announce.Why{line("192.0.2.1", "eth0", "eth1")}, v1beta1.ServiceL2StatusStatus{Addresses: []string{"192.0.2.1"}, Interfaces: named("eth0", "eth1")}},
		"two addresses on the same": {
			[]announce.Why{line("192.0.2.1", "eth0"), line("2001:db8::1", "eth0")},
			v1beta1.ServiceL2StatusStatus{Addresses: []string{"192.0.2.1", "2001:db8::1"}, Interfaces: named("eth0")}},
		"two addresses on different ones": {
			[]announce.Why{line("192.0.2.1", "eth0"), line("2001:db8::1", "eth1")},
			v1beta1.ServiceL2StatusStatus{Addresses: []string{"192.0.2.1", "2001:db8::1"}, Interfaces: named("eth0", "eth1")}},
		"the second on all": {
			[]announce.Why{line("192.0.2.1", "eth0"), line("2001:db8::1")}, v1beta1.ServiceL2StatusStatus{Addresses: []string{"192.0.2.1", "2001:db8::1"}}},
		"the first on all": {
			[]announce.Why{line("192.0.2.1"), line("2001:db8::1", "eth0")}, v1beta1.ServiceL2StatusStatus{Addresses: []string{"192.0.2.1", "2001:db8::1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := l2Statuses{}
			for _, l := range tt.lines {
				got.add("node-1", l)
			}
			tt.want.Node, tt.want.ServiceNamespace, tt.want.ServiceName = "node-1", "shop", "web"
			if d := cmp.Diff(l2Statuses{"shop/web": &tt.want}, got, cmpopts.EquateEmpty()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPodsOfANodeKnowWhoIsOlder(t *testing.T) {
	for name, tt := range map[string]struct {
		others         []string // name, node, age in seconds, and what else there is to say
		older, younger bool
	}{
		"alone":                             {},
		"an older one":                      {others: []string{"a node 1"}, older: true},
		"a younger one":                     {others: []string{"z node 9"}, younger: true},
		"one of each":                       {others: []string{"z node 1", "a node 9"}, older: true, younger: true},
		"of the same second, first by name": {others: []string{"a node 5"}, older: true},
		"of the same second, last by name":  {others: []string{"z node 5"}, younger: true},
		"on another node":                   {others: []string{"a elsewhere 1"}},
		"ended":                             {others: []string{"a node 1 ended"}},
		"about to go":                       {others: []string{"a node 1 going", "z node 9 going"}},
	} {
		t.Run(name, func(t *testing.T) {
			in := newInputs(lbservice.Class{}, "node", "me", netip.MustParseAddr("192.0.2.1"))
			add := func(name, node string, second int64, more string) {
				p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid", CreationTimestamp: metav1.Unix(second, 0)}, Spec: corev1.PodSpec{NodeName: node}}
				switch more {
				case "ended":
					p.Status.Phase = corev1.PodFailed
				case "going":
					p.DeletionTimestamp = &metav1.Time{Time: time.Unix(9, 0)}
				}
				in.setPod(p)
			}
			add("me", "node", 5, "")
			for _, text := range tt.others {
				var name, node, more string
				var second int64
				_, _ = fmt.Sscan(text, &name, &node, &second, &more)
				add(name, node, second, more)
			}
			if got, want := in.kin(), (kin{podID{"me", "uid"}, tt.older, tt.younger}); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// statuses lists the ServiceL2Statuses of a Service that say something, as "node: addresses on interfaces".
func (c *cluster) statuses(service string) (texts []string, all []v1beta1.ServiceL2Status) {
	c.t.Helper()
	var list v1beta1.ServiceL2StatusList
	if err := c.client.List(context.Background(), &list, client.InNamespace(c.namespace), client.MatchingLabels{v1beta1.LabelServiceName: service}); err != nil {
		c.t.Fatal(err)
	}
	for _, s := range list.Items {
		texts = append(texts, fmt.Sprintf("%s: %v on %v", s.Status.Node, s.Status.Addresses, s.Status.Interfaces))
	}
	slices.Sort(texts)
	return texts, list.Items
}

// reports waits until exactly these are the ServiceL2Statuses of a Service.
func (c *cluster) reports(what, service string, want ...string) []v1beta1.ServiceL2Status {
	c.t.Helper()
	var got []string
	var all []v1beta1.ServiceL2Status
	l2test.Eventually(c.t, 15*time.Second, fmt.Sprintf("%s: the statuses of %s are %v", what, service, want), func() bool {
		got, all = c.statuses(service)
		return slices.Equal(got, want)
	})
	return all
}

func (c *cluster) says(i int, addresses, interfaces string) string {
	return fmt.Sprintf("%s: [%s] on [%s]", c.node(i), addresses, interfaces)
}

func TestAServiceL2StatusForEachServiceAndNode(t *testing.T) {
	c, all := three(t)
	ctx := context.Background()
	foreign := func(name, node string) *v1beta1.ServiceL2Status {
		o := &v1beta1.ServiceL2Status{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.namespace, Labels: map[string]string{v1beta1.LabelNode: node}}}
		c.create(o)
		return o
	}
	foreign("l2-abcde", "elsewhere")
	foreign("l2-fghij", c.node(0))
	svc, slice := c.service("web", "192.0.2.30", 0)
	o := owner(t, c, "192.0.2.30")
	got := c.reports("announced", "web", c.says(o, "192.0.2.30", ""))[0]
	wantLabels := map[string]string{"metallb.io/node": c.node(o), "metallb.io/service-name": "web", "metallb.io/service-namespace": c.namespace}
	if d := cmp.Diff(wantLabels, got.Labels); d != "" {
		t.Error(d)
	}
	if len(got.OwnerReferences) != 1 || got.OwnerReferences[0].Kind != "Pod" || got.OwnerReferences[0].Name != all[o].Pod || !strings.HasPrefix(got.Name, "l2-") {
		t.Errorf("metadata %+v", got.ObjectMeta)
	}
	if got.Status.ServiceName != "web" || got.Status.ServiceNamespace != c.namespace {
		t.Errorf("status %+v", got.Status)
	}
	l2test.Eventually(t, 10*time.Second, "what an earlier pod of the node left is gone", func() bool {
		var list v1beta1.ServiceL2StatusList
		return c.client.List(ctx, &list, client.InNamespace(c.namespace)) == nil && len(list.Items) == 2
	})
	if err := c.client.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: "l2-abcde"}, &v1beta1.ServiceL2Status{}); err != nil {
		t.Errorf("that of another node: %v", err)
	}

	// What changes nothing is not written again.
	change(c, svc, func(s *corev1.Service) { s.Labels = map[string]string{"edited": "yes"} })
	change(c, slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints = c.endpoints(0, 1) })
	time.Sleep(300 * time.Millisecond)
	if now := c.reports("edited", "web", c.says(o, "192.0.2.30", ""))[0]; now.ResourceVersion != got.ResourceVersion {
		t.Errorf("it was written without a change: %+v", now)
	}

	// What somebody else makes of it is put right.
	now := got.DeepCopy()
	now.Status.Interfaces = []v1beta1.InterfaceInfo{{Name: "eth9"}}
	if err := c.client.Status().Update(ctx, now); err != nil {
		t.Fatal(err)
	}
	now = &c.reports("edited by hand", "web", c.says(o, "192.0.2.30", ""))[0]
	now.Labels = map[string]string{v1beta1.LabelServiceName: "web"}
	if err := c.client.Update(ctx, now); err != nil {
		t.Fatal(err)
	}
	l2test.Eventually(t, 10*time.Second, "the label by which it is found is back", func() bool {
		_, is := c.statuses("web")
		return len(is) == 1 && cmp.Equal(wantLabels, is[0].Labels)
	})
	if err := c.client.Delete(ctx, now); err != nil {
		t.Fatal(err)
	}
	c.reports("deleted", "web", c.says(o, "192.0.2.30", ""))

	adv := &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: "front", Namespace: c.namespace}}
	change(c, adv, func(a *v1beta1.L2Advertisement) { a.Spec.Interfaces = []string{"lan0", "lan1", "lan2"} })
	c.reports("interfaces are named", "web", c.says(o, "192.0.2.30", "{lan0} {lan1} {lan2}"))

	change(c, slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints = nil })
	c.reports("no endpoint", "web")
	change(c, slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints = c.endpoints(0) })
	c.reports("an endpoint again", "web", c.says(o, "192.0.2.30", "{lan0} {lan1} {lan2}"))

	// It moves: who has it now says so, and nobody removes what the dead one said.
	all[o].crash()
	next := owner(t, c, "192.0.2.30")
	want := []string{c.says(o, "192.0.2.30", "{lan0} {lan1} {lan2}"), c.says(next, "192.0.2.30", "{lan0} {lan1} {lan2}")}
	slices.Sort(want)
	all[o].stop() // its loop would make it anew
	c.reports("it has moved", "web", want...)
}

func TestStatusesOutliveAnUpgrade(t *testing.T) {
	c := newCluster(t, 1)
	old := c.start(0, "a")
	c.service("web", "192.0.2.31", 0)
	before := c.reports("announced", "web", c.says(0, "192.0.2.31", ""))[0]
	time.Sleep(1100 * time.Millisecond) // ages are in seconds
	young := c.start(0, "b")
	l2test.Eventually(t, 10*time.Second, "the new pod owns it", func() bool {
		_, is := c.statuses("web")
		return len(is) == 1 && is[0].UID == before.UID && len(is[0].OwnerReferences) == 1 && is[0].OwnerReferences[0].Name == young.Pod
	})
	_, slice := c.service("shop", "192.0.2.32", 0)
	c.reports("the old one still writes", "shop", c.says(0, "192.0.2.32", ""))
	old.stop()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: old.Pod, Namespace: c.namespace}}
	if err := c.client.Delete(context.Background(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	l2test.Eventually(t, 10*time.Second, "the new pod owns all", func() bool {
		_, is := c.statuses("shop")
		return len(is) == 1 && len(is[0].OwnerReferences) == 1 && is[0].OwnerReferences[0].Name == young.Pod
	})
	change(c, slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints = nil })
	c.reports("the new one writes", "shop")
	if now := c.reports("it was there all the time", "web", c.says(0, "192.0.2.31", ""))[0]; now.UID != before.UID {
		t.Error("it was made anew")
	}
}

func TestStatusesAreWrittenAfterAnOutage(t *testing.T) {
	c := newCluster(t, 2)
	all := []*speaker{c.start(0, "a"), c.start(1, "a")}
	c.ready(all...)
	c.service("web", "192.0.2.33", 0)
	first := owner(t, c, "192.0.2.33")
	second := 1 - first
	c.reports("announced", "web", c.says(first, "192.0.2.33", ""))
	for _, s := range all {
		s.api.cut()
	}
	all[first].stop()
	c.eventually("the other takes over", "192.0.2.33", second)
	time.Sleep(time.Second)
	if got, _ := c.statuses("web"); !slices.Equal(got, []string{c.says(first, "192.0.2.33", "")}) {
		t.Errorf("statuses %v while nobody can write", got)
	}
	all[second].api.mend()
	want := []string{c.says(first, "192.0.2.33", ""), c.says(second, "192.0.2.33", "")}
	slices.Sort(want)
	l2test.Eventually(t, 40*time.Second, "what was missed is written", func() bool {
		got, _ := c.statuses("web")
		return slices.Equal(got, want)
	})
}

// Two requests make a status, and none are made without a change, however many there are.
func TestManyStatusesAreWrittenOnce(t *testing.T) {
	c := newCluster(t, 1)
	s := c.start(0, "a")
	c.ready(s)
	const many = 100
	for i := range many {
		c.service(fmt.Sprintf("s%d", i), fmt.Sprintf("192.0.2.%d", i+1), 0)
	}
	l2test.Eventually(t, 30*time.Second, "all are there", func() bool {
		var list v1beta1.ServiceL2StatusList
		if err := c.client.List(context.Background(), &list, client.InNamespace(c.namespace)); err != nil {
			t.Fatal(err)
		}
		return len(list.Items) == many && !slices.ContainsFunc(list.Items, func(s v1beta1.ServiceL2Status) bool { return s.Status.Node == "" })
	})
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: c.node(0)}}
	for i := range 5 { // each has all planned anew
		change(c, node, func(n *corev1.Node) { n.Labels["edited"] = fmt.Sprint(i) })
		time.Sleep(50 * time.Millisecond)
	}
	if got := testutil.ToFloat64(s.Metrics.kubernetes.Updates); got != 2*many {
		t.Errorf("%v writes for %d statuses", got, many)
	}
	if got := testutil.ToFloat64(s.Metrics.kubernetes.UpdateErrors); got != 0 {
		t.Errorf("%v writes failed", got)
	}
	if got := testutil.ToFloat64(s.Metrics.kubernetes.ConfigLoaded); got != 1 {
		t.Errorf("the metric says that the configuration has not been read")
	}
}
