package metallb

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/rollout"
)

// outcome is what was applied and what the object was after that. While both are still so, there is nothing to do.
type outcome struct {
	desired, live string
}

// applyOne brings one object into its desired state and returns it; live is what the cache has of it, nil if nothing.
func (r *Reconciler) applyOne(ctx context.Context, desired render.Object, live client.Object) (client.Object, error) {
	key := keyOf(desired)
	config, err := applyConfiguration(desired)
	if err != nil {
		return nil, err
	}
	if live == nil {
		if live, err = r.unlabelled(ctx, desired); err != nil {
			return nil, err
		}
	}
	want := outcome{desired: fingerprint(config)}
	if live != nil {
		if live.GetDeletionTimestamp() != nil {
			return live, nil // when it is gone, that is an event
		}
		if want.live, err = typedFingerprint(live); err != nil {
			return nil, err
		}
		if r.applied[key] == want {
			return live, nil
		}
		if err := r.makeWay(ctx, desired, live); err != nil {
			return nil, err
		}
	}
	logger := log.FromContext(ctx).WithValues("kind", key.kind, "object", key.NamespacedName)
	if err := r.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(config), client.FieldOwner(render.Manager), client.ForceOwnership); err != nil {
		return nil, err
	}
	after := emptyLike(desired)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(config.Object, after); err != nil {
		return nil, err
	}
	if live == nil || live.GetResourceVersion() != after.GetResourceVersion() {
		logger.Info("applied", "resourceVersion", after.GetResourceVersion())
	}
	return after, r.remember(key, want.desired, after)
}

// remember takes down what came out of applying, unless somebody has added to it after we looked: their change comes as
// an event, and must not be taken for what we wanted.
func (r *Reconciler) remember(key objectKey, desired string, after client.Object) error {
	if r.applied == nil {
		r.applied = map[objectKey]outcome{}
	}
	delete(r.applied, key)
	if isWorkload(after) {
		if _, foreign, err := claimed(after); err != nil || foreign {
			return err
		}
	}
	live, err := typedFingerprint(after)
	if err != nil {
		return err
	}
	r.applied[key] = outcome{desired: desired, live: live}
	return nil
}

// unlabelled looks for an object that is not in the cache because it lacks the operator's labels. It returns nil if there
// is none (any more), and an error if the one that is there is somebody else's.
func (r *Reconciler) unlabelled(ctx context.Context, desired render.Object) (client.Object, error) {
	live := emptyLike(desired)
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(desired), live)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	applied := slices.ContainsFunc(live.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool { return e.Manager == render.Manager })
	if !applied && live.GetLabels()["app"] != "metallb" {
		return nil, rollout.ErrForeign
	}
	if template := podTemplate(live); template != nil && holdsPorts(template) {
		return nil, r.displace(ctx, live)
	}
	return live, nil // left by an installation of another kind, and taken over
}

// displace removes a workload that another installation left. It cannot become ours in a rolling update: its speakers hold
// ports of their nodes, so that none of ours could start beside them, and the update would wait for ever; and two
// controllers of different kinds would give addresses.
func (r *Reconciler) displace(ctx context.Context, live client.Object) error {
	if err := r.remove(ctx, live); err != nil {
		return err
	}
	log.FromContext(ctx).Info("removed a workload of another installation, to replace it", "object", client.ObjectKeyFromObject(live))
	return nil
}

// holdsPorts tells whether the pods say which ports they listen on: none of ours do.
func holdsPorts(template *corev1.PodTemplateSpec) bool {
	return slices.ContainsFunc(template.Spec.Containers, func(c corev1.Container) bool { return len(c.Ports) > 0 })
}

// makeWay prepares a live object for being applied: one whose immutable fields are wrong is removed, and what others have
// added to a workload's specification becomes ours, so that applying removes it.
func (r *Reconciler) makeWay(ctx context.Context, desired render.Object, live client.Object) error {
	if immutableDiffers(desired, live) {
		return r.remove(ctx, live)
	}
	if !isWorkload(live) {
		return nil // others may add to it: tokens and pull secrets to a ServiceAccount
	}
	entries, foreign, err := claimed(live)
	if err != nil || !foreign {
		return err
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": entries},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()},
	})
	if err != nil {
		return err
	}
	return r.Client.Patch(ctx, live.DeepCopyObject().(client.Object), client.RawPatch(types.JSONPatchType, patch))
}

// emptyLike returns an object of the same kind to read into.
func emptyLike(desired render.Object) client.Object {
	o := reflect.New(reflect.TypeOf(desired).Elem()).Interface().(client.Object)
	if u, ok := o.(*unstructured.Unstructured); ok {
		u.SetGroupVersionKind(desired.GetObjectKind().GroupVersionKind())
	}
	return o
}

func isWorkload(o client.Object) bool { return podTemplate(o) != nil }

