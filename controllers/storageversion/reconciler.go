package storageversion

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Reasons of events.
const (
	// ReasonMigrated is told of a CRD all of whose objects are stored in its storage version now.
	ReasonMigrated = "StorageVersionMigrated"
	// ReasonRefused is told of an object that is not, and of a CRD whose objects cannot be listed.
	ReasonRefused = "StorageVersionMigrationFailed"
)

const (
	// DefaultSettle is that of Reconciler.Settle in the operator: API servers hear of a change in milliseconds, and nothing is
	// in a hurry.
	DefaultSettle = 10 * time.Second
	// again is the time after which to look whether what is waited for has come.
	again = time.Second
	// fieldOwner is by whom the API server sees things written.
	fieldOwner = client.FieldOwner("metallb-operator-storage-version")
)

// kinds are the CRDs that have more than one version; the value tells whether a webhook converts between them. Then the
// CRD must say so: without it the API server would change nothing but the version's name, and store that for good.
var kinds = map[string]bool{
	"addresspools.metallb.io": false,
	"bgppeers.metallb.io":     true,
}

// Reconciler brings status.storedVersions of each of the CRDs down to the storage version. A request names a CRD.
type Reconciler struct {
	// Client writes; Live reads from the API server.
	Client client.Client
	Live   client.Reader
	// Recorder tells users.
	Recorder record.EventRecorder
	// Ready returns an error while API servers cannot have an answer from the conversion webhook.
	Ready func() error
	// Settle is how long a CRD must have been the same before anything is written. An API server that has not heard of a
	// change yet converts, and stores, as the CRD said before.
	Settle time.Duration
	// Page is the number of objects listed at a time; 0: 100.
	Page int64
	// Now is the clock; nil: time.Now.
	Now func() time.Time

	// since when each CRD has been as it is.
	since map[string]sighting
}

// sighting is what a CRD's specification was when it was first seen so.
type sighting struct {
	uid        types.UID
	generation int64
	at         time.Time
}

// Reconcile looks at one CRD. What it does can be done again, by another replica too: an object that is stored as it should
// be is not written, and the CRD's status is written over what was read, once.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	converted, known := kinds[req.Name]
	if !known {
		return reconcile.Result{}, nil
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := r.Live.Get(ctx, req.NamespacedName, crd); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	storage := storageVersion(crd)
	if slices.Equal(crd.Status.StoredVersions, []string{storage}) || !usable(crd, converted) {
		return reconcile.Result{}, nil // any change of this is an event
	}
	if wait := r.wait(crd); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithValues("crd", crd.Name, "storageVersion", storage))
	seen, err := r.rewriteAll(ctx, crd, storage)
	if err != nil {
		return reconcile.Result{}, err
	}
	return r.finish(ctx, crd, storage, seen)
}

// storageVersion is the one version of a CRD in which objects are stored.
func storageVersion(crd *apiextensionsv1.CustomResourceDefinition) string {
	i := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Storage })
	if i < 0 { // the API server stores no such CRD
		return ""
	}
	return crd.Spec.Versions[i].Name
}

// usable tells whether the CRD's objects can be read and written as they are meant to be.
func usable(crd *apiextensionsv1.CustomResourceDefinition, converted bool) bool {
	established := slices.ContainsFunc(crd.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
	byWebhook := crd.Spec.Conversion != nil && crd.Spec.Conversion.Strategy == apiextensionsv1.WebhookConverter
	return established && crd.DeletionTimestamp == nil && byWebhook == converted
}

// wait is how long the CRD must be left alone for now.
func (r *Reconciler) wait(crd *apiextensionsv1.CustomResourceDefinition) time.Duration {
	now := r.now()
	if r.since == nil {
		r.since = map[string]sighting{}
	}
	if s := r.since[crd.Name]; s.uid != crd.UID || s.generation != crd.Generation {
		r.since[crd.Name] = sighting{crd.UID, crd.Generation, now}
	}
	if left := r.since[crd.Name].at.Add(r.Settle).Sub(now); left > 0 {
		return left
	}
	if kinds[crd.Name] && r.Ready() != nil {
		return again
	}
	return 0
}

// finish takes the older versions out of the CRD's status, unless the CRD has changed since it was read: then what was
// written may be in what is an older version by now.
func (r *Reconciler) finish(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, storage string, seen count) (reconcile.Result, error) {
	now := &apiextensionsv1.CustomResourceDefinition{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(crd), now); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if now.UID != crd.UID || now.Generation != crd.Generation {
		return reconcile.Result{RequeueAfter: again}, nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": now.ResourceVersion},
		"status":   map[string]any{"storedVersions": []string{storage}},
	})
	if err != nil {
		return reconcile.Result{}, err
	}
	before := now.Status.StoredVersions
	err = r.Client.Status().Patch(ctx, now, client.RawPatch(types.MergePatchType, patch), fieldOwner)
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: again}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("taking the older versions out of the status of CustomResourceDefinition %s: %w", crd.Name, client.IgnoreNotFound(err))
	}
	log.FromContext(ctx).Info("all objects are stored in the storage version", "objects", seen.objects, "written", seen.written, "before", before)
	r.Recorder.Eventf(now, corev1.EventTypeNormal, ReasonMigrated, "all objects are stored as %s now: %d, of which %d had to be written", storage, seen.objects, seen.written)
	return reconcile.Result{}, nil
}

func (r *Reconciler) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

// isAnswer tells whether the API server has judged a request, rather than not having come to it.
func isAnswer(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && !apierrors.IsTooManyRequests(err) && !apierrors.IsServiceUnavailable(err) &&
		!apierrors.IsServerTimeout(err) && !apierrors.IsTimeout(err) && !apierrors.IsUnauthorized(err)
}
