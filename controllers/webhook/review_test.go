package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"metallb.io/operator/api/v1alpha1"
	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/testenv"
)

// says compares the warnings since the last call with those wanted, each by a part of it.
func (w *world) says(t *testing.T, wanted ...string) {
	t.Helper()
	got := w.told.take()
	for _, want := range wanted {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("no warning has %q, there are %q", want, got)
		}
	}
	if len(got) != len(wanted) {
		t.Errorf("%d warnings, want %d: %q", len(got), len(wanted), got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestConfigurationIsToldWhereItCounts(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.reviewed()
	here, elsewhere := testenv.Namespace(t, w, nil), testenv.Namespace(t, w, nil)

	must(t, w.Create(t.Context(), pool(here, "early", "192.0.2.0/28")))
	w.toldAbout(t, "there is no MetalLB resource yet: this counts once one named metallb is in namespace "+here)
	must(t, w.Create(t.Context(), metalLB(here)))
	w.says(t)
	must(t, w.Create(t.Context(), pool(elsewhere, "a", "192.0.2.0/28")))
	w.toldAbout(t, "this has no effect in namespace "+elsewhere+": MetalLB runs in namespace "+here)
	must(t, w.Create(t.Context(), &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Namespace: here, Name: "all"}}))
	w.says(t)
	must(t, w.Create(t.Context(), pool(here, "right", "198.51.100.0/28")))
	w.says(t)
}

// toldAbout wants a warning with this text among all since the last call.
func (w *world) toldAbout(t *testing.T, text string) {
	t.Helper()
	got := w.told.take()
	if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, text) }) {
		t.Errorf("no warning has %q, there are %q", text, got)
	}
}

func TestPeersOverAnInterfaceAreToldThatTheyWait(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.reviewed()
	ns := testenv.Namespace(t, w, nil)
	must(t, w.Create(t.Context(), metalLB(ns)))
	meta := metav1.ObjectMeta{Namespace: ns, Name: "a"}
	must(t, w.Create(t.Context(), &v1beta2.BGPPeer{ObjectMeta: meta, Spec: v1beta2.BGPPeerSpec{MyASN: 64512, ASN: 64513, Address: "192.0.2.1"}}))
	for _, s := range w.told.take() {
		if strings.Contains(s, "opens no session") {
			t.Errorf("a peer with an address is told %q", s)
		}
	}
	meta.Name = "b"
	must(t, w.Create(t.Context(), &v1beta2.BGPPeer{ObjectMeta: meta, Spec: v1beta2.BGPPeerSpec{MyASN: 64512, ASN: 64513, Interface: "eth0"}}))
	w.toldAbout(t, "opens no session over an interface")
}

// A kind is reviewed in each version that it has, and v1alpha1 conflicts with v1beta1.
func TestOtherVersionsAreReviewed(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.reviewed()
	ns := testenv.Namespace(t, w, nil)
	must(t, w.Create(t.Context(), pool(ns, "first", "192.0.2.0/28")))
	err := w.Create(t.Context(), &v1alpha1.AddressPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "second"}, Spec: v1beta1.AddressPoolSpec{Protocol: "layer2", Addresses: []string{"192.0.2.8/30"}},
	})
	if got := causes(t, err); len(got) != 1 || !strings.HasPrefix(got[0], "spec.addresses[0]: ") || !strings.Contains(got[0], "IPAddressPool first") {
		t.Errorf("v1alpha1 AddressPool: %v", got)
	}
	err = w.Create(t.Context(), &v1beta1.BGPPeer{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "old"},
		Spec:       v1beta1.BGPPeerSpec{MyASN: 64512, ASN: 64512, Address: "192.0.2.1", EBGPMultiHop: true, SrcAddress: "2001:db8::1"},
	})
	if got := causes(t, err); len(got) == 0 {
		t.Error("v1beta1 BGPPeer: nothing is found wrong")
	}
	var status *apierrors.StatusError
	if errors.As(err, &status) && (status.ErrStatus.Details.Kind != "BGPPeer" || status.ErrStatus.Details.Name != "old") {
		t.Errorf("the refusal is about %s %s", status.ErrStatus.Details.Kind, status.ErrStatus.Details.Name)
	}
}

func TestDeletionOfWhatIsInUse(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.reviewed()
	ns := testenv.Namespace(t, w, nil)
	must(t, w.Create(t.Context(), metalLB(ns)))
	must(t, w.Create(t.Context(), pool(ns, "used", "192.0.2.0/28")))
	must(t, w.Create(t.Context(), pool(ns, "unused", "198.51.100.0/28")))
	must(t, w.Create(t.Context(), &v1beta1.AddressPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "object"},
		Spec:       v1beta1.AddressPoolSpec{Name: "named", Protocol: "layer2", Addresses: []string{"203.0.113.0/28"}},
	}))
	for i, from := range []string{"used", "used", "used", "named", ""} {
		svc := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("s%d", i), Annotations: map[string]string{"metallb.io/ip-allocated-from-pool": from}},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
		}
		must(t, w.Create(t.Context(), svc))
	}
	w.told.take()
	dry := []client.DeleteOption{client.DryRunAll}
	must(t, w.Delete(t.Context(), pool(ns, "unused"), dry...))
	w.says(t)
	must(t, w.Delete(t.Context(), pool(ns, "used"), dry...))
	w.says(t, "3 Services have an address of pool used")
	must(t, w.Delete(t.Context(), &v1beta1.AddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "object"}}, dry...))
	w.says(t, "AddressPool is deprecated", "1 Service has an address of pool named")
	must(t, w.Delete(t.Context(), metalLB(ns), dry...))
	w.says(t, "4 Services have an address: it stays theirs")

	// All at once, as when a namespace is deleted: each object is reviewed by its own name.
	must(t, w.DeleteAllOf(t.Context(), &v1beta1.IPAddressPool{}, client.InNamespace(ns)))
	w.says(t, "3 Services have an address of pool used")
}

