package service

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/ipam"
	"metallb.io/operator/internal/lbservice"
	"metallb.io/operator/internal/obs"
)

// Component is the name under which events are reported and fields are owned.
const Component = "metallb-controller"

// Reconciler gives Services their addresses.
type Reconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Recorder of events.
	Recorder record.EventRecorder
	// Namespace of the configuration.
	Namespace string
	// Class of the Services that are ours.
	Class lbservice.Class
	// State is where what came of the configuration is reported; nil: nowhere.
	State *configuration.State

	// loading is held while the configuration is loaded, always before mu. It guards what follows.
	loading      sync.Mutex
	problems     configuration.Problems
	unknown      error // why something around the configuration is not known
	lacksSecrets bool

	// mu guards what is below.
	mu     sync.Mutex
	alloc  *ipam.Allocator
	config *config.Config
	nodes  []config.Node // that it was compiled with, sorted by name
	queue  func(ipam.Key)
	look   func(ipam.Key)
	// waiting is how many Services are in the queue; nil: there is none yet.
	waiting func() int
	// silent are the Services with an address that nobody says to announce, with what is known about it; nil: nothing yet.
	silent map[ipam.Key]map[netip.Addr]lack
	// calmed are the Services of which the condition is about to be written, and since when it says something else.
	calmed map[ipam.Key]time.Time

	// written are our own writes of Services.
	written written
	// goodNews limits the events that an address is given.
	goodNews *rate.Limiter
}

// Reconcile brings one Service's status in line with what it asks for.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	if err := r.ensureLoaded(ctx); err != nil {
		return ctrl.Result{}, fmt.Errorf("loading the configuration: %w", err)
	}
	r.written.forget(ipam.Key{Namespace: request.Namespace, Name: request.Name})
	svc := &corev1.Service{}
	if err := r.Client.Get(ctx, request.NamespacedName, svc); apierrors.IsNotFound(err) {
		r.release(ipam.Key{Namespace: request.Namespace, Name: request.Name})
		return ctrl.Result{}, nil
	} else if err != nil {
		return ctrl.Result{}, err
	}
	d, err := r.decide(ctx, svc)
	if err != nil {
		return ctrl.Result{}, err
	}
	again, err := r.judge(ctx, svc, &d)
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: again}, r.act(ctx, svc, d)
}

// decide says what the Service's status should be. Other Services for whom something changes by it are queued.
func (r *Reconciler) decide(ctx context.Context, svc *corev1.Service) (decision, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := keyOf(svc)
	before, known := r.alloc.Lookup(key)
	if !lbservice.Ours(svc, r.Class) {
		r.alloc.Withdraw(key)
		return withdraw(svc, r.config, known || r.alloc.Leaves(key)), nil
	}
	if len(before.Addresses) == 0 && foreign(svc, r.config) {
		r.alloc.Withdraw(key)
		return leave(svc), nil
	}
	namespace, err := r.namespaceLabels(ctx, r.config, svc.Namespace)
	if err != nil {
		return decision{}, err
	}
	req, errs := parse(svc, r.config, namespace)
	res, changed := r.alloc.Assign(req)
	r.enqueue(changed)
	return grant(svc, r.config, r.Namespace, req, res, errs), nil
}

// shown frees what a Service was given before and its status does not show any more.
func (r *Reconciler) shown(svc *corev1.Service, ingress []corev1.LoadBalancerIngress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.enqueue(r.alloc.Written(keyOf(svc), lbservice.AddressesOf(ingress)))
}

func (r *Reconciler) release(key ipam.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.silent, key)
	delete(r.calmed, key)
	r.enqueue(r.alloc.Release(key))
}

// enqueue has Services reconciled. The caller holds mu.
func (r *Reconciler) enqueue(keys []ipam.Key) {
	if r.queue == nil {
		return // the Service loop has not begun: it begins with all Services
	}
	for _, key := range keys {
		r.queue(key)
	}
}

// again has a Service reconciled.
func (r *Reconciler) again(key ipam.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.enqueue([]ipam.Key{key})
}

