package storageversion

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	definitions "metallb.io/operator/config/crd"
	"metallb.io/operator/controllers/webhook"
)

// Every CRD that has more than one version is looked at, and no other.
func TestKindsAreTheCRDsWithMoreThanOneVersion(t *testing.T) {
	files, err := definitions.Bases.ReadDir("bases")
	must(t, err)
	several := map[string]bool{}
	for _, f := range files {
		text, err := definitions.Bases.ReadFile(path.Join("bases", f.Name()))
		must(t, err)
		crd := &apiextensionsv1.CustomResourceDefinition{}
		must(t, yaml.UnmarshalStrict(text, crd))
		if len(crd.Spec.Versions) > 1 {
			several[crd.Name] = crd.Name == webhook.ConvertedCRD
		}
	}
	if !maps.Equal(several, kinds) {
		t.Errorf("the CRDs with more than one version, and whether a webhook converts them: %v, the table says %v", several, kinds)
	}
}

// What older versions stored is stored anew, unchanged but for the storage version's defaults, which belong to nobody; what is stored as it should be is not
// written. Then the older version can be taken out of the CRD, and the objects are there; and a second pass writes nothing.
func TestObjectsAreStoredAnew(t *testing.T) {
	for _, c := range []struct {
		crd, old, storage string
		objects           func(string) *unstructured.Unstructured
		// defaults of the storage version, as each version has them.
		defaults map[string]map[string]any
	}{
		{peers, "v1beta1", "v1beta2", peer, map[string]map[string]any{
			"v1beta1": {"peerPort": int64(179)}, "v1beta2": {"peerPort": int64(179), "disableMP": false, "dualStackAddressFamily": false}}},
		{pools, "v1alpha1", "v1beta1", pool, nil},
	} {
		t.Run(c.crd, func(t *testing.T) {
			w := newWorld(t)
			names := []string{"a", "b", "c", "d", "e"} // of a page, the next, and half of one
			var stored []*unstructured.Unstructured
			for _, name := range names {
				stored = append(stored, c.objects(name))
			}
			w.store(c.crd, c.old, w.in(stored...)...)
			fresh := w.in(c.objects("fresh"))[0]
			fresh.SetAPIVersion("metallb.io/" + c.storage)
			must(t, w.Create(t.Context(), fresh))
			before := map[string][]*unstructured.Unstructured{}
			for _, name := range names {
				before[name] = []*unstructured.Unstructured{w.read(c.crd, c.old, name), w.read(c.crd, c.storage, name)}
			}

			result, err := w.reconcile(c.crd)
			must(t, err)
			if result.RequeueAfter != 0 {
				t.Errorf("it wants to come back in %s", result.RequeueAfter)
			}
			for _, name := range names {
				if got := w.storedIn(c.crd, name); got != "metallb.io/"+c.storage {
					t.Errorf("%s is stored in %s", name, got)
				}
				after := []*unstructured.Unstructured{w.read(c.crd, c.old, name), w.read(c.crd, c.storage, name)}
				for i, o := range after {
					if o.GetResourceVersion() == before[name][i].GetResourceVersion() {
						t.Errorf("%s was not written", name)
					}
					was := before[name][i]
					o.SetResourceVersion(was.GetResourceVersion())
					o.SetGeneration(was.GetGeneration())
					delete(o.Object, "status") // an empty one comes with the conversion
					delete(was.Object, "status")
					if o.GetAPIVersion() == "metallb.io/v1beta1" && c.crd == peers {
						unstructured.RemoveNestedField(was.Object, "spec", "holdTime") // "0s", which means that it is not set
					}
					maps.Copy(was.Object["spec"].(map[string]any), c.defaults[o.GroupVersionKind().Version])
				}
				if diff := cmp.Diff(before[name], after); diff != "" {
					t.Errorf("%s reads differently:\n%s", name, diff)
				}
			}
			if now := w.read(c.crd, c.old, "fresh"); now.GetResourceVersion() != fresh.GetResourceVersion() {
				t.Error("what is stored as it should be was written")
			}
			if got := w.crd(c.crd).Status.StoredVersions; !slices.Equal(got, []string{c.storage}) {
				t.Errorf("the stored versions are %v", got)
			}
			w.event("CustomResourceDefinition", metav1.NamespaceDefault, c.crd, ReasonMigrated, "all objects are stored as "+c.storage+" now: 6, of which 5 had to be written")
			w.writes = 0
			_, err = w.reconcile(c.crd)
			must(t, err)
			if w.writes != 0 {
				t.Errorf("a second pass writes %d times", w.writes)
			}
			w.setCRD(c.crd, func(crd *apiextensionsv1.CustomResourceDefinition) { // which the API server refuses while something is stored in it
				crd.Spec.Versions = slices.DeleteFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == c.old })
				crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter}
			})
			for _, name := range names {
				if got := w.read(c.crd, c.storage, name); !cmp.Equal(got.Object["spec"], before[name][1].Object["spec"]) {
					t.Errorf("%s without %s: %v", name, c.old, got.Object["spec"])
				}
			}
		})
	}
}

