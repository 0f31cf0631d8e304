package service

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/announce"
)

// node makes a Node that only this test has; its name is returned.
func (w *world) node(name string) *corev1.Node {
	w.t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.namespace + "-" + name}}
	w.make(n)
	w.t.Cleanup(func() { _ = w.Delete(context.Background(), n) })
	return n
}

// ready sets what the control plane says of a node.
func (w *world) ready(n *corev1.Node, status corev1.ConditionStatus) {
	w.t.Helper()
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
	w.must(w.Status().Update(context.Background(), n))
}

// speaker has a node's speaker report, so that the controller knows that there is one.
func (w *world) speaker(n *corev1.Node) {
	w.t.Helper()
	ctx := context.Background()
	s := &configuration.State{Client: w, Namespace: w.namespace, Name: configuration.SpeakerState(n.Name), Component: configuration.Speaker, Node: n.Name}
	w.must(s.SetNetworks(ctx, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, nil))
	w.must(s.Set(ctx, v1beta1.ConditionConfigurationValid, configuration.Outcome{}))
}

// announces writes a ServiceL2Status as the speaker of a node does.
func (w *world) announces(n *corev1.Node, service string, addresses ...string) *v1beta1.ServiceL2Status {
	w.t.Helper()
	s := &v1beta1.ServiceL2Status{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, GenerateName: "l2-", Labels: map[string]string{v1beta1.LabelNode: n.Name}}}
	w.make(s)
	s.Status = v1beta1.ServiceL2StatusStatus{Node: n.Name, ServiceNamespace: w.apps, ServiceName: service, Addresses: addresses}
	w.must(w.Status().Update(context.Background(), s))
	return s
}

// expectAnnounced waits until the condition begins so, with the test's namespace left out of names of nodes.
func (w *world) expectAnnounced(service, want string) {
	w.t.Helper()
	w.eventually(func() string {
		got := w.announcement(service)
		if !strings.HasPrefix(got, want) {
			return fmt.Sprintf("the condition of %s is %q, want %q", service, got, want)
		}
		return ""
	})
}

func (w *world) announcement(service string) string {
	w.t.Helper()
	return strings.ReplaceAll(brief(findCondition(w.get(service), ConditionAnnounced)), w.namespace+"-", "")
}

// unannounced watches for longer than a look takes that a Service has no condition.
func (w *world) unannounced(service string) {
	w.t.Helper()
	for end := time.Now().Add(3 * settle); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got := w.announcement(service); got != "none" {
			w.t.Fatalf("the condition of %s is %q, want none", service, got)
		}
	}
}

// patches counts the writes of Services' status.
func (w *world) patches() *atomic.Int32 {
	n := &atomic.Int32{}
	w.wrap = func(c client.WithWatch) client.Client {
		return interceptor.NewClient(c, interceptor.Funcs{
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
				ok := obj.GetObjectKind().GroupVersionKind().Kind == "Service"
				err := c.SubResource(sub).Patch(ctx, obj, patch, opts...)
				if ok && err == nil { // one that came too late for its version changes nothing
					n.Add(1)
				}
				return err
			},
		})
	}
	return n
}