// act writes what differs, in one request, and tells of it. Addresses that the Service no longer has are free from then
// on. The write names the version that the decision was made from. Where that is not the newest any more the decision may
// be wrong; the newer version's own event brings the Service back here, also if it came meanwhile, so a conflict needs no retry.
func (r *Reconciler) act(ctx context.Context, svc *corev1.Service, d decision) error {
	patch := d.patch(svc)
	if patch == nil {
		r.shown(svc, svc.Status.LoadBalancer.Ingress)
		return nil
	}
	target := metadata("Service") // the answer: the watch brings the rest
	target.Namespace, target.Name = svc.Namespace, svc.Name
	r.written.begin(keyOf(svc))
	err := r.Client.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(Component))
	if r.written.end(keyOf(svc), target.ResourceVersion) {
		r.again(keyOf(svc))
	}
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return nil
	case err != nil:
		kubernetes.UpdateErrors.Inc()
		return fmt.Errorf("writing the status: %w", err)
	}
	kubernetes.Updates.Inc()
	r.shown(svc, d.ingress)
	reason := ""
	if d.condition != nil {
		reason = d.condition.Reason
	}
	ctrl.LoggerFrom(ctx).Info("status written", obs.KeyAddress, strings.Join(ingressTexts(d.ingress), ","), obs.KeyPool, d.pool, obs.KeyReason, reason)
	r.tell(svc, d.events(svc))
	return nil
}

// namespaceLabels returns the labels of a namespace if there are pools that select namespaces by them.
func (r *Reconciler) namespaceLabels(ctx context.Context, cfg *config.Config, name string) (labels.Set, error) {
	if !cfg.NeedsNamespaces() {
		return nil, nil
	}
	ns := metadata("Namespace")
	if err := r.Client.Get(ctx, client.ObjectKey{Name: name}, ns); client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	return ns.Labels, nil
}

// metadata asks for no more than the metadata of an object of a core kind.
func metadata(kind string) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	return o
}

func keyOf(svc *corev1.Service) ipam.Key {
	return ipam.Key{Namespace: svc.Namespace, Name: svc.Name}
}

// parse reads what a Service asks for, and decides the selectors of all pools for it.
func parse(svc *corev1.Service, cfg *config.Config, namespace labels.Set) (ipam.Request, field.ErrorList) {
	req, errs := lbservice.Parse(svc)
	req.Refused = refused(svc, cfg, namespace)
	for i := range cfg.Pools {
		for j := range cfg.Pools[i].Reservations {
			if r := &cfg.Pools[i].Reservations[j]; r.Includes(svc.Namespace, svc.Name, svc.Labels) {
				if name := r.For(); !slices.Contains(req.Reservations, name) {
					req.Reservations = append(req.Reservations, name)
				}
			}
		}
	}
	return req, errs
}

// refused says of the pools that are not meant for a Service why not.
func refused(svc *corev1.Service, cfg *config.Config, namespace labels.Set) map[string]string {
	var out map[string]string
	for i := range cfg.Pools {
		if why := cfg.Pools[i].Allocation.Refuses(svc.Namespace, namespace, svc.Labels); why != "" {
			if out == nil {
				out = map[string]string{}
			}
			out[cfg.Pools[i].Name] = why
		}
	}
	return out
}

// recordedPool returns the pool that the Service says its addresses are from.
func recordedPool(svc *corev1.Service) string {
	pool, _ := lbservice.Annotation(svc, lbservice.AllocatedFrom)
	return pool
}

// given says whether the Service's addresses are ours by its own account: a controller of this kind signs what it gives.
func given(svc *corev1.Service) bool {
	if recordedPool(svc) != "" {
		return true
	}
	c := findCondition(svc, ConditionAddressAllocated)
	return c != nil && c.Status == metav1.ConditionTrue
}

// foreign says whether another controller wrote the status of a Service that would be ours: it has an entry, none of
// which is of our pools, and we did not sign. Such a status is left alone; two controllers would overwrite each other
// for ever.
func foreign(svc *corev1.Service, cfg *config.Config) bool {
	if len(svc.Status.LoadBalancer.Ingress) == 0 || given(svc) {
		return false
	}
	for _, addr := range lbservice.Addresses(svc) {
		if _, ok := cfg.PoolOf(addr); ok {
			return false
		}
	}
	return true
}

// deprecatedKeys lists the annotations that have a newer name.
func deprecatedKeys(svc *corev1.Service) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for key := range maps.Keys(svc.Annotations) {
			if strings.HasPrefix(key, lbservice.DeprecatedPrefix) && !yield(key) {
				return
			}
		}
	})
}
