package service

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/ipam"
	"metallb.io/operator/internal/lbservice"
)

// byService is the index of ServiceL2Statuses and ServiceBGPStatuses by the Service that they are about, bySession that of
// BGPSessionStates by node and BGPPeer.
const byService, bySession = "service", "session"

// grace is how long a Service may be without a node that says it announces it before the reason is looked for: addresses move
// faster. Tests make it short.
var grace = 5 * time.Second

// lookAgain is after how long the reason is looked for again, though nothing is known to have changed. Tests make it short.
var lookAgain = 5 * time.Minute

// listen is how long news of sessions are gathered before those that no router is told of are looked at again. Tests make it
// short.
var listen = 10 * time.Second

// judge adds to a decision whether what the Service has is announced, as far as that is known. Where it is not, what the
// condition says of the same addresses stays, and a look at the reason is asked for. It returns when to judge again, zero: not
// before something changes.
func (r *Reconciler) judge(ctx context.Context, svc *corev1.Service, d *decision) (time.Duration, error) {
	wanted := lbservice.Service(svc)
	wanted.Addresses, wanted.Pool = lbservice.AddressesOf(d.ingress), d.pool
	if d.pool == "" || len(wanted.Addresses) == 0 {
		r.forget(keyOf(svc))
		return 0, nil
	}
	by, statuses, err := r.claimed(ctx, svc)
	if err != nil {
		return 0, err
	}
	told := tellings(statuses)
	d.conflict, d.contradiction = conflict(wanted.Addresses, by), contradiction(wanted.Addresses, statuses)
	r.mu.Lock()
	defer r.mu.Unlock()
	key := keyOf(svc)
	if d.announced = announced(wanted.Addresses, by, told, nil); d.announced != nil {
		delete(r.silent, key)
		if len(told) == 0 {
			return 0, nil
		}
		return r.calm(svc, d, time.Now()), nil
	}
	delete(r.calmed, key)
	lacks := configured(wanted, r.config)
	found := r.silent[key]
	for a, l := range found {
		if _, ok := lacks[a]; !ok {
			lacks[a] = l
		}
	}
	r.silent[key] = found
	if d.announced = announced(wanted.Addresses, by, told, lacks); d.announced != nil {
		return 0, nil
	}
	is := findCondition(svc, ConditionAnnounced)
	if sameEntries(svc.Status.LoadBalancer.Ingress, d.ingress) {
		d.announced = is
	}
	if r.look != nil && (is != nil || r.speakers()) {
		r.look(key)
	}
	return 0, nil
}

// calm has the condition stay as it is for a while where it would only tell of other nodes: when a cluster starts, or its speakers
// are updated, they come and go one after the other. It returns for how long still. The caller holds mu.
func (r *Reconciler) calm(svc *corev1.Service, d *decision, now time.Time) time.Duration {
	key, is := keyOf(svc), findCondition(svc, ConditionAnnounced)
	if is == nil || sameCondition(is, d.announced) || is.Status != d.announced.Status || is.Reason != d.announced.Reason ||
		!sameEntries(svc.Status.LoadBalancer.Ingress, d.ingress) {
		delete(r.calmed, key)
		return 0
	}
	since, calmed := r.calmed[key]
	if !calmed {
		since, r.calmed[key] = now, now
	}
	left := grace - now.Sub(since)
	if left <= 0 {
		delete(r.calmed, key)
		return 0
	}
	d.announced = is
	return left
}

// claimed says by whom each address of a Service is announced on the LAN, and what nodes say of BGP.
func (r *Reconciler) claimed(ctx context.Context, svc *corev1.Service) (map[netip.Addr]claim, []v1beta1.ServiceBGPStatus, error) {
	if len(svc.Status.LoadBalancer.Ingress) == 0 {
		return nil, nil, nil // no node knows what there is to announce; when one says that it does, the Service is judged again
	}
	var onLAN v1beta1.ServiceL2StatusList
	var byBGP v1beta1.ServiceBGPStatusList
	for _, list := range []client.ObjectList{&onLAN, &byBGP} {
		err := r.Client.List(ctx, list, client.InNamespace(r.Namespace), client.MatchingFields{byService: svc.Namespace + "/" + svc.Name}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, nil, fmt.Errorf("listing %T: %w", list, err)
		}
	}
	return claims(onLAN.Items), byBGP.Items, nil
}

// speakers says whether there is any: each reports the networks of its node. The caller holds mu.
func (r *Reconciler) speakers() bool {
	return slices.ContainsFunc(r.nodes, func(n config.Node) bool { return len(n.Subnets)+len(n.Gateways) > 0 })
}

// forget ends the care for a Service that has nothing to be announced.
func (r *Reconciler) forget(key ipam.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.silent, key)
	delete(r.calmed, key)
}

// reconsider has those that nobody announces judged anew. The caller holds mu.
func (r *Reconciler) reconsider() {
	keys := make([]ipam.Key, 0, len(r.silent))
	for key := range r.silent {
		keys = append(keys, key)
		r.silent[key] = nil
	}
	r.enqueue(keys)
}

// reconsiderSessions has those looked at again of which routers should be told, what is known of them staying until then.
func (r *Reconciler) reconsiderSessions(context.Context, ctrl.Request) (ctrl.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, lacks := range r.silent {
		for _, l := range lacks {
			if r.look != nil && (l.reason == SessionDown || l.reason == FamilyNotCarried || l.reason == NotReported) {
				r.look(key)
				break
			}
		}
	}
	return ctrl.Result{}, nil
}

