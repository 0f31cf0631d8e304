package service

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/ipam"
	"metallb.io/operator/internal/lbservice"
)

// reconcileConfiguration loads the configuration anew. It is the same work whatever has changed.
func (r *Reconciler) reconcileConfiguration(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	r.loading.Lock()
	defer r.loading.Unlock()
	if err := r.load(ctx); err != nil {
		return ctrl.Result{}, err
	}
	var err error
	if r.State != nil {
		err = r.State.SetAll(ctx, r.outcomes())
	}
	if err = errors.Join(err, r.unknown); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: r.nextLook(time.Now())}, nil
}

// ensureLoaded makes sure that no Service is decided on before all that have addresses are known.
func (r *Reconciler) ensureLoaded(ctx context.Context) error {
	r.mu.Lock()
	loaded := r.alloc != nil
	r.mu.Unlock()
	if loaded {
		return nil
	}
	r.loading.Lock()
	defer r.loading.Unlock()
	if r.alloc != nil {
		return nil
	}
	return r.load(ctx)
}

// load reads the configuration, rebuilds the allocator and queues the Services for whom something changes. The caller
// holds loading.
func (r *Reconciler) load(ctx context.Context) error {
	in, err := r.configuration(ctx)
	if err != nil {
		return err
	}
	in.Now = time.Now()
	cfg, problems := config.Compile(in)
	r.report(in, problems, in.Now)

	r.mu.Lock()
	defer r.mu.Unlock()
	if in.Nodes == nil { // they are not known now
		in.Nodes = r.nodes
	}
	if !reflect.DeepEqual(r.config, cfg) || !reflect.DeepEqual(r.nodes, in.Nodes) {
		defer r.reconsider()
	}
	r.nodes = in.Nodes
	if r.alloc != nil && reflect.DeepEqual(r.config.Pools, cfg.Pools) {
		r.config = cfg
		return nil // a node's label, or a peer: nothing that decides on addresses
	}
	claims, leaving, err := r.gather(ctx, cfg)
	if err != nil {
		return err
	}
	before := r.alloc
	r.alloc, r.config = ipam.Rebuild(allocatorPools(cfg), claims, leaving), cfg
	kubernetes.ConfigLoaded.Set(1)
	if before == nil {
		return nil
	}
	var changed []ipam.Key
	for _, c := range claims {
		was, _ := before.Lookup(c.Key)
		if is, _ := r.alloc.Lookup(c.Key); !is.Equal(was) {
			changed = append(changed, c.Key)
		}
	}
	r.enqueue(changed)
	return nil
}

// gather says what all Services ask for and have, and what is not free yet. The first time it asks the API server: the cache
// may still lack what the last leader wrote. Of each part of the list only the claims are kept, since there may be very many.
// The caller holds mu.
func (r *Reconciler) gather(ctx context.Context, cfg *config.Config) (claims, leaving []ipam.Claim, err error) {
	add := func(services []corev1.Service) error {
		more, err := r.claims(ctx, services, cfg)
		claims, leaving = append(claims, more...), append(leaving, r.leaving(services, cfg)...)
		return err
	}
	if r.alloc != nil {
		var services corev1.ServiceList
		if err := r.Client.List(ctx, &services, client.UnsafeDisableDeepCopy); err != nil {
			return nil, nil, fmt.Errorf("listing Services: %w", err)
		}
		err := add(services.Items)
		return claims, leaving, err
	}
	for next := ""; ; {
		var part corev1.ServiceList
		err := r.Live.List(ctx, &part, client.Limit(500), client.Continue(next))
		if apierrors.IsResourceExpired(err) && next != "" {
			claims, leaving, next = nil, nil, ""
			continue
		}
		if err == nil {
			for i := range part.Items {
				strip(&part.Items[i])
			}
			err = add(part.Items)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("listing Services: %w", err)
		}
		if next = part.Continue; next == "" {
			return claims, leaving, nil
		}
	}
}

