package storageversion

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/go-logr/logr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// Times between retries. An object that is refused waits for a person.
const (
	firstRetry = 5 * time.Second
	lastRetry  = 10 * time.Minute
)

// SetupWithManager registers the Reconciler, to run in the leader. It runs at the start and whenever one of the CRDs changes.
// Each CRD has a cache of its own, of metadata: what may be watched by name only is watched one by one.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named("storageversion").
		WithOptions(controller.Options{
			MaxConcurrentReconciles: 1,
			LogConstructor: func(*reconcile.Request) logr.Logger {
				return mgr.GetLogger().WithValues("controller", "storageversion")
			},
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		})
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		one, err := cache.New(mgr.GetConfig(), cache.Options{
			HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
			DefaultFieldSelector: fields.OneTermEqualSelector("metadata.name", name),
			DefaultTransform:     cache.TransformStripManagedFields(),
		})
		if err := errors.Join(err, mgr.Add(one)); err != nil {
			return err
		}
		crd := &metav1.PartialObjectMetadata{}
		crd.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
		b = b.WatchesRawSource(source.Kind(one, crd, &handler.TypedEnqueueRequestForObject[*metav1.PartialObjectMetadata]{}))
	}
	return b.Complete(r)
}
