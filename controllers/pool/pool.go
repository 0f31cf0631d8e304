// Package pool keeps the status of IPAddressPools: how many addresses Services have and how many are free. The numbers are
// asked of the owner of the allocator, package service; nothing goes back to it.
package pool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

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
	// Usage counts the addresses of the pools in use, by the name of the IPAddressPool; nil: not known yet.
	Usage func() map[string]ipam.Usage

	written map[types.UID]record
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
	usage := r.Usage()
	if usage == nil {
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
		u, used := usage[p.Name]
		want := statusOf(u)
		switch {
		case !used && p.Status == nil:
			continue // not read yet, or not usable: the numbers of an unusable pool are 0 only where there were others
		case p.Status != nil && *p.Status == want:
			continue
		case ok && last.status == want && now.Sub(last.at) < lag:
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
	body, err := json.Marshal(map[string]any{"status": status})
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

// statusOf is the status of a pool. An address that a pool that is in error no longer has, and a Service keeps, is
// assigned.
func statusOf(u ipam.Usage) v1beta1.IPAddressPoolStatus {
	return v1beta1.IPAddressPoolStatus{
		AssignedIPv4: clamp(u.Used4 + u.Outside4), AssignedIPv6: clamp(u.Used6 + u.Outside6),
		AvailableIPv4: clamp(free(u.Size4, u.Used4)), AvailableIPv6: clamp(free(u.Size6, u.Used6)),
	}
}

// free is what is left of a size, of which the largest number stands for that many and more.
func free(size, used uint64) uint64 {
	if size == math.MaxUint64 {
		return size
	}
	return size - used
}

func clamp(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
