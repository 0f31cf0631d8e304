package storageversion

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// page is how many objects are listed at a time where nothing else is said.
const page = 100

// nothing is what is applied to an object: its name and no field. The API server reads the object, encodes it in the storage
// version, and writes that if it differs from what is stored. There is nothing in it that could undo what others write in the
// same moment, and with the UID nothing can come back that they delete. A merge patch would do the same, but make whoever
// sends it the owner of each field that the API server adds as a default, and so stand in the way of a user who applies one.
func nothing(kind schema.GroupVersionKind, o *metav1.PartialObjectMetadata) (client.Patch, error) {
	text, err := json.Marshal(map[string]any{
		"apiVersion": kind.GroupVersion().String(), "kind": kind.Kind,
		"metadata": map[string]any{"namespace": o.Namespace, "name": o.Name, "uid": o.UID},
	})
	return client.RawPatch(types.ApplyPatchType, text), err
}

// count is what was done.
type count struct{ objects, written int }

// refusal is an object that the API server would not write.
type refusal struct {
	name types.NamespacedName
	err  error
}

// rewriteAll has all objects of the CRD stored in the storage version. One that is refused does not keep the others from it;
// the error names the first. The patch goes to the storage version: what is read then is what would be stored.
func (r *Reconciler) rewriteAll(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, storage string) (count, error) {
	objects, err := r.objects(ctx, crd, storage)
	if err != nil {
		if isAnswer(err) {
			r.Recorder.Eventf(crd, corev1.EventTypeWarning, ReasonRefused, "the objects cannot be listed, so older versions of them may stay stored: %v", err)
		}
		return count{}, fmt.Errorf("listing the objects of CustomResourceDefinition %s: %w", crd.Name, err)
	}
	seen := count{objects: len(objects)}
	var refused []refusal
	for i := range objects {
		o, name, version := &objects[i], client.ObjectKeyFromObject(&objects[i]), objects[i].ResourceVersion
		err := r.rewrite(ctx, kindOf(crd, storage), o)
		switch {
		case err == nil:
			if o.ResourceVersion != version {
				seen.written++
			}
		case apierrors.IsNotFound(err), apierrors.IsConflict(err): // gone, or somebody else writes it: in the storage version
		case isAnswer(err):
			refused = append(refused, refusal{name, err})
			r.Recorder.Eventf(o, corev1.EventTypeWarning, ReasonRefused, "stored in an older version than %s, and to store it anew was refused (change the object, or let it pass; it is tried again): %v", storage, err)
		default:
			return seen, fmt.Errorf("writing %s %s: %w", crd.Spec.Names.Kind, name, err)
		}
	}
	if len(refused) > 0 {
		log.FromContext(ctx).Info("not all objects could be written", "objects", seen.objects, "written", seen.written, "refused", len(refused))
		return seen, fmt.Errorf("%d of %d objects of CustomResourceDefinition %s may be stored in an older version than %s still: %s was refused: %w",
			len(refused), seen.objects, crd.Name, storage, refused[0].name, refused[0].err)
	}
	return seen, nil
}

// rewrite has one object stored in the version.
func (r *Reconciler) rewrite(ctx context.Context, kind schema.GroupVersionKind, o *metav1.PartialObjectMetadata) error {
	patch, err := nothing(kind, o)
	if err != nil {
		return err
	}
	o.SetGroupVersionKind(kind) // else it would be sent to the version in which it was listed
	return r.Client.Patch(ctx, o, patch, fieldOwner)
}

// objects lists the objects' metadata. An object that cannot be converted fails the whole list; it may not do so in the
// version that it is stored in.
func (r *Reconciler) objects(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, storage string) ([]metav1.PartialObjectMetadata, error) {
	versions := []string{storage}
	for _, v := range crd.Spec.Versions {
		if v.Served && v.Name != storage {
			versions = append(versions, v.Name)
		}
	}
	var errs []error
	for _, version := range versions {
		objects, err := r.list(ctx, kindOf(crd, version))
		if err == nil || !isAnswer(err) {
			return objects, err
		}
		errs = append(errs, fmt.Errorf("in %s: %w", version, err))
	}
	return nil, errors.Join(errs...)
}

func (r *Reconciler) list(ctx context.Context, kind schema.GroupVersionKind) ([]metav1.PartialObjectMetadata, error) {
	var objects []metav1.PartialObjectMetadata
	for next := ""; ; {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := r.Live.List(ctx, list, client.Limit(cmp.Or(r.Page, page)), client.Continue(next)); err != nil {
			return nil, err
		}
		objects = append(objects, list.Items...)
		if next = list.Continue; next == "" {
			return objects, nil
		}
	}
}

func kindOf(crd *apiextensionsv1.CustomResourceDefinition, version string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: crd.Spec.Group, Version: version, Kind: crd.Spec.Names.Kind}
}