// What is in use may go with its namespace, which would hang otherwise.
func TestANamespaceGoesAsAWhole(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.reviewed()
	ns := testenv.Namespace(t, w, nil)
	profile := &v1beta1.BFDProfile{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "fast"}}
	must(t, w.Create(t.Context(), profile))
	must(t, w.Create(t.Context(), &v1beta2.BGPPeer{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "router"},
		Spec:       v1beta2.BGPPeerSpec{MyASN: 64512, ASN: 64513, Address: "192.0.2.1", BFDProfile: "fast"},
	}))
	if err := w.Delete(t.Context(), profile); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "in use by BGPPeer router") {
		t.Fatalf("the deletion of a profile in use: %v", err)
	}
	must(t, w.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}))
	must(t, w.Delete(t.Context(), profile))
}

// What is wrong already can be deleted, annotated and freed of finalizers, but not edited into another wrong.
func TestWhatIsWrongCanBeLetGo(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.reviewed()
	ns := testenv.Namespace(t, w, nil)
	w.unreviewed.Store(true)
	bad := overlapping(ns, "bad")
	bad.Finalizers = []string{"example.com/wait"}
	must(t, w.Create(t.Context(), bad))
	w.unreviewed.Store(false)

	bad.Annotations = map[string]string{"a": "b"}
	must(t, w.Update(t.Context(), bad))
	edited := bad.DeepCopy()
	edited.Spec.AvoidBuggyIPs = true
	if got := causes(t, w.Update(t.Context(), edited)); len(got) != 1 {
		t.Errorf("an edit that leaves it wrong: %v", got)
	}
	relabelled := bad.DeepCopy()
	relabelled.Labels = map[string]string{"a": "b"}
	if got := causes(t, w.Update(t.Context(), relabelled)); len(got) != 1 {
		t.Errorf("other labels on what is wrong: %v", got)
	}
	must(t, w.Delete(t.Context(), bad))
	must(t, w.Get(t.Context(), client.ObjectKeyFromObject(bad), bad))
	bad.Finalizers, bad.Spec.Addresses = nil, []string{"192.0.2.0/28", "192.0.2.0/30"}
	must(t, w.Update(t.Context(), bad))
}

// failing reads nothing.
type failing struct{ client.Reader }

func (failing) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("etcd is away")
}

func TestWhatCannotBeReviewedIsToBeTriedAgain(t *testing.T) {
	r := &Reviewer{Reader: failing{}, Decoder: admission.NewDecoder(scheme())}
	raw := runtime.RawExtension{Raw: []byte(`{"apiVersion":"metallb.io/v1beta1","kind":"IPAddressPool","metadata":{"namespace":"a","name":"b"}}`)}
	req := admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		Kind: metav1.GroupVersionKind{Group: "metallb.io", Version: "v1beta1", Kind: "IPAddressPool"}, Namespace: "a", Operation: admissionv1.Create, Object: raw,
	}}
	got := r.Handle(t.Context(), req)
	want := "the change cannot be checked at the moment, try again: listing metallbs.metallb.io: etcd is away"
	if got.Allowed || got.Result.Code != 503 || got.Result.Details.RetryAfterSeconds != 1 || got.Result.Message != want {
		t.Errorf("got %+v", got.Result)
	}
	for name, spoil := range map[string]func(*admissionv1.AdmissionRequest){
		"garbage":          func(q *admissionv1.AdmissionRequest) { q.Object.Raw = []byte("{") },
		"nothing":          func(q *admissionv1.AdmissionRequest) { q.Object.Raw = nil },
		"another kind":     func(q *admissionv1.AdmissionRequest) { q.Kind.Kind = "Pod" },
		"another version":  func(q *admissionv1.AdmissionRequest) { q.Kind.Version = "v1" },
		"a strange action": func(q *admissionv1.AdmissionRequest) { q.Operation = admissionv1.Connect },
	} {
		spoiled := req
		spoil(&spoiled.AdmissionRequest)
		if got := r.Handle(t.Context(), spoiled); got.Allowed || got.Result.Code != 400 || got.Result.Message == "" {
			t.Errorf("%s: %+v", name, got.Result)
		}
	}
}

// Every kind of configuration has its slot in the Input, and nothing is changed in the one that goes in.
func TestKindsKnowTheirPlace(t *testing.T) {
	for _, k := range kinds {
		if k.set == nil {
			continue
		}
		o := k.empty()
		o.SetName("a")
		one := k.set(k.unset(k.set(k.set(configInput(), o), o), o), o)
		if got := fmt.Sprintf("%+v", one); strings.Count(got, "Name:a ") != 1 {
			t.Errorf("%s: %s", k.name, got)
		}
		before := k.set(configInput(), o)
		changed := k.empty()
		changed.SetName("a")
		changed.SetLabels(map[string]string{"x": "y"})
		copied := fmt.Sprintf("%+v", before)
		k.set(before, changed)
		if diff := cmp.Diff(copied, fmt.Sprintf("%+v", before)); diff != "" {
			t.Errorf("%s: the input was changed: %s", k.name, diff)
		}
	}
}