// What others do between the list and the write stays done.
func TestEditsOfTheSameMomentSurvive(t *testing.T) {
	w := newWorld(t)
	w.store(peers, "v1beta1", w.in(peer("edited"), peer("removed"))...)
	w.before = func(o client.Object) {
		switch o.GetName() {
		case "edited":
			now := w.read(peers, "v1beta1", "edited")
			must(t, unstructured.SetNestedField(now.Object, "192.0.2.99", "spec", "peerAddress"))
			must(t, w.Update(t.Context(), now))
		case "removed":
			must(t, w.Delete(t.Context(), w.read(peers, "v1beta1", "removed")))
		}
	}
	_, err := w.reconcile(peers)
	must(t, err)
	if got, _, _ := unstructured.NestedString(w.read(peers, "v1beta2", "edited").Object, "spec", "peerAddress"); got != "192.0.2.99" {
		t.Errorf("the edit is lost: the address is %s", got)
	}
	gone := w.in(peer("removed"))[0]
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(gone), gone); !apierrors.IsNotFound(err) {
		t.Errorf("what was deleted: %v", err)
	}
	if got := w.crd(peers).Status.StoredVersions; !slices.Equal(got, []string{"v1beta2"}) {
		t.Errorf("the stored versions are %v", got)
	}
}

// An object that nobody may write, here by a rule of the administrator's, is told of, and does not hold up the others.
func TestAnObjectThatIsRefused(t *testing.T) {
	w := newWorld(t)
	w.store(peers, "v1beta1", w.in(peer("a"), peer("refused"), peer("z"))...)
	allow := w.refuse("refused")
	var err error
	eventually(t, func() error { // until the API server knows the rule
		if _, err = w.reconcile(peers); err == nil {
			t.Fatal("nothing was refused")
		}
		if !strings.Contains(err.Error(), "is frozen") {
			return err
		}
		return nil
	})
	if want := "1 of 3 objects of CustomResourceDefinition bgppeers.metallb.io may be stored in an older version than v1beta2 still: " + w.namespace + "/refused was refused: "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("the error is %v", err)
	}
	if got, want := w.stored(peers, "a", "refused", "z"), []string{"metallb.io/v1beta2", "metallb.io/v1beta1", "metallb.io/v1beta2"}; !slices.Equal(got, want) {
		t.Errorf("stored as %v, want %v", got, want)
	}
	if got := w.crd(peers).Status.StoredVersions; !slices.Equal(got, []string{"v1beta2", "v1beta1"}) {
		t.Errorf("the stored versions are %v", got)
	}
	w.event("BGPPeer", w.namespace, "refused", ReasonRefused, "stored in an older version than v1beta2", "is frozen")
	allow()
	eventually(t, func() error { _, err := w.reconcile(peers); return err })
	if got := w.storedIn(peers, "refused"); got != "metallb.io/v1beta2" {
		t.Errorf("stored in %s once it is allowed", got)
	}
	if got := w.crd(peers).Status.StoredVersions; !slices.Equal(got, []string{"v1beta2"}) {
		t.Errorf("the stored versions are %v", got)
	}
}

