// Package pool keeps the status of IPAddressPools: how many addresses Services have and how many are free, and what deserves
// a look. All of it is asked of the owner of the allocator, package service; nothing goes back to it.
package pool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/ipam"
)

// Component is the name under which fields are owned.
const Component = "metallb-controller"

const (
	// interval is the least time between two writes of a pool's status. While Services come and go by the thousand, nobody
	// reads the numbers in between.
	interval = time.Second
	// lag is how long the cache may take to show a write. After that, a status that is not as written is written again.
	lag = 5 * time.Second
)

// Reporter writes the status of the IPAddressPools of a namespace. As a Runnable of a manager it works on the leader only.
type Reporter struct {
	// Client reads from the cache and writes.
	Client    client.Client
	Namespace string
	// Pools says how it is with the pools in use, by the name of the IPAddressPool; nil: not known yet.
	Pools func() map[string]State

	written map[types.UID]record
}

// State is how it is with a pool.
type State struct {
	ipam.Usage
	// Unadvertised says in words why nobody answers for its addresses; empty: somebody does.
	Unadvertised string
}

// record is what was last written of a pool.
type record struct {
	status v1beta1.IPAddressPoolStatus
	at     time.Time
}

// Start is of manager.Runnable.
func (r *Reporter) Start(ctx context.Context) error {
	log := ctrl.LoggerFrom(ctx).WithName("pool")
	tick := time.NewTicker(interval)
	defer tick.Stop()
	complaint := ""
	for {
		text := ""
		if err := r.round(ctx, time.Now()); err != nil && ctx.Err() == nil {
			if text = err.Error(); text != complaint {
				log.Error(err, "writing the status of pools")
			}
		}
		complaint = text
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// round writes the status of each pool that has changed.
func (r *Reporter) round(ctx context.Context, now time.Time) error {
	states := r.Pools()
	if states == nil {
		return nil
	}
	var pools v1beta1.IPAddressPoolList
	if err := r.Client.List(ctx, &pools, client.InNamespace(r.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing IPAddressPools: %w", err)
	}
	before := r.written
	r.written = make(map[types.UID]record, len(pools.Items))
	var errs []error
	for i := range pools.Items {
		p := &pools.Items[i]
		last, ok := before[p.UID]
		if ok {
			r.written[p.UID] = last
		}
		state, used := states[p.Name]
		want := statusOf(state, used)
		switch {
		case !used && p.Status == nil:
			continue // not read yet, or not usable: the numbers of an unusable pool are 0 only where there were others
		case p.Status != nil && same(p.Status, &want):
			continue
		case ok && same(&last.status, &want) && now.Sub(last.at) < lag:
			continue // written, and not seen yet
		}
		if err := r.write(ctx, p, want); err != nil {
			errs = append(errs, err)
			continue
		}
		r.written[p.UID] = record{want, now}
	}
	return errors.Join(errs...)
}

// write names no version, so that it cannot be in conflict: nobody else writes these fields.
func (r *Reporter) write(ctx context.Context, p *v1beta1.IPAddressPool, status v1beta1.IPAddressPoolStatus) error {
	var conditions []metav1.Condition
	if p.Status != nil {
		conditions = slices.Clone(p.Status.Conditions)
	}
	for _, c := range status.Conditions {
		c.ObservedGeneration = p.Generation
		meta.SetStatusCondition(&conditions, c)
	}
	if len(status.Conditions) == 0 {
		conditions = nil
	}
	body, err := json.Marshal(map[string]any{"status": map[string]any{
		"assignedIPv4": status.AssignedIPv4, "assignedIPv6": status.AssignedIPv6,
		"availableIPv4": status.AvailableIPv4, "availableIPv6": status.AvailableIPv6,
		"reservedIPv4": status.ReservedIPv4, "reservedIPv6": status.ReservedIPv6,
		"conditions": conditions,
	}})
	if err != nil {
		return err
	}
	target := &v1beta1.IPAddressPool{}
	target.Namespace, target.Name = p.Namespace, p.Name
	err = r.Client.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, body), client.FieldOwner(Component))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("IPAddressPool %s: %w", p.Name, err)
	}
	return nil
}