func TestTheConditionFollowsTheSpeakers(t *testing.T) {
	w := newWorld(t)
	writes := w.patches()
	wrote := func(what string, want int32) {
		t.Helper()
		time.Sleep(settle)
		if got := writes.Swap(0); got != want {
			t.Errorf("%s: %d writes, want %d", what, got, want)
		}
	}
	n1, n2 := w.node("n1"), w.node("n2")
	w.pool("p", "192.0.2.0/28")
	w.start()
	svc := w.service("web")
	w.expect("web", "192.0.2.0")
	w.unannounced("web")
	wrote("without any speaker", 1)

	w.speaker(n1)
	first := w.announces(n1, "web", "192.0.2.0")
	w.expectAnnounced("web", "True Announced: Node n1 answers for 192.0.2.0 on all its network interfaces.")
	wrote("announced", 1)
	time.Sleep(1100 * time.Millisecond) // ages are in seconds
	second := w.announces(n2, "web", "192.0.2.0")
	w.expectAnnounced("web", "True Announced: Node n2 answers for 192.0.2.0")
	w.must(w.Delete(t.Context(), first))
	wrote("it moves", 1)
	second.Status.Interfaces = []v1beta1.InterfaceInfo{{Name: "eth1"}}
	w.must(w.Status().Update(t.Context(), second))
	w.expectAnnounced("web", "True Announced: Node n2 answers for 192.0.2.0 on eth1.")
	wrote("the interfaces change", 1)

	// The same after a restart, and nothing is written for it.
	w.halt()
	w.start()
	w.service("other")
	w.expect("other", "192.0.2.1")
	writes.Store(0)
	before := w.versions()["web"]
	time.Sleep(3 * settle)
	if now := w.versions()["web"]; now != before || w.announcement("web") != "True Announced: Node n2 answers for 192.0.2.0 on eth1." {
		t.Errorf("after a restart the condition is %q", w.announcement("web"))
	}

	// A gap that is shorter than the grace is none.
	w.must(w.Delete(t.Context(), second))
	w.announces(n1, "web", "192.0.2.0")
	w.expectAnnounced("web", "True Announced: Node n1")
	if got := w.told(svc)["announceFailed"]; got != 0 {
		t.Errorf("%d events", got)
	}

	// What the Service has no more cannot be announced, and who has nothing has no condition.
	w.edit("web", annotate("metallb.io/loadBalancerIPs", "192.0.2.5"))
	w.expect("web", "192.0.2.5")
	if got := w.announcement("web"); got != "none" && !strings.HasPrefix(got, "False") {
		t.Errorf("the condition is about the address of before: %q", got)
	}
	w.edit("web", func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeClusterIP })
	w.expect("web", "no condition")
	w.expectAnnounced("web", "none")
}

func TestWhatTheConfigurationSaysIsWrittenWithTheAddress(t *testing.T) {
	w := newWorld(t)
	writes := w.patches()
	w.make(&v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "p"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.0.2.0/28"}}})
	w.start()
	svc := w.service("web")
	w.expect("web", "192.0.2.0")
	w.expectAnnounced("web", "False NoAdvertisement: No L2Advertisement is for the pool of 192.0.2.0 and this Service")
	time.Sleep(3 * settle)
	if got := writes.Load(); got != 1 {
		t.Errorf("%d writes", got)
	}
	w.expectEvents(svc, "IPAllocated")

	m := metav1.ObjectMeta{Namespace: w.namespace, Name: "p"}
	w.make(&v1beta1.BGPAdvertisement{ObjectMeta: m})
	w.expectAnnounced("web", "False NoPeer")
	w.peer("router", "198.51.100.1")
	w.expectAnnounced("web", "False NoSpeaker")
}

func TestWhyNobodyAnnounces(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	n := w.node("n1")
	w.ready(n, corev1.ConditionTrue)
	w.pool("p", "192.0.2.0/28")
	w.start()
	w.speaker(n)
	svc := w.service("web")
	w.expectAnnounced("web", "False NoEndpoints: The Service has no endpoint that takes traffic: check that its selector matches pods and that they are ready.")
	w.expectEvents(svc, "IPAllocated", "announceFailed")

	name := n.Name
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: w.apps, Name: "web", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, NodeName: &name}},
	}
	w.make(slice)
	w.expectAnnounced("web", "False NotReported: No node says that it announces 192.0.2.0, though node n1 could: see the events of this Service, which tell of missing network interfaces, and the logs of the speakers.")
	before := n.DeepCopy()
	n.Labels = map[string]string{announce.ExcludeLabel: ""}
	w.must(w.Patch(ctx, n, client.MergeFrom(before)))
	w.expectAnnounced("web", "False NoNode: No node may announce it: ")
	if got, want := w.announcement("web"), "n1 has the label node.kubernetes.io/exclude-from-external-load-balancers"; !strings.Contains(got, want) {
		t.Errorf("%q does not say %q", got, want)
	}
	w.ready(n, corev1.ConditionUnknown)
	w.eventually(func() string {
		if got, want := w.announcement("web"), "n1 has no live speaker"; !strings.Contains(got, want) {
			return fmt.Sprintf("%q does not say %q", got, want)
		}
		return ""
	})

	w.announces(n, "web", "192.0.2.0")
	w.expectAnnounced("web", "True Announced: Node n1 answers for 192.0.2.0")
	w.expectEvents(svc, "IPAllocated", "announceFailed") // of what a node may or should do the speakers tell

	// The speakers go, with all that they said.
	w.must(w.DeleteAllOf(ctx, &v1beta1.ConfigurationState{}, client.InNamespace(w.namespace), client.MatchingLabels{v1beta1.LabelComponentType: configuration.Speaker}))
	w.must(w.DeleteAllOf(ctx, &v1beta1.ServiceL2Status{}, client.InNamespace(w.namespace)))
	w.expectAnnounced("web", "False NoSpeaker: No speaker runs on any node")
}