// podTemplate is that of a workload, nil for all else.
func podTemplate(o client.Object) *corev1.PodTemplateSpec {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *appsv1.DaemonSet:
		return &o.Spec.Template
	}
	return nil
}

func immutableDiffers(desired render.Object, live client.Object) bool {
	switch d := desired.(type) {
	case *rbacv1.RoleBinding:
		return d.RoleRef != live.(*rbacv1.RoleBinding).RoleRef
	case *rbacv1.ClusterRoleBinding:
		return d.RoleRef != live.(*rbacv1.ClusterRoleBinding).RoleRef
	case *appsv1.Deployment:
		return !equality.Semantic.DeepEqual(d.Spec.Selector, live.(*appsv1.Deployment).Spec.Selector)
	case *appsv1.DaemonSet:
		return !equality.Semantic.DeepEqual(d.Spec.Selector, live.(*appsv1.DaemonSet).Spec.Selector)
	}
	return false
}

// claimed returns an object's managed fields with what others own in its spec made the operator's, and whether that
// changes anything. The pod template's metadata is left to them: an annotation there is how a restart is asked for.
func claimed(live client.Object) ([]metav1.ManagedFieldsEntry, bool, error) {
	taken := fieldpath.NewSet()
	entries := make([]metav1.ManagedFieldsEntry, 0, len(live.GetManagedFields()))
	own := -1
	for _, e := range live.GetManagedFields() {
		if e.Manager == render.Manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "" {
			own = len(entries)
		} else if e.Manager != render.Manager && e.Subresource == "" && e.FieldsV1 != nil {
			rest, spec, err := splitSpec(e.FieldsV1)
			if err != nil {
				return nil, false, fmt.Errorf("managed fields of %s: %w", e.Manager, err)
			}
			taken = taken.Union(spec)
			if !spec.Empty() && rest.Empty() {
				continue
			}
			if err := encodeFields(&e, rest); err != nil {
				return nil, false, err
			}
		}
		entries = append(entries, e)
	}
	if taken.Empty() {
		return nil, false, nil
	}
	if own < 0 {
		own = len(entries)
		entries = append(entries, metav1.ManagedFieldsEntry{
			Manager: render.Manager, Operation: metav1.ManagedFieldsOperationApply,
			APIVersion: appsv1.SchemeGroupVersion.String(), FieldsType: "FieldsV1",
		})
	} else {
		mine := &fieldpath.Set{}
		if err := mine.FromJSON(entries[own].FieldsV1.GetRawReader()); err != nil {
			return nil, false, fmt.Errorf("managed fields of %s: %w", render.Manager, err)
		}
		taken = taken.Union(mine)
	}
	return entries, true, encodeFields(&entries[own], taken)
}

// splitSpec divides a set of fields into those of a workload's spec, without its pod template's metadata, and the rest.
func splitSpec(fields *metav1.FieldsV1) (rest, spec *fieldpath.Set, err error) {
	all := &fieldpath.Set{}
	if err := all.FromJSON(fields.GetRawReader()); err != nil {
		return nil, nil, err
	}
	spec = fieldpath.NewSet()
	all.Iterate(func(p fieldpath.Path) {
		if under(p, "spec") && !under(p, "spec", "template", "metadata") {
			spec.Insert(p.Copy())
		}
	})
	return all.Difference(spec), spec, nil
}

func under(p fieldpath.Path, names ...string) bool {
	if len(p) < len(names) {
		return false
	}
	for i, name := range names {
		if p[i].FieldName == nil || *p[i].FieldName != name {
			return false
		}
	}
	return true
}

func encodeFields(e *metav1.ManagedFieldsEntry, fields *fieldpath.Set) error {
	raw, err := fields.ToJSON()
	e.FieldsV1 = metav1.NewFieldsV1(string(raw))
	return err
}

// applyConfiguration is the object as it is sent: without status, which is not ours to say.
func applyConfiguration(desired render.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(desired.DeepCopyObject())
	if err != nil {
		return nil, err
	}
	delete(content, "status")
	return &unstructured.Unstructured{Object: content}, nil
}

// typedFingerprint is the same for two objects that differ in nothing that applying could change. Both that come from
// the cache and those from an answer go through their Go type, so that they are written alike.
func typedFingerprint(o client.Object) (string, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o.DeepCopyObject()) // an unstructured one is its content
	if err != nil {
		return "", err
	}
	u := &unstructured.Unstructured{Object: content}
	for _, field := range []string{"status", "kind", "apiVersion"} {
		delete(content, field)
	}
	u.SetManagedFields(nil)
	u.SetResourceVersion("")
	u.SetGeneration(0)
	return fingerprint(u), nil
}

// fingerprint is the object's content with keys in order.
func fingerprint(u *unstructured.Unstructured) string {
	data, err := json.Marshal(u.Object)
	if err != nil { // maps, slices, strings and numbers always encode
		panic(err)
	}
	return string(data)
}
