package webhook

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/config/configtest"
	"metallb.io/operator/internal/testenv"
)

// The table of all that users may get wrong, through the real API server: what is refused is refused with exactly the errors
// of the table, and what was there is there as before.
func TestTheTableThroughTheAPIServer(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.reviewed()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	cases, err := configtest.Cases(root)
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]int{}
	for _, c := range cases {
		by[c.Refuser()]++
		t.Run(c.ID(), func(t *testing.T) { w.runCase(t, &c) })
	}
	t.Logf("%d cases: %v", len(cases), by)
	if by[configtest.ByWebhook] < 120 {
		t.Errorf("the table has %d cases for the webhook; were some lost?", by[configtest.ByWebhook])
	}
}

func (w *world) runCase(t *testing.T, c *configtest.Case) {
	given, input, err := c.Objects()
	if err != nil {
		t.Fatal(err)
	}
	namespace := testenv.Namespace(t, w, nil)
	w.unreviewed.Store(true) // what is given may be wrong itself
	defer w.unreviewed.Store(false)
	if input.GetKind() != "MetalLB" {
		given = append([]*unstructured.Unstructured{metalLB(namespace)}, given...)
	}
	for _, o := range append(slices.Clone(given), input) {
		w.in(t, o, namespace)
	}
	for _, o := range given {
		if err := w.Create(t.Context(), o); err != nil {
			t.Fatalf("given %s %s: %v", o.GetKind(), o.GetName(), err)
		}
		if o.GetKind() == "MetalLB" {
			t.Cleanup(func() { w.remove(t, o) })
		}
	}
	w.nodes(t, c, namespace)
	w.unreviewed.Store(false)
	w.told.take()

	err = w.submit(t, c, input)
	if input.GetKind() == "MetalLB" && err == nil {
		t.Cleanup(func() { w.remove(t, input) })
	}
	want, warnings, got := c.Errors, c.Warnings, causes(t, err)
	switch {
	case c.RefusedBy == configtest.BySchema: // in an order that changes from time to time
		want = slices.Sorted(slices.Values(c.Refusal))
		slices.Sort(got)
	case len(c.Secrets) > 0: // which the operator cannot read
		want, warnings = nil, nil
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("refused otherwise (-want +got):\n%s", diff)
	}
	if c.RefusedBy != configtest.BySchema {
		for i := range warnings { // the table is written for this namespace
			warnings[i] = strings.ReplaceAll(warnings[i], "metallb-system", namespace)
		}
		own := slices.DeleteFunc(w.told.take(), func(s string) bool { return s == unnumbered || strings.Contains(s, "is deprecated") })
		if diff := cmp.Diff(warnings, own, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("warned otherwise (-want +got):\n%s", diff)
		}
	}
	if len(want) > 0 {
		w.unchanged(t, given)
	}
}

// in puts an object of the table into the namespace, unless it says another one, which is made.
func (w *world) in(t *testing.T, o *unstructured.Unstructured, namespace string) {
	t.Helper()
	if o.GetNamespace() == "" {
		o.SetNamespace(namespace)
		return
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.GetNamespace()}}
	if err := client.IgnoreAlreadyExists(w.Create(t.Context(), ns)); err != nil {
		t.Fatal(err)
	}
}

func metalLB(namespace string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(v1beta1.GroupVersion.String())
	o.SetKind("MetalLB")
	o.SetNamespace(namespace)
	o.SetName("metallb")
	return o
}

// nodes makes the nodes of a case, with what their speakers have reported.
func (w *world) nodes(t *testing.T, c *configtest.Case, namespace string) {
	t.Helper()
	for _, n := range c.Nodes {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels}}
		if err := w.Create(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.remove(t, node) })
		for _, a := range n.Addresses {
			node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
		}
		state := &v1beta1.ConfigurationState{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: configuration.SpeakerState(n.Name)}}
		if err := errors.Join(w.Status().Update(t.Context(), node), w.Create(t.Context(), state)); err != nil {
			t.Fatal(err)
		}
		state.Status = v1beta1.ConfigurationStateStatus{Result: v1beta1.ConfigurationUnknown, Subnets: n.Subnets, Gateways: n.Gateways}
		if err := w.Status().Update(t.Context(), state); err != nil {
			t.Fatal(err)
		}
	}
}

// submit does what the case is about.
func (w *world) submit(t *testing.T, c *configtest.Case, input *unstructured.Unstructured) error {
	t.Helper()
	switch {
	case c.Delete:
		return w.Delete(t.Context(), input)
	case !c.Update:
		return w.Create(t.Context(), input)
	}
	live := input.DeepCopy()
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(input), live); err != nil {
		t.Fatal(err)
	}
	input.SetResourceVersion(live.GetResourceVersion())
	return w.Update(t.Context(), input)
}

// causes are what was found wrong, as "field: message"; none if nothing was.
func causes(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var status *apierrors.StatusError
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) {
		t.Fatalf("got %v, want it to be found invalid", err)
	}
	var out []string
	for _, cause := range status.Status().Details.Causes {
		out = append(out, cause.Field+": "+cause.Message)
	}
	return out
}

// unchanged tells whether all objects are as they were.
func (w *world) unchanged(t *testing.T, given []*unstructured.Unstructured) {
	t.Helper()
	for _, o := range given {
		now := o.DeepCopy()
		if err := w.Get(t.Context(), client.ObjectKeyFromObject(o), now); err != nil || now.GetResourceVersion() != o.GetResourceVersion() {
			t.Errorf("%s %s is not as before: %v", o.GetKind(), o.GetName(), err)
		}
	}
}

// remove deletes an object without asking anybody.
func (w *world) remove(t *testing.T, o client.Object) {
	w.unreviewed.Store(true)
	defer w.unreviewed.Store(false)
	if err := w.Delete(w.t.Context(), o); client.IgnoreNotFound(err) != nil {
		t.Error(err)
	}
}