func TestTheConditionTellsOfConflicts(t *testing.T) {
	w := newWorld(t)
	writes := w.patches()
	n := w.node("n1")
	w.pool("p", "192.0.2.0/28")
	w.start()
	svc := w.service("web")
	w.speaker(n)
	status := w.announces(n, "web", "192.0.2.0")
	w.expectAnnounced("web", "True Announced")
	says := func(problems []v1beta1.AddressProblem, conflict, announced string) {
		t.Helper()
		writes.Store(0)
		status.Status.Problems = problems
		w.must(w.Status().Update(t.Context(), status))
		w.eventually(func() string {
			if got := brief(findCondition(w.get("web"), ConditionAddressConflict)); got != conflict {
				return fmt.Sprintf("the condition is %q, want %q", got, conflict)
			}
			return ""
		})
		w.expectAnnounced("web", announced)
		time.Sleep(settle)
		if got := writes.Load(); got != 1 {
			t.Errorf("%d writes", got)
		}
	}
	problem := func(reason, message string) []v1beta1.AddressProblem {
		return []v1beta1.AddressProblem{{Address: "192.0.2.0", Interface: "eth0", Reason: reason, Message: message, Since: metav1.Now()}}
	}
	says(problem("ForeignHolder", "the machine X has it too: take it away"), "True ForeignHolder: The machine X has it too: take it away.", "True Announced")
	says(problem("OtherNodeAnswers", "node n2 answers too: set strictARP"), "True OtherNodeAnswers: Node n2 answers too: set strictARP.", "True Announced")
	says(nil, "none", "True Announced")
	w.expectEvents(svc, "IPAllocated") // of conflicts tells the speaker
	says(problem("NotAnswered", "its answers do not arrive"), "none", "False NotAnswered: Its answers do not arrive.")
	w.expectEvents(svc, "IPAllocated", "announceFailed")
	w.must(w.Delete(t.Context(), status))
	w.announces(n, "web", "192.0.2.0")
	w.expectAnnounced("web", "True Announced")
}

func TestWhatADeadNodeSaidIsRemoved(t *testing.T) {
	w := newWorld(t)
	dead, gone, alive, alone := w.node("dead"), w.node("gone"), w.node("alive"), w.node("alone")
	for _, n := range []*corev1.Node{dead, gone, alive, alone} {
		w.ready(n, corev1.ConditionTrue)
	}
	w.pool("p", "192.0.2.0/28")
	w.start()
	moved := []*v1beta1.ServiceL2Status{w.announces(dead, "web", "192.0.2.0"), w.announces(gone, "mail", "192.0.2.1")}
	kept := []*v1beta1.ServiceL2Status{w.announces(alive, "web", "192.0.2.0"), w.announces(alone, "lone", "192.0.2.2")}
	time.Sleep(3 * settle)
	for _, s := range append(moved, kept...) {
		w.must(w.Get(t.Context(), client.ObjectKeyFromObject(s), s))
	}
	w.ready(dead, corev1.ConditionUnknown)
	w.ready(alone, corev1.ConditionUnknown)
	w.must(w.Delete(t.Context(), gone))
	for _, s := range moved {
		w.eventually(func() string {
			if err := w.Get(t.Context(), client.ObjectKeyFromObject(s), s); client.IgnoreNotFound(err) == nil && err != nil {
				return ""
			}
			return "what node " + s.Status.Node + " said is still there"
		})
	}
	time.Sleep(3 * settle)
	for _, s := range kept {
		w.must(w.Get(t.Context(), client.ObjectKeyFromObject(s), s))
	}
}