// claims says of every Service of ours what it asks for and what it has. What was given in this process and what a
// Service's status says may differ while a write is under way: the former counts. The caller holds mu.
func (r *Reconciler) claims(ctx context.Context, services []corev1.Service, cfg *config.Config) ([]ipam.Claim, error) {
	out := make([]ipam.Claim, 0, len(services))
	seen := make(map[ipam.Key]bool, len(services))
	for i := range services {
		svc := &services[i]
		seen[keyOf(svc)] = true
		if !lbservice.Ours(svc, r.Class) {
			continue
		}
		namespace, err := r.namespaceLabels(ctx, cfg, svc.Namespace)
		if err != nil {
			return nil, err
		}
		req, _ := parse(svc, cfg, namespace)
		claim := ipam.Claim{Request: req, Held: lbservice.Addresses(svc), HeldFrom: recordedPool(svc)}
		if res := r.lookup(req.Key); len(res.Addresses) > 0 {
			claim.Held, claim.HeldFrom = res.Addresses, res.Pool
		} else if foreign(svc, cfg) {
			claim.KeepOnly = true
		}
		out = append(out, claim)
	}
	if r.alloc == nil {
		return out, nil
	}
	for _, c := range r.alloc.Claims() {
		if !seen[c.Key] { // the cache does not have it yet, or its end is about to be handled
			out = append(out, c)
		}
	}
	return out, nil
}

// leaving says what Services' status may show of our addresses although it is not theirs any more. At the start those are
// the Services that the last controller had no time to take them back from. The caller holds mu.
func (r *Reconciler) leaving(services []corev1.Service, cfg *config.Config) []ipam.Claim {
	if r.alloc != nil {
		for i := range services {
			if !lbservice.Ours(&services[i], r.Class) {
				r.alloc.Withdraw(keyOf(&services[i]))
			}
		}
		return r.alloc.Leaving()
	}
	var out []ipam.Claim
	for i := range services {
		svc := &services[i]
		if lbservice.Ours(svc, r.Class) || len(svc.Status.LoadBalancer.Ingress) == 0 {
			continue
		}
		if d := withdraw(svc, cfg, false); !d.untouched && len(d.ingress) < len(svc.Status.LoadBalancer.Ingress) {
			req, _ := lbservice.Parse(svc)
			out = append(out, ipam.Claim{Request: req, Held: lbservice.Addresses(svc), HeldFrom: recordedPool(svc)})
		}
	}
	return out
}

// lookup returns what a Service has been given in this process. The caller holds mu.
func (r *Reconciler) lookup(key ipam.Key) ipam.Result {
	if r.alloc == nil {
		return ipam.Result{}
	}
	res, _ := r.alloc.Lookup(key)
	return res
}

// allocatorPools turns compiled pools into what the allocator needs of them.
func allocatorPools(cfg *config.Config) []ipam.Pool {
	out := make([]ipam.Pool, len(cfg.Pools))
	for i, p := range cfg.Pools {
		out[i] = ipam.Pool{
			Name:          p.Name,
			Ranges:        p.Addresses,
			AutoAssign:    p.AutoAssign,
			AvoidBuggyIPs: p.AvoidBuggyIPs,
			Pinned:        p.Allocation != nil,
			Incomplete:    p.Incomplete,

			NamespaceQuota: p.NamespaceQuota,
		}
		for j := range p.Reservations {
			if out[i].Reserved == nil {
				out[i].Reserved = map[netip.Addr]string{}
			}
			whom := p.Reservations[j].For()
			for _, addr := range p.Reservations[j].Addresses {
				out[i].Reserved[addr] = whom
			}
		}
		if p.Allocation != nil {
			out[i].Priority = p.Allocation.Priority
		}
	}
	return out
}

// configuration is read from the API server each time, never from a cache: a cache that lags behind what was read
// before would take away addresses of the newest pool. There is little of it and it changes rarely. Of the nodes, of which
// there may be many, and of the Secrets of peers no address depends: where they cannot be read they are not known.
func (r *Reconciler) configuration(ctx context.Context) (config.Input, error) {
	in, err := configuration.Load(ctx, r.Live, r.Namespace)
	if err != nil {
		return config.Input{}, err
	}
	var noSecrets, noNodes error
	if in.Secrets, noSecrets = configuration.Secrets(ctx, r.Live, r.Namespace, in); noSecrets != nil {
		in.Secrets = nil
	}
	in.Nodes, noNodes = configuration.Nodes(ctx, r.Client, r.Namespace)
	slices.SortFunc(in.Nodes, func(a, b config.Node) int { return strings.Compare(a.Name, b.Name) })
	r.unknown = errors.Join(noSecrets, noNodes)
	r.lacksSecrets = in.Secrets != nil && lacksSecrets(in)
	return in, nil
}