// refuse has the API server refuse updates of the BGPPeer, until the function it returns is called.
func (w *world) refuse(name string) (allow func()) {
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	fail := admissionregistrationv1.Fail
	policy.Spec = admissionregistrationv1.ValidatingAdmissionPolicySpec{
		FailurePolicy: &fail,
		MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
			RuleWithOperations: admissionregistrationv1.RuleWithOperations{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"metallb.io"}, APIVersions: []string{"*"}, Resources: []string{"bgppeers"}},
			}}}},
		Validations: []admissionregistrationv1.Validation{{Expression: "object.metadata.name != '" + name + "'", Message: "this object is frozen"}},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: policy.ObjectMeta}
	binding.Spec = admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: policy.Name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
	}
	must(w.t, w.Create(w.t.Context(), policy))
	must(w.t, w.Create(w.t.Context(), binding))
	eventually(w.t, func() error {
		err := w.Patch(w.t.Context(), w.read(peers, "v1beta1", name), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"probe":"x"}}}`)), client.DryRunAll)
		if err == nil {
			return errors.New("an update is let pass still")
		}
		return nil
	})
	allow = func() {
		must(w.t, client.IgnoreNotFound(w.Delete(context.Background(), binding)))
		must(w.t, client.IgnoreNotFound(w.Delete(context.Background(), policy)))
	}
	w.t.Cleanup(allow)
	return allow
}

// One object that cannot be converted fails the list in the storage version for everybody; the others are stored anew all
// the same.
func TestAnObjectThatCannotBeConverted(t *testing.T) {
	w := newWorld(t)
	w.setCRD(peers, func(crd *apiextensionsv1.CustomResourceDefinition) {
		crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter}
	})
	bad := peer("bad")
	bad.SetAnnotations(map[string]string{"metallb.io/v1beta2-fields": "{garbage"})
	w.store(peers, "v1beta1", w.in(peer("a"), bad, peer("z"))...)
	w.setCRD(peers, func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Spec.Conversion = w.converter })
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kindOf(w.crd(peers), "v1beta2"))
	eventually(t, func() error {
		if err := w.List(t.Context(), list); err == nil {
			return errors.New("it can be listed")
		}
		return nil
	})
	_, err := w.reconcile(peers)
	if err == nil || !strings.Contains(err.Error(), w.namespace+"/bad was refused: ") || !strings.Contains(err.Error(), "metadata.annotations[metallb.io/v1beta2-fields]") {
		t.Errorf("the error is %v", err)
	}
	if got, want := w.stored(peers, "a", "bad", "z"), []string{"metallb.io/v1beta2", "metallb.io/v1beta1", "metallb.io/v1beta2"}; !slices.Equal(got, want) {
		t.Errorf("stored as %v, want %v", got, want)
	}
	w.event("BGPPeer", w.namespace, "bad", ReasonRefused, "metadata.annotations[metallb.io/v1beta2-fields]")
}

// A CRD that changes while its objects are written keeps what its status says, and the next pass looks again.
func TestACRDThatChangesMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.store(peers, "v1beta1", w.in(peer("a"))...)
	w.before = func(client.Object) {
		w.before = nil
		w.setStorage(peers, "v1beta1")
	}
	result, err := w.reconcile(peers)
	must(t, err)
	if got := w.crd(peers).Status.StoredVersions; len(got) != 2 || result.RequeueAfter != again {
		t.Errorf("the stored versions are %v, and it comes back in %s", got, result.RequeueAfter)
	}
	_, err = w.reconcile(peers)
	must(t, err)
	if got := w.crd(peers).Status.StoredVersions; !slices.Equal(got, []string{"v1beta1"}) || w.storedIn(peers, "a") != "metallb.io/v1beta1" {
		t.Errorf("the stored versions are %v, the object is stored in %s", got, w.storedIn(peers, "a"))
	}
}

// Nothing is written before the conversion is told to API servers, answers, and has been told to them for a while.
func TestNothingIsWrittenTooEarly(t *testing.T) {
	w := newWorld(t)
	w.store(peers, "v1beta1", w.in(peer("a"))...)
	now := time.Unix(1000, 0)
	w.Now = func() time.Time { return now }
	w.Settle = time.Minute
	ready := errors.New("not yet")
	w.Ready = func() error { return ready }
	expect := func(when string, after time.Duration) {
		t.Helper()
		result, err := w.reconcile(peers)
		must(t, err)
		if result.RequeueAfter != after || w.writes != 0 {
			t.Errorf("%s: it comes back in %s, want %s, and has written %d times", when, result.RequeueAfter, after, w.writes)
		}
	}
	w.setCRD(peers, func(crd *apiextensionsv1.CustomResourceDefinition) {
		crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter}
	})
	expect("without conversion, until an event", 0)
	w.setCRD(peers, func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Spec.Conversion = w.converter })
	expect("just told", time.Minute)
	now = now.Add(40 * time.Second)
	expect("a little later", 20*time.Second)
	w.setCRD(peers, func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Spec.Names.ShortNames = []string{"changed"} })
	expect("changed again", time.Minute)
	now = now.Add(time.Minute)
	expect("long enough, but nobody answers", again)
	ready = nil
	_, err := w.reconcile(peers)
	must(t, err)
	if got := w.storedIn(peers, "a"); got != "metallb.io/v1beta2" {
		t.Errorf("in the end it is stored in %s", got)
	}
}