// takeLooks keeps the queue of the loop that looks for reasons. There is one look at a time: it asks the API server, and who
// waits for an address waits for none of it.
func (r *Reconciler) takeLooks(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look = func(key ipam.Key) {
		queue.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: key.Namespace, Name: key.Name}}, grace)
	}
	return nil
}

// reconcileSilent finds out why nobody announces a Service and has the Service loop write it.
func (r *Reconciler) reconcileSilent(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	key := ipam.Key{Namespace: request.Namespace, Name: request.Name}
	r.mu.Lock()
	_, silent := r.silent[key]
	cfg, speakers := r.config, r.speakers()
	r.mu.Unlock()
	svc := &corev1.Service{}
	if !silent {
		return ctrl.Result{}, nil
	}
	if err := r.Client.Get(ctx, request.NamespacedName, svc); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	found, err := r.lacks(ctx, lbservice.Service(svc), cfg, speakers)
	if err != nil {
		return ctrl.Result{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if before, silent := r.silent[key]; silent && !maps.Equal(before, found) {
		r.silent[key] = found
		r.enqueue([]ipam.Key{key})
	}
	return ctrl.Result{RequeueAfter: lookAgain}, nil
}

// lacks says why a Service's addresses are not announced, if they are not: as every speaker would plan it.
func (r *Reconciler) lacks(ctx context.Context, svc announce.Service, cfg *config.Config, speakers bool) (map[netip.Addr]lack, error) {
	out := map[netip.Addr]lack{}
	if !speakers {
		for _, a := range svc.Addresses {
			out[a] = lack{NoSpeaker, fmt.Sprintf("No speaker runs on any node: see kubectl describe metallb -n %s, and the DaemonSet speaker.", r.Namespace)}
		}
		return out, nil
	}
	s, err := r.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	if svc.Endpoints4, svc.Endpoints6, err = r.endpoints(ctx, svc.Name); err != nil {
		return nil, err
	}
	s.Config, s.Services = cfg, []announce.Service{svc}
	by := &routers{nodes: announce.RoutesByNode(s.Cluster, svc), session: r.sessions(ctx), config: cfg}
	for _, w := range announce.Plan(s).Why {
		out[w.Address], _ = lackOf(w, &svc, cfg, by)
	}
	return out, nil
}

// sessions finds what the speaker of a node reports of its session with a BGPPeer.
func (r *Reconciler) sessions(ctx context.Context) func(node, peer string) *v1beta1.BGPSessionStateStatus {
	return func(node, peer string) *v1beta1.BGPSessionStateStatus {
		var list v1beta1.BGPSessionStateList
		err := r.Client.List(ctx, &list, client.InNamespace(r.Namespace), client.MatchingFields{bySession: node + "/" + peer}, client.UnsafeDisableDeepCopy)
		if err != nil || len(list.Items) == 0 { // the cache fails only when it ends
			return nil
		}
		return &list.Items[0].Status
	}
}

// snapshot is the cluster as the speakers see it: the nodes, and those that have a speaker. It does not know their interfaces.
func (r *Reconciler) snapshot(ctx context.Context) (announce.Snapshot, error) {
	var out announce.Snapshot
	out.Joined = true
	var nodes corev1.NodeList
	if err := r.Client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return out, fmt.Errorf("listing Nodes: %w", err)
	}
	unheard := map[string]bool{}
	for i := range nodes.Items {
		out.Nodes = append(out.Nodes, lbservice.Node(&nodes.Items[i]))
		unheard[nodes.Items[i].Name] = !heard(&nodes.Items[i])
	}
	var states v1beta1.ConfigurationStateList
	err := r.Client.List(ctx, &states, client.InNamespace(r.Namespace), client.MatchingLabels{v1beta1.LabelComponentType: configuration.Speaker}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return out, fmt.Errorf("listing ConfigurationStates: %w", err)
	}
	for i := range states.Items {
		if node := states.Items[i].Labels[v1beta1.LabelNodeName]; !unheard[node] {
			out.Members = append(out.Members, announce.Member{Node: node})
		}
	}
	return out, nil
}

// heard says whether a node's kubelet still reports.
func heard(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status != corev1.ConditionUnknown
		}
	}
	return true
}

// endpoints asks the API server where a Service has endpoints that take traffic. Few Services need that, and not often: a
// cache would hold those of all.
func (r *Reconciler) endpoints(ctx context.Context, service string) (four, six announce.Endpoints, err error) {
	namespace, name, _ := strings.Cut(service, "/")
	var list discoveryv1.EndpointSliceList
	if err := r.Live.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{discoveryv1.LabelServiceName: name}); err != nil {
		return four, six, fmt.Errorf("listing EndpointSlices: %w", err)
	}
	all := make([]*discoveryv1.EndpointSlice, len(list.Items))
	for i := range list.Items {
		all[i] = &list.Items[i]
	}
	four, six = lbservice.Endpoints(all...)
	return four, six, nil
}

// about is the Service that a ServiceL2Status or ServiceBGPStatus is about; one whose status is not written yet is about none.
func about(o client.Object) (service types.NamespacedName) {
	switch s := o.(type) {
	case *v1beta1.ServiceL2Status:
		return types.NamespacedName{Namespace: s.Status.ServiceNamespace, Name: s.Status.ServiceName}
	case *v1beta1.ServiceBGPStatus:
		return types.NamespacedName{Namespace: s.Status.ServiceNamespace, Name: s.Status.ServiceName}
	}
	return service
}

// serviceOf maps a status to the Service that it is about.
func serviceOf(_ context.Context, o client.Object) []reconcile.Request {
	service := about(o)
	if service.Name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: service}}
}
