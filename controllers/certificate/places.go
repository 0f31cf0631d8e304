package certificate

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// fieldOwner is by whom the API server sees the two places written.
const fieldOwner = client.FieldOwner("metallb-operator-webhook")

// place is an object that names the server and the authorities to trust, as it was read.
type place struct {
	live client.Object
	kind schema.GroupVersionKind
	// bundles that it holds.
	bundles [][]byte
	// wanted returns the fields as they are to be for this bundle, and whether they are so.
	wanted func(bundle []byte) (fields map[string]any, done bool)
}

// done tells whether there is nothing to write.
func (p place) done(bundle []byte) bool {
	_, done := p.wanted(bundle)
	return done && slices.ContainsFunc(p.live.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == string(fieldOwner) && e.Operation == metav1.ManagedFieldsOperationApply
	})
}

// places reads the two places. One that cannot be read does not keep the other from being put right.
func (r *Reconciler) places(ctx context.Context) ([]place, error) {
	configuration, configurationErr := r.configuration(ctx)
	crd, crdErr := r.crd(ctx)
	return slices.DeleteFunc([]place{configuration, crd}, func(p place) bool { return p.live == nil }), errors.Join(configurationErr, crdErr)
}

func (r *Reconciler) configuration(ctx context.Context) (place, error) {
	live := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	err := r.Live.Get(ctx, types.NamespacedName{Name: r.Configuration}, live)
	if client.IgnoreNotFound(err) != nil {
		return place{}, fmt.Errorf("reading ValidatingWebhookConfiguration %s: %w", r.Configuration, err)
	}
	live.Name = r.Configuration
	owners, err := r.home(ctx)
	if err != nil {
		return place{}, err
	}
	p := place{live: live, kind: admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingWebhookConfiguration")}
	p.wanted = func(bundle []byte) (map[string]any, bool) {
		want := r.Webhooks(bundle)
		fields := content(&admissionregistrationv1.ValidatingWebhookConfiguration{Webhooks: want}, "webhooks")
		fields["metadata"] = content(&metav1.ObjectMeta{OwnerReferences: owners}, "ownerReferences")
		owned := !slices.ContainsFunc(owners, func(o metav1.OwnerReference) bool { return !slices.Contains(live.OwnerReferences, o) })
		return fields, owned && equality.Semantic.DeepEqual(live.Webhooks, want)
	}
	for _, w := range live.Webhooks {
		p.bundles = append(p.bundles, w.ClientConfig.CABundle)
	}
	return p, nil
}

// home is the namespace of the Secret, which is the server's own, as an owner: whoever deletes it leaves no webhooks that
// nobody answers, by which API servers would refuse every change.
func (r *Reconciler) home(ctx context.Context) ([]metav1.OwnerReference, error) {
	ns := &metav1.PartialObjectMetadata{}
	ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := r.Live.Get(ctx, types.NamespacedName{Name: r.Secret.Namespace}, ns); err != nil {
		return nil, fmt.Errorf("reading namespace %s: %w", r.Secret.Namespace, err)
	}
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Namespace", Name: ns.Name, UID: ns.UID}}, nil
}

func (r *Reconciler) crd(ctx context.Context) (place, error) {
	live := &apiextensionsv1.CustomResourceDefinition{}
	err := r.Live.Get(ctx, types.NamespacedName{Name: r.CRD}, live)
	if apierrors.IsNotFound(err) {
		return place{}, fmt.Errorf("CustomResourceDefinition %s is missing: install it with the operator's manifests", r.CRD)
	}
	if err != nil {
		return place{}, fmt.Errorf("reading CustomResourceDefinition %s: %w", r.CRD, err)
	}
	p := place{live: live, kind: apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition")}
	p.wanted = func(bundle []byte) (map[string]any, bool) {
		want := r.Conversion(bundle)
		conversion := content(&apiextensionsv1.CustomResourceDefinitionSpec{Conversion: want}, "conversion")
		return map[string]any{"spec": conversion}, equality.Semantic.DeepEqual(live.Spec.Conversion, want)
	}
	if c := live.Spec.Conversion; c != nil && c.Webhook != nil && c.Webhook.ClientConfig != nil {
		p.bundles = append(p.bundles, c.Webhook.ClientConfig.CABundle)
	}
	return p, nil
}

// content is one field of an object as it is sent.
func content(o any, field string) map[string]any {
	all, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil { // they are plain structures
		panic(err)
	}
	return map[string]any{field: all[field]}
}

// place puts the bundle where it is not yet. The configuration is made if it is gone; an object that has changed since it
// was read is left for the next pass, which the error (IsConflict) asks for.
func (r *Reconciler) place(ctx context.Context, places []place, bundle []byte) error {
	var errs []error
	for _, p := range places {
		if p.done(bundle) {
			continue
		}
		if err := r.put(ctx, p, bundle); isRace(err) {
			return err
		} else if err != nil {
			errs = append(errs, fmt.Errorf("writing the CA bundle into %s: %w", p.live.GetName(), err))
			continue
		}
		log.FromContext(ctx).Info("told the API server whom to trust", "object", p.live.GetName(), "bytes", len(bundle))
	}
	return errors.Join(errs...)
}

// put writes twice. The patch makes the fields exactly what they are to be, whoever has added to them. Applying the same
// makes them ours: what is only patched, kubectl takes for its own when it changes from client-side to server-side apply,
// and removes it because the manifests do not have it.
func (r *Reconciler) put(ctx context.Context, p place, bundle []byte) error {
	fields, done := p.wanted(bundle)
	version := p.live.GetResourceVersion()
	if version != "" && !done {
		patched, _ := p.live.DeepCopyObject().(client.Object)
		if err := r.Client.Patch(ctx, patched, client.RawPatch(types.MergePatchType, patch(fields, version)), fieldOwner); err != nil {
			return err
		}
		version = patched.GetResourceVersion()
	}
	o := &unstructured.Unstructured{Object: fields}
	o.SetGroupVersionKind(p.kind)
	o.SetName(p.live.GetName())
	o.SetResourceVersion(version)
	return r.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), fieldOwner, client.ForceOwnership)
}

// patch is a merge patch over the version that was read. It leaves nothing of another conversion: a client has a service or
// an URL, never both.
func patch(fields map[string]any, version string) []byte {
	out := runtime.DeepCopyJSON(fields)
	out["metadata"] = map[string]any{"resourceVersion": version}
	if config, ok, _ := unstructured.NestedFieldNoCopy(out, "spec", "conversion", "webhook", "clientConfig"); ok {
		for _, field := range []string{"service", "url"} {
			if m := config.(map[string]any); m[field] == nil {
				m[field] = nil
			}
		}
	}
	text, err := json.Marshal(out)
	if err != nil { // maps, slices, strings and numbers always encode
		panic(err)
	}
	return text
}

// bundled returns the authorities that the places name now.
func bundled(places []place) []*x509.Certificate {
	var out []*x509.Certificate
	for _, p := range places {
		for _, b := range p.bundles {
			out = append(out, parseAuthorities(b)...)
		}
	}
	return out
}

// holds tells whether both places are as they should be for the bundle.
func holds(places []place, bundle []byte) bool {
	for _, p := range places {
		if p.live.GetResourceVersion() == "" || !p.done(bundle) {
			return false
		}
	}
	return len(places) == 2
}
