package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/ipam"
	"metallb.io/operator/internal/lbservice"
)

// explain puts a result in words: what the Service has, or why not, which pools were looked at, and what to do. It holds
// nothing that changes by itself (numbers of free addresses, times), since each change would be a write.
func explain(svc *corev1.Service, cfg *config.Config, namespace string, req ipam.Request, res ipam.Result, errs field.ErrorList) string {
	has := join(res.Addresses)
	if res.Reason == ipam.Assigned {
		text := fmt.Sprintf("Has %s of pool %s.", has, res.Pool)
		if len(res.Addresses) < len(req.Families) {
			missing := req.Families[0]
			if ipam.FamilyOf(res.Addresses[0]) == missing {
				missing = req.Families[1]
			}
			text += fmt.Sprintf(" No %s address could be had beside it, which is enough for ipFamilyPolicy PreferDualStack.", missing)
		}
		return text
	}
	text := failure(svc, cfg, namespace, req, res, errs)
	if has != "" {
		text += fmt.Sprintf(" Until then the Service keeps %s of pool %s.", has, res.Pool)
	}
	return text
}

func failure(svc *corev1.Service, cfg *config.Config, namespace string, req ipam.Request, res ipam.Result, errs field.ErrorList) string {
	_, poolKey := lbservice.Annotation(svc, lbservice.AddressPool)
	origin := lbservice.AddressesOrigin(svc)
	switch res.Reason {
	case ipam.InvalidRequest:
		return errs.ToAggregate().Error() + "."
	case ipam.NoPools:
		return fmt.Sprintf("There is no pool of addresses: create an IPAddressPool in namespace %s.", namespace)
	case ipam.NoPoolForService:
		return fmt.Sprintf("No pool may be used for this Service: %s. %s", pools(cfg, req, res), advice(res))
	case ipam.AddressReserved:
		return fmt.Sprintf("%s asks for %s, which pool %s reserves for %s: ask for another address, or change spec.reservations of the pool.", origin, res.Fault.Address, res.Fault.Pool, res.Fault.Reservation)
	case ipam.QuotaReached:
		switch {
		case res.Fault.Address.IsValid():
			return fmt.Sprintf("%s asks for %s, but %s: delete another Service of the namespace, share an address that it has by annotation %s, or raise spec.namespaceQuota of the pool.",
				origin, res.Fault.Address, pools(cfg, req, res), lbservice.Prefix+lbservice.AllowSharedIP)
		case req.Pool != "":
			return fmt.Sprintf("Annotation %s asks for a pool that gives no more: %s. Delete another Service of the namespace, share an address that it has by annotation %s, or raise spec.namespaceQuota of the pool.",
				poolKey, pools(cfg, req, res), lbservice.Prefix+lbservice.AllowSharedIP)
		}
		return fmt.Sprintf("No pool gives this namespace more: %s. Delete another Service of the namespace, share an address that it has by annotation %s, or raise spec.namespaceQuota of a pool.",
			pools(cfg, req, res), lbservice.Prefix+lbservice.AllowSharedIP)
	case ipam.PoolExhausted:
		return fmt.Sprintf("No address is free: %s. Add addresses to a pool, or delete a Service that is no longer needed.", pools(cfg, req, res))
	case ipam.PoolUnknown:
		return fmt.Sprintf("Annotation %s asks for pool %q, which does not exist: %s.", poolKey, req.Pool, known(cfg, namespace))
	case ipam.PoolNotForService:
		if req.Pool == "" {
			return fmt.Sprintf("%s asks for %s, but %s: ask for an address of a pool that is meant for this Service, or change spec.serviceAllocation of the pool.", origin, res.Fault.Address, pools(cfg, req, res))
		}
		return fmt.Sprintf("Annotation %s asks for a pool that is not meant for this Service: %s. Ask for another pool, or change spec.serviceAllocation of this one.", poolKey, pools(cfg, req, res))
	case ipam.FamilyNotInPool:
		return fmt.Sprintf("Annotation %s asks for a pool that cannot serve this Service: %s. Add such addresses to the pool, or ask for another.", poolKey, pools(cfg, req, res))
	case ipam.AddressOutsidePools:
		return fmt.Sprintf("%s asks for %s, which is in no pool: ask for an address of one of the pools (%s), or add it to a pool.", origin, res.Fault.Address, ranges(cfg))
	case ipam.AddressNotInPool:
		return fmt.Sprintf("%s asks for %s, which is of pool %s, but annotation %s asks for pool %s: make them agree, or remove one of the two.", origin, res.Fault.Address, res.Fault.Pool, poolKey, req.Pool)
	case ipam.AddressesInTwoPools:
		return fmt.Sprintf("%s asks for addresses of two pools, but all of a Service's addresses are from one: ask for two of the same pool.", origin)
	case ipam.AddressAvoided:
		return fmt.Sprintf("%s asks for %s, which pool %s leaves out since spec.avoidBuggyIPs is true: ask for an address that does not end in .0 or .255.", origin, res.Fault.Address, res.Fault.Pool)
	case ipam.AddressInUse:
		return fmt.Sprintf("%s asks for %s, which Service %s has: ask for another address, or let both have it by annotation %s with the same value on both, no port in common and the same externalTrafficPolicy (if Local, the same selector too).",
			origin, res.Fault.Address, res.Fault.Holder, lbservice.Prefix+lbservice.AllowSharedIP)
	}
	return string(res.Reason) + "."
}

