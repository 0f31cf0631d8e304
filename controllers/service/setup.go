package service

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/ipam"
	"metallb.io/operator/internal/lbservice"
	"metallb.io/operator/internal/obs"
)

const (
	// Writers is the number of Services that are written at the same time.
	Writers = 16
	// longestBackOff bounds the wait after repeated errors, so that an API server that was away finds nobody asleep.
	longestBackOff = 5 * time.Second
)

// CacheOptions says what the manager's cache must hold for a Reconciler of that namespace, and no more.
func CacheOptions(namespace string) cache.Options {
	here := map[string]cache.Config{namespace: {}}
	options := cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Service{}:             {Transform: transform, UnsafeDisableDeepCopy: ptr.To(true)}, // nobody edits what is read
			&corev1.Node{}:                {Transform: transform},
			&v1beta1.ConfigurationState{}: {Transform: transform, Namespaces: here},
			&v1beta1.ServiceL2Status{}:    {Transform: transform, Namespaces: here},
			&v1beta1.ServiceBGPStatus{}:   {Transform: transform, Namespaces: here},
			&v1beta1.BGPSessionState{}:    {Transform: transform, Namespaces: here},
		},
	}
	for _, o := range configuration.Objects() {
		options.ByObject[o] = cache.ByObject{Namespaces: here}
	}
	return options
}

// SetupWithManager registers the loops.
func (r *Reconciler) SetupWithManager(mgr manager.Manager) error {
	r.silent, r.calmed = map[ipam.Key]map[netip.Addr]lack{}, map[ipam.Key]time.Time{}
	r.goodNews = rate.NewLimiter(goodNewsRate, goodNewsBurst)
	return errors.Join(r.setupConfiguration(mgr), r.setupServices(mgr), r.setupSilent(mgr), r.setupSessions(mgr), mgr.Add(manager.RunnableFunc(r.sweep)))
}

func (r *Reconciler) setupConfiguration(mgr manager.Manager) error {
	// All configuration is one request: it is loaded as a whole.
	request := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: r.Namespace, Name: "configuration"}}
	whole := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{request}
	})
	edited := builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}))
	loop := ctrl.NewControllerManagedBy(mgr).Named("configuration").
		Watches(&corev1.Node{}, later(request, pause), builder.WithPredicates(surroundings)).
		Watches(&v1beta1.ConfigurationState{}, later(request, pause), builder.WithPredicates(surroundings)).
		WithOptions(controller.Options{RateLimiter: rateLimiter()})
	for _, o := range configuration.Objects() {
		loop = loop.WatchesMetadata(o, whole, edited)
	}
	return loop.Complete(reconcile.Func(r.reconcileConfiguration))
}

func (r *Reconciler) setupServices(mgr manager.Manager) error {
	index := func(o client.Object) []string { return []string{about(o).String()} }
	for _, o := range []client.Object{&v1beta1.ServiceL2Status{}, &v1beta1.ServiceBGPStatus{}} {
		if err := mgr.GetFieldIndexer().IndexField(context.Background(), o, byService, index); err != nil {
			return err
		}
	}
	// A plain queue costs less than one that lets what is new overtake what was there at the start.
	options := controller.Options{RateLimiter: rateLimiter(), MaxConcurrentReconciles: Writers, UsePriorityQueue: ptr.To(false)}
	return ctrl.NewControllerManagedBy(mgr).Named("service").
		For(&corev1.Service{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: r.written.news})).
		WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.servicesOf), builder.WithPredicates(predicate.LabelChangedPredicate{})).
		Watches(&v1beta1.ServiceL2Status{}, handler.EnqueueRequestsFromMapFunc(serviceOf)).
		Watches(&v1beta1.ServiceBGPStatus{}, handler.EnqueueRequestsFromMapFunc(serviceOf)).
		WatchesRawSource(source.Func(r.takeQueue)).
		WithOptions(options).
		WithLogConstructor(logConstructor(mgr.GetLogger())).
		Complete(r)
}

func (r *Reconciler) setupSilent(mgr manager.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("silent").
		WatchesRawSource(source.Func(r.takeLooks)).
		WithOptions(controller.Options{RateLimiter: rateLimiter()}).
		WithLogConstructor(logConstructor(mgr.GetLogger())).
		Complete(reconcile.Func(r.reconcileSilent))
}

// setupSessions has what keeps BGP sessions from coming up told anew when it changes.
func (r *Reconciler) setupSessions(mgr manager.Manager) error {
	index := func(o client.Object) []string {
		s := &o.(*v1beta1.BGPSessionState).Status
		return []string{s.Node + "/" + s.BGPPeer}
	}
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1beta1.BGPSessionState{}, bySession, index); err != nil {
		return err
	}
	request := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: r.Namespace, Name: "sessions"}}
	return ctrl.NewControllerManagedBy(mgr).Named("sessions").
		Watches(&v1beta1.BGPSessionState{}, later(request, listen), builder.WithPredicates(sessionNews)).
		Complete(reconcile.Func(r.reconsiderSessions))
}

func rateLimiter() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, longestBackOff)
}

// logConstructor names the Service in each line, and no more: it is called for each event, while a line is written for few.
func logConstructor(log logr.Logger) func(*reconcile.Request) logr.Logger {
	return func(request *reconcile.Request) logr.Logger {
		if request == nil {
			return log.WithValues("controller", "service")
		}
		return log.WithValues(obs.KeyService, request.String())
	}
}

// takeQueue keeps the Service loop's queue, so that a decision on one Service, or a change of the pools, can have others
// reconciled. Nothing else is ever passed back that way.
func (r *Reconciler) takeQueue(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = queue.Len
	r.queue = func(key ipam.Key) {
		queue.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: key.Namespace, Name: key.Name}})
	}
	return nil
}

// servicesOf lists the Services of a namespace whose labels have changed, if any pool asks for such labels.
func (r *Reconciler) servicesOf(ctx context.Context, namespace client.Object) []reconcile.Request {
	r.mu.Lock()
	concerned := r.config != nil && r.config.NeedsNamespaces()
	r.mu.Unlock()
	if !concerned {
		return nil
	}
	var services corev1.ServiceList
	if err := r.Client.List(ctx, &services, client.InNamespace(namespace.GetName()), client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "listing the Services of a namespace")
		return nil
	}
	var out []reconcile.Request
	for i := range services.Items {
		if svc := &services.Items[i]; lbservice.Ours(svc, r.Class) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(svc)})
		}
	}
	return out
}
