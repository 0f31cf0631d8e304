package node

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/lbservice"
)

func testInputs() *inputs {
	return newInputs(lbservice.Class{}, "node-1", "speaker-old", netip.MustParseAddr("192.0.2.1"))
}

// signalled reports whether there was a signal since the last call.
func (in *inputs) signalled() bool {
	select {
	case <-in.changed:
		return true
	default:
		return false
	}
}

func testService(name string, change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "1", Labels: map[string]string{"app": name},
			Annotations: map[string]string{"metallb.io/ip-allocated-from-pool": "front"}},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{
			Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.10"}}}},
	}
	if change != nil {
		change(s)
	}
	return s
}

func testSlice(name, service string, nodes ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name,
		Labels: map[string]string{discoveryv1.LabelServiceName: service}}}
	for _, n := range nodes {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.0.0.1"}, NodeName: &n})
	}
	return s
}

func TestInputsSignalOnlyWhatAPlanDependsOn(t *testing.T) {
	in := testInputs()
	step := func(what string, want bool, do func()) {
		t.Helper()
		do()
		if got := in.signalled(); got != want {
			t.Errorf("%s: signalled %v", what, got)
		}
	}
	step("a Service of ours", true, func() { in.setService(testService("web", nil)) })
	step("the same again", false, func() { in.setService(testService("web", nil)) })
	step("a port of it", false, func() {
		in.setService(testService("web", func(s *corev1.Service) { s.Spec.Ports = []corev1.ServicePort{{Port: 80}} }))
	})
	step("another resource version", false, func() {
		in.setService(testService("web", func(s *corev1.Service) { s.ResourceVersion = "7" }))
	})
	step("its policy", true, func() {
		in.setService(testService("web", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }))
	})
	step("a ClusterIP Service", false, func() {
		in.setService(testService("db", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }))
	})
	step("a Service without an address yet", false, func() {
		in.setService(testService("new", func(s *corev1.Service) { s.Status = corev1.ServiceStatus{} }))
	})
	step("endpoints of another Service", false, func() { in.setSlice(testSlice("db-1", "db", "node-1")) })
	step("endpoints of ours", true, func() { in.setSlice(testSlice("web-1", "web", "node-1")) })
	step("one more pod on the same node", false, func() { in.setSlice(testSlice("web-1", "web", "node-1", "node-1")) })
	step("the same endpoints in another slice", false, func() { in.setSlice(testSlice("web-2", "web", "node-1")) })
	step("one of the two slices goes", false, func() { in.deleteSlice(testSlice("web-1", "web")) })
	step("one of the other family", true, func() {
		six := testSlice("web-6", "web", "node-1")
		six.AddressType = discoveryv1.AddressTypeIPv6
		in.setSlice(six)
	})
	step("the last one of ours goes", true, func() { in.deleteSlice(testSlice("web-2", "web")) })
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}
	step("a node", true, func() { in.setNode(node) })
	step("its heartbeat", false, func() {
		n := node.DeepCopy()
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse}}
		in.setNode(n)
	})
	step("its network's condition", true, func() {
		n := node.DeepCopy()
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue}}
		in.setNode(n)
	})
	step("the Service of ours becomes internal", true, func() {
		in.setService(testService("web", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }))
	})
	step("and is deleted", false, func() { in.deleteService(testService("web", nil)) })
}

func TestEndpointsKnownBeforeTheirServiceCount(t *testing.T) {
	in := testInputs()
	in.setSlice(testSlice("web-1", "web", "node-2"))
	in.setService(testService("web", nil))
	_, changed := in.gather()
	want := []announce.Service{{
		Name: "default/web", Labels: map[string]string{"app": "web"}, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.10")},
		Pool: "front", Endpoints4: announce.Endpoints{Any: true, Nodes: []string{"node-2"}},
	}}
	if d := cmp.Diff(want, changed, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func TestWhatIsGatheredIsWhatHasChanged(t *testing.T) {
	in := testInputs()
	gathered := func(what string, want ...string) []announce.Node {
		t.Helper()
		nodes, changed := in.gather()
		got := []string{}
		for _, s := range changed {
			got = append(got, fmt.Sprint(s.Name, " ", len(s.Addresses), " ", s.Endpoints4.Nodes))
		}
		slices.Sort(got)
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: %s", what, d)
		}
		return nodes
	}
	gathered("nothing yet")
	in.setService(testService("web", nil))
	in.setService(testService("db", nil))
	in.setSlice(testSlice("web-1", "web", "node-2"))
	in.setNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-2"}})
	gathered("all at first", "default/db 1 []", "default/web 1 [node-2]")
	gathered("no change")
	in.setSlice(testSlice("web-1", "web", "node-1"))
	gathered("endpoints", "default/web 1 [node-1]")
	in.deleteService(testService("db", nil))
	gathered("one that has gone", "default/db 0 []")
	in.deleteService(testService("web", nil))
	in.setService(testService("web", nil))
	gathered("gone and come again", "default/web 1 [node-1]")
	in.setNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}})
	if nodes := gathered("a node is no Service"); len(nodes) != 2 || nodes[0].Name != "node-1" {
		t.Errorf("nodes %v", nodes)
	}
	in.deleteNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}})
	if nodes := gathered("a node less"); len(nodes) != 1 {
		t.Errorf("nodes %v", nodes)
	}
}