// statusOf is the status of a pool; that of one that is not in use has no conditions. An address that a pool that is in error
// no longer has, and a Service keeps, is assigned. Conditions have no times yet.
func statusOf(s State, used bool) v1beta1.IPAddressPoolStatus {
	out := v1beta1.IPAddressPoolStatus{
		AssignedIPv4: clamp(s.Used4 + s.Outside4), AssignedIPv6: clamp(s.Used6 + s.Outside6),
		AvailableIPv4: clamp(free(s.Size4, s.Used4+s.Reserved4)), AvailableIPv6: clamp(free(s.Size6, s.Used6+s.Reserved6)),
		ReservedIPv4: clamp(s.Reserved4), ReservedIPv6: clamp(s.Reserved6),
	}
	if used {
		out.Conditions = []metav1.Condition{advertised(s.Unadvertised), nearlyExhausted(&s.Usage)}
	}
	return out
}

func advertised(lack string) metav1.Condition {
	if lack != "" {
		return metav1.Condition{Type: v1beta1.ConditionAdvertised, Status: metav1.ConditionFalse, Reason: "NotAdvertised", Message: lack + "."}
	}
	return metav1.Condition{Type: v1beta1.ConditionAdvertised, Status: metav1.ConditionTrue, Reason: "Advertised", Message: "The addresses that Services have are announced."}
}

// nearlyExhausted holds no numbers: a condition that counted would be written with each Service.
func nearlyExhausted(u *ipam.Usage) metav1.Condition {
	out := metav1.Condition{
		Type: v1beta1.ConditionNearlyExhausted, Status: metav1.ConditionFalse, Reason: "AddressesFree",
		Message: "At least one of ten addresses is free, of each family that the pool has.",
	}
	var gone, nearly []string
	for _, f := range []struct {
		name       string
		size, busy uint64
	}{{"IPv4", u.Size4, u.Used4 + u.Reserved4}, {"IPv6", u.Size6, u.Used6 + u.Reserved6}} {
		switch left := free(f.size, f.busy); {
		case f.size == 0:
		case left == 0:
			gone = append(gone, f.name)
		case left < f.size/10 || left == f.size/10 && f.size%10 > 0: // a tenth, without a product that overflows
			nearly = append(nearly, f.name)
		}
	}
	switch {
	case len(gone) > 0:
		out.Status, out.Reason = metav1.ConditionTrue, "Exhausted"
		out.Message = fmt.Sprintf("No %s address is free: add addresses to spec.addresses, or delete Services that are no longer needed.", strings.Join(gone, " and no "))
	case len(nearly) > 0:
		out.Status, out.Reason = metav1.ConditionTrue, "NearlyExhausted"
		out.Message = fmt.Sprintf("More than nine of ten %s addresses are given or reserved: add addresses to spec.addresses in time.", strings.Join(nearly, " and "))
	}
	return out
}

// same compares what is written of a status with what should be, but for times.
func same(is, want *v1beta1.IPAddressPoolStatus) bool {
	plain := func(s *v1beta1.IPAddressPoolStatus) v1beta1.IPAddressPoolStatus {
		out := *s
		out.Conditions = slices.Clone(s.Conditions)
		for i := range out.Conditions {
			out.Conditions[i].LastTransitionTime, out.Conditions[i].ObservedGeneration = metav1.Time{}, 0
		}
		return out
	}
	return equality.Semantic.DeepEqual(plain(is), plain(want))
}

// free is what is left of a size, of which the largest number stands for that many and more.
func free(size, used uint64) uint64 {
	if size == math.MaxUint64 {
		return size
	}
	return size - used
}

func clamp(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