// mentioned is the number of pools that a message lists.
const mentioned = 8

// pools says of each pool why it was not used.
func pools(cfg *config.Config, req ipam.Request, res ipam.Result) string {
	var out []string
	for i, r := range res.Fault.Refusals {
		if i == mentioned {
			out = append(out, fmt.Sprintf("and %d more", len(res.Fault.Refusals)-i))
			break
		}
		out = append(out, "pool "+r.Pool+" "+why(cfg, r, req)+broken(cfg, r.Pool))
	}
	return strings.Join(out, "; ")
}

func why(cfg *config.Config, r ipam.Refusal, req ipam.Request) string {
	families := req.Families[0].String()
	if len(req.Families) > 1 {
		families += " and " + req.Families[1].String()
	}
	switch r.Reason {
	case ipam.PoolNotForService:
		return r.Detail
	case ipam.NotAutomatic:
		return "is used on request only (autoAssign is false)"
	case ipam.FamilyNotInPool:
		if len(req.Families) > 1 {
			return "has not both " + families + " addresses"
		}
		return "has no " + families + " addresses"
	case ipam.QuotaReached:
		p, _ := cfg.Pool(r.Pool)
		return fmt.Sprintf("has a namespaceQuota of %d, which the Services of namespace %s have used up", p.NamespaceQuota, req.Key.Namespace)
	}
	text := "has no free " + families + " address"
	if p, ok := cfg.Pool(r.Pool); ok && len(p.Reservations) > 0 {
		text += " but such as spec.reservations keeps for others"
	}
	return text
}

// broken tells of a pool that would have more addresses if it had no errors.
func broken(cfg *config.Config, name string) string {
	p, ok := cfg.Pool(name)
	if !ok || !p.Incomplete {
		return ""
	}
	return fmt.Sprintf(" (part of it is invalid: see kubectl describe %s %s)", strings.ToLower(p.Source.Kind), p.Source.Name)
}

func advice(res ipam.Result) string {
	has := func(reason ipam.Reason) bool {
		return slices.ContainsFunc(res.Fault.Refusals, func(r ipam.Refusal) bool { return r.Reason == reason })
	}
	if has(ipam.NotAutomatic) {
		return fmt.Sprintf("Ask for one by annotation %s, or create a pool for this Service.", lbservice.Prefix+lbservice.AddressPool)
	}
	return "Create a pool for this Service, or change one of these."
}

func known(cfg *config.Config, namespace string) string {
	if len(cfg.Pools) == 0 {
		return "there is none at all in namespace " + namespace + ", create an IPAddressPool there"
	}
	names := make([]string, len(cfg.Pools))
	for i, p := range cfg.Pools {
		names[i] = p.Name
	}
	return "write one of " + shorten(names)
}

func ranges(cfg *config.Config) string {
	var out []string
	for _, p := range cfg.Pools {
		for _, r := range p.Addresses {
			out = append(out, p.Name+": "+r.String())
		}
	}
	if len(out) == 0 {
		return "there is none"
	}
	return shorten(out)
}

func shorten(in []string) string {
	if len(in) > mentioned {
		in = append(slices.Clone(in[:mentioned]), fmt.Sprintf("%d more", len(in)-mentioned))
	}
	return strings.Join(in, ", ")
}

func join(addrs []netip.Addr) string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return strings.Join(out, " and ")
}
