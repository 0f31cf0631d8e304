package legacy

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"metallb.io/operator/controllers/configuration"
)

// Reconciler turns the ConfigMap of one namespace into resources.
type Reconciler struct {
	// Client writes. Live reads from the API server: what is judged by a cache could be made twice, or taken from a user
	// who has just made it. There is little of it and it changes rarely.
	Client client.Client
	Live   client.Reader
	// Recorder of events on the ConfigMap.
	Recorder record.EventRecorder
	// State is told what is wrong.
	State *configuration.State
	// Namespace of the ConfigMap and of the resources.
	Namespace string

	// said is what was last said, by reason, so that it is said once.
	mu   sync.Mutex
	said map[string]string
}

// ExtendCache adds to what the manager's cache holds the one ConfigMap; there is no right to see others.
func ExtendCache(options *cache.Options, namespace string) {
	if options.ByObject == nil {
		options.ByObject = map[client.Object]cache.ByObject{}
	}
	options.ByObject[&corev1.ConfigMap{}] = cache.ByObject{
		Namespaces: map[string]cache.Config{namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", configMap)}},
		Transform:  bare,
	}
}

// bare leaves out what kubectl notes in an annotation: the whole text, and with it the passwords.
func bare(o any) (any, error) {
	if m, ok := o.(metav1.Object); ok {
		m.SetAnnotations(nil)
		m.SetManagedFields(nil)
	}
	return o, nil
}

// SetupWithManager registers the loop. All is one request, whatever has changed.
func (r *Reconciler) SetupWithManager(mgr manager.Manager) error {
	one := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		if o.GetNamespace() != r.Namespace {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: r.Namespace, Name: configMap}}}
	})
	named := builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetName() == configMap }))
	b := ctrl.NewControllerManagedBy(mgr).Named("legacy").WatchesMetadata(&corev1.ConfigMap{}, one, named)
	for _, obj := range configuration.Objects() {
		b = b.WatchesMetadata(obj, one, builder.WithPredicates(concerned))
	}
	return b.WithOptions(controller.Options{
		RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, 30*time.Second),
	}).Complete(r)
}

// concerned lets pass what happens to resources made here, and that any resource has gone: it may have been in the way.
var concerned = predicate.Funcs{
	CreateFunc:  func(e event.CreateEvent) bool { return labelled(e.Object) || owned(e.Object) },
	GenericFunc: func(event.GenericEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld, e.ObjectNew
		changed := was.GetGeneration() != is.GetGeneration() || !maps.Equal(was.GetLabels(), is.GetLabels()) ||
			!maps.Equal(was.GetAnnotations(), is.GetAnnotations()) || len(was.GetOwnerReferences()) != len(is.GetOwnerReferences())
		return changed && slices.ContainsFunc([]client.Object{was, is}, func(o client.Object) bool { return labelled(o) || owned(o) })
	},
}
