package certificate

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// Times between retries of what failed.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// CacheObjects restricts the manager's cache to the three objects that the Reconciler watches. Of each only the metadata is
// kept: no key is held there.
func (r *Reconciler) CacheObjects() map[client.Object]cache.ByObject {
	named := func(name string) cache.ByObject {
		return cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", name)}
	}
	secret := named(r.Secret.Name)
	secret.Namespaces = map[string]cache.Config{r.Secret.Namespace: {}}
	return map[client.Object]cache.ByObject{
		&corev1.Secret{}: secret,
		&admissionregistrationv1.ValidatingWebhookConfiguration{}: named(r.Configuration),
		&apiextensionsv1.CustomResourceDefinition{}:               named(r.CRD),
	}
}

// SetupWithManager registers the Reconciler, to run in each replica, whichever is the leader. It runs at the start and
// whenever one of the three objects changes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	one := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{}}
	})
	start := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(reconcile.Request{})
		return nil
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("certificate").
		WatchesMetadata(&corev1.Secret{}, one).
		WatchesMetadata(&admissionregistrationv1.ValidatingWebhookConfiguration{}, one).
		WatchesMetadata(&apiextensionsv1.CustomResourceDefinition{}, one).
		WatchesRawSource(start).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: 1,
			NeedLeaderElection:      ptr.To(false),
			LogConstructor:          func(*reconcile.Request) logr.Logger { return mgr.GetLogger().WithValues("controller", "certificate") },
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		}).
		Complete(r)
}