func testPod(name, node string, born int, change func(*corev1.Pod), hostIPs ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(int64(born), 0)}, Spec: corev1.PodSpec{NodeName: node}}
	for _, ip := range hostIPs {
		p.Status.HostIPs = append(p.Status.HostIPs, corev1.HostIP{IP: ip})
	}
	if change != nil {
		change(p)
	}
	return p
}

func TestPeersAreTheAddressesOfTheSpeakersNodesInOurFamily(t *testing.T) {
	in := testInputs()
	in.setPod(testPod("a", "node-1", 1, nil, "2001:db8::1", "192.0.2.1"))
	in.setPod(testPod("b", "node-2", 1, nil, "192.0.2.2", "2001:db8::2"))
	in.setPod(testPod("b2", "node-2", 2, nil, "192.0.2.2"))
	in.setPod(testPod("c", "node-3", 1, nil))
	in.setPod(testPod("d", "node-4", 1, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, "192.0.2.4"))
	want := peers{addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}, pods: []string{"a"}}
	if got := in.peers(); !reflect.DeepEqual(want, got) {
		t.Errorf("peers %v, want %v", got, want)
	}
}

// probed makes a pod's readiness be asked of a host.
func probed(host string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers = []corev1.Container{{Name: "speaker", ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Host: host}}}}}
	}
}

func TestHasSuccessor(t *testing.T) {
	old := testPod("speaker-old", "node-1", 100, probed("127.64.0.1"))
	for name, c := range map[string]struct {
		pods []*corev1.Pod
		want bool
	}{
		"alone":                {nil, false},
		"a younger one beside": {[]*corev1.Pod{testPod("new", "node-1", 200, probed("127.64.0.1"))}, true},
		"a younger one beside that is probed elsewhere": {[]*corev1.Pod{testPod("new", "node-1", 200, probed("127.64.0.2"))}, false},
		"an older one beside":                           {[]*corev1.Pod{testPod("older", "node-1", 50, probed("127.64.0.1"))}, false},
		"a younger one elsewhere":                       {[]*corev1.Pod{testPod("new", "node-2", 200, probed("127.64.0.1"))}, false},
		"a younger one that ended":                      {[]*corev1.Pod{testPod("new", "node-1", 200, func(p *corev1.Pod) { probed("127.64.0.1")(p); p.Status.Phase = corev1.PodFailed })}, false},
		"a younger one that is being deleted": {[]*corev1.Pod{testPod("new", "node-1", 200, func(p *corev1.Pod) {
			probed("127.64.0.1")(p)
			now := metav1.NewTime(time.Unix(300, 0))
			p.DeletionTimestamp = &now
		})}, false},
	} {
		t.Run(name, func(t *testing.T) {
			in := testInputs()
			in.setPod(old)
			for _, p := range c.pods {
				in.setPod(p)
			}
			if got := in.hasSuccessor(); got != c.want {
				t.Errorf("hasSuccessor = %v", got)
			}
		})
	}
}

func TestStripKeepsWhatIsRead(t *testing.T) {
	full := testInputs()
	stripped := testInputs()
	svc := testService("web", func(s *corev1.Service) {
		s.Annotations["kubectl.kubernetes.io/last-applied-configuration"] = "long"
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.Selector = map[string]string{"app": "web"}
	})
	slice := testSlice("web-1", "web", "node-1", "node-2")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{"zone": "a"}},
		Spec: corev1.NodeSpec{Unschedulable: true, PodCIDR: "10.0.0.0/24"},
		Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady}, {Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue}},
			Images:     []corev1.ContainerImage{{SizeBytes: 1}},
		}}
	pod := testPod("a", "node-1", 1, probed("127.64.0.1"), "192.0.2.1")
	put := func(in *inputs, svc, slice, node, pod any) {
		in.setService(svc.(*corev1.Service))
		in.setSlice(slice.(*discoveryv1.EndpointSlice))
		in.setNode(node.(*corev1.Node))
		in.setPod(pod.(*corev1.Pod))
	}
	less := func(o any) any {
		out, err := strip(o)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	put(full, svc, slice, node, pod)
	put(stripped, less(svc), less(slice), less(node), less(pod))
	var a, b announce.Snapshot
	a.Nodes, a.Services = full.gather()
	b.Nodes, b.Services = stripped.gather()
	if d := cmp.Diff(a, b, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("stripping loses: %s", d)
	}
	if a, b := full.peers(), stripped.peers(); !reflect.DeepEqual(a, b) {
		t.Errorf("peers %v, stripped %v", a, b)
	}
	if host := probedAt(less(pod).(*corev1.Pod)); host != "127.64.0.1" {
		t.Errorf("probed at %q when stripped", host)
	}
	if svc.Annotations["kubectl.kubernetes.io/last-applied-configuration"] == "" {
		t.Error("stripping changed the object that it was given")
	}
	if s := less(svc).(*corev1.Service); len(s.Spec.Selector) > 0 || len(s.Annotations) != 1 {
		t.Errorf("kept more than is read: %+v", s)
	}
}
