package metallb

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/rollout"
)

// Times between retries of what failed. The longest is short: an API server that comes back finds us soon.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Reconciler brings the cluster into the state that the MetalLB resources ask for. All resources are looked at in one
// pass, because which of them counts depends on the others; so there is one request, and it says nothing.
type Reconciler struct {
	// Client reads from a cache made with CacheOptions, MetalLB resources of all namespaces included.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Environment of the workloads.
	Environment render.Environment
	// Version of the operator, which the status tells.
	Version string
	// OperatorCondition is where OLM is told whether the next version may be installed; no name: OLM does not run the operator.
	OperatorCondition types.NamespacedName
	// Now is the clock; nil: time.Now.
	Now func() time.Time

	// What the last pass has seen: what was applied and came out of it, and how far the served resource's workloads were.
	applied  map[objectKey]outcome
	progress rollout.Progress
	served   types.UID
	// upgraded is the image that the speakers were last brought to.
	upgraded string
	pods     looked

	toOLM voice
}

// CacheOptions restricts a cache to what the Reconciler reads: of objects, those with the operator's label.
func CacheOptions() cache.Options {
	ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{render.LabelManagedBy: render.Manager})}
	return cache.Options{ByObject: map[client.Object]cache.ByObject{
		&corev1.ServiceAccount{}:        ours,
		&rbacv1.RoleBinding{}:           ours,
		&rbacv1.ClusterRoleBinding{}:    ours,
		&appsv1.Deployment{}:            ours,
		&appsv1.DaemonSet{}:             ours,
		&networkingv1.NetworkPolicy{}:   ours,
		&policyv1.PodDisruptionBudget{}: ours,
		&corev1.Namespace{}: {Transform: func(in any) (any, error) {
			if o, ok := in.(client.Object); ok {
				o.SetManagedFields(nil)
				o.SetAnnotations(nil)
			}
			return in, nil
		}},
	}}
}

// Watched are the kinds that the Reconciler watches everywhere, not of their metadata alone.
func Watched() []client.Object {
	return []client.Object{
		&v1beta1.MetalLB{}, &corev1.ServiceAccount{}, &rbacv1.RoleBinding{}, &rbacv1.ClusterRoleBinding{}, &appsv1.Deployment{},
		&appsv1.DaemonSet{}, &networkingv1.NetworkPolicy{}, &policyv1.PodDisruptionBudget{},
	}
}

// SetupWithManager registers the Reconciler. Whatever happens to a MetalLB resource, to an object made for one or to the
// namespace of one makes it run.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	all := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{}}
	})
	b := ctrl.NewControllerManagedBy(mgr).
		Named("metallb").
		WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.ofNamespace)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: 1,
			LogConstructor:          func(*reconcile.Request) logr.Logger { return mgr.GetLogger().WithValues("controller", "metallb") },
			EnableWarmup:            ptr.To(true), // a replica that takes over has its caches full
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		})
	for _, o := range Watched() {
		b = b.Watches(o, all)
	}
	if r.Environment.OpenShift {
		b = b.Watches(newSCC(), all)
	}
	if r.OperatorCondition.Name != "" {
		if err := mgr.Add(manager.RunnableFunc(r.leaveUpgradeable)); err != nil {
			return err
		}
		b = b.WatchesRawSource(source.Func(once)) // OLM is told though there is no MetalLB resource
	}
	return b.Complete(r)
}

// once asks for one pass.
func once(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	queue.Add(reconcile.Request{})
	return nil
}

// ofNamespace asks for a pass if the namespace holds a MetalLB resource.
func (r *Reconciler) ofNamespace(ctx context.Context, ns client.Object) []reconcile.Request {
	var list v1beta1.MetalLBList
	if err := r.Client.List(ctx, &list, client.InNamespace(ns.GetName())); err == nil && len(list.Items) == 0 {
		return nil
	}
	return []reconcile.Request{{}}
}

// Reconcile gathers, decides and acts, on everything at once.
func (r *Reconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	s, err := r.gather(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	var desired []render.Object
	if s.served != nil {
		env := r.Environment
		env.Roles = s.roles
		desired = render.Objects(s.served, env)
	}
	// What is not wanted any more goes first: when another resource takes over, two controllers would give addresses.
	pruneErr := r.prune(ctx, s, desired)
	applyErrs, err := r.apply(ctx, s, desired)
	if ctx.Err() != nil {
		return reconcile.Result{}, ctx.Err() // what failed only because we are to stop is nobody's problem
	}
	now := r.now()
	r.observe(s, now)
	known := r.known(s, applyErrs, now)
	again := r.progress.Due(now)
	if s.served != nil && rollout.NeedsPods(known) {
		var next time.Duration
		if known.Pods, next = r.look(ctx, s.served.Namespace, now); again == 0 || next < again {
			again = next
		}
	}
	statusErr := r.report(ctx, s, known, now)
	olmErr := r.tellOLM(ctx, rollout.Upgradeable(known), now)
	if err := errors.Join(pruneErr, err, statusErr, olmErr); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

func (r *Reconciler) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

// observe takes down how far the served resource's workloads are.
func (r *Reconciler) observe(s *snapshot, now time.Time) {
	if s.served == nil {
		r.progress, r.served = rollout.Progress{}, ""
		return
	}
	if s.served.UID != r.served {
		r.progress, r.served = rollout.Progress{}, s.served.UID
	}
	controller, speaker := s.workloads()
	r.progress = r.progress.Next(s.served, controller, speaker, now)
}
