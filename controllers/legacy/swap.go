package legacy

import (
	"context"
	"slices"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/legacy"
)

// untangle helps pools that wait for each other: two that swap addresses are both refused, since each wants what the
// other still has. One of them gives up what it is to lose, or goes if that is all it has, and the next round makes it
// whole again. It says whether that was done.
func (r *Reconciler) untangle(ctx context.Context, refused []refusal, have inventory, res *legacy.Resources) (bool, error) {
	var losing []change
	for _, f := range refused {
		if f.verb == update && loses(have[f.id], f.obj) {
			losing = append(losing, f.change)
		}
	}
	if len(losing) < 2 || disputed(have, res) {
		return false, nil
	}
	c := losing[0]
	kept := slices.DeleteFunc(slices.Clone(addresses(have[c.id])), func(a string) bool { return !slices.Contains(addresses(c.obj), a) })
	step := change{remove, c.id, have[c.id]}
	if len(kept) > 0 {
		step = change{update, c.id, have[c.id].DeepCopyObject().(client.Object)}
		switch o := step.obj.(type) {
		case *v1beta1.IPAddressPool:
			o.Spec.Addresses = kept
		case *v1beta1.AddressPool:
			o.Spec.Addresses = kept
		}
	}
	ctrl.LoggerFrom(ctx).Info("pools swap addresses: one goes first", "kind", c.id.kind, "name", c.id.name)
	return true, r.make(ctx, step)
}

// disputed says whether a pool that is wanted is in conflict with one of a user's: then no order of changes helps.
func disputed(have inventory, res *legacy.Resources) bool {
	in := config.Input{IPAddressPools: slices.Clone(res.IPAddressPools), AddressPools: slices.Clone(res.AddressPools)}
	for _, o := range have {
		switch o := o.(type) {
		case *v1beta1.IPAddressPool:
			if !labelled(o) {
				in.IPAddressPools = append(in.IPAddressPools, *o)
			}
		case *v1beta1.AddressPool:
			if !labelled(o) {
				in.AddressPools = append(in.AddressPools, *o)
			}
		}
	}
	_, problems := config.Compile(in)
	return slices.ContainsFunc(problems, func(p config.Problem) bool { return p.Severity == config.Error })
}
