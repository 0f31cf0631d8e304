package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/internal/ipam"
)

// quota compiles a NamespaceQuota. One that is no number from 1 is none.
func (c *compiler) quota(source Source, in *int32) int {
	switch {
	case in == nil:
		return 0
	case *in < 1:
		c.errors(source, field.Invalid(field.NewPath("spec", "namespaceQuota"), *in, "write a number from 1, or remove the field to have no quota"))
		return 0
	}
	return int(*in)
}

// reserve compiles the reservations of a pool whose addresses are known. What is wrong with whom an address is for leaves
// it reserved, for nobody: it must not go to others.
func (c *compiler) reserve(d *draft) {
	at := field.NewPath("spec", "reservations")
	taken := map[netip.Addr]*field.Path{}
	for i := range d.reservations {
		in, here := &d.reservations[i], at.Index(i)
		if in.ExpiresAt != nil && !c.now.IsZero() && !c.now.Before(in.ExpiresAt.Time) {
			c.warnings(d.pool.Source, field.Invalid(here.Child("expiresAt"), in.ExpiresAt.UTC().Format(time.RFC3339), "is over, so that the addresses are for everybody: remove the reservation, or write a later time"))
			continue
		}
		r := Reservation{Namespace: in.Namespace, Name: in.ServiceName}
		if in.ExpiresAt != nil {
			r.Expires = in.ExpiresAt.Time
		}
		if in.Namespace == "" {
			c.errors(d.pool.Source, field.Required(here.Child("namespace"), "write the namespace of the Services that the addresses are for"))
		}
		if in.ServiceSelector != nil {
			r.Selector, _ = c.selector(d.pool.Source, here.Child("serviceSelector"), in.ServiceSelector)
		}
		if in.ServiceSelector != nil && in.ServiceName != "" {
			c.errors(d.pool.Source, field.Forbidden(here.Child("serviceSelector"), "stands beside serviceName: remove one of the two"))
			r.Selector = labels.Nothing()
		}
		if len(in.Addresses) == 0 {
			c.errors(d.pool.Source, field.Required(here.Child("addresses"), "write at least one address of the pool"))
		}
		for j, text := range in.Addresses {
			place := here.Child("addresses").Index(j)
			addr, err := c.reserved(d, text, taken)
			if err != nil {
				c.errors(d.pool.Source, field.Invalid(place, text, err.Error()))
				continue
			}
			taken[addr] = place
			r.Addresses = append(r.Addresses, addr)
		}
		if len(r.Addresses) > 0 {
			d.pool.Reservations = append(d.pool.Reservations, r)
		}
	}
}

func (c *compiler) reserved(d *draft, text string, taken map[netip.Addr]*field.Path) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil || addr.Zone() != "" || addr.Is4In6():
		return addr, fmt.Errorf("is not an IP address: write for instance 192.0.2.10 or 2001:db8::10")
	case !slices.ContainsFunc(d.pool.Addresses, func(r ipam.Range) bool { return r.Contains(addr) }):
		return addr, fmt.Errorf("is not an address of this pool: write one that is in spec.addresses")
	case d.pool.AvoidBuggyIPs && ipam.Buggy(addr):
		return addr, fmt.Errorf("is left out by spec.avoidBuggyIPs: write one that does not end in .0 or .255")
	case taken[addr] != nil:
		return addr, fmt.Errorf("is reserved by %s already: remove one of the two", taken[addr])
	}
	return addr, nil
}

// For says in words whom a reservation is for.
func (r *Reservation) For() string {
	switch {
	case r.Name != "":
		return "Service " + r.Namespace + "/" + r.Name
	case r.Selector != nil:
		return "Services of namespace " + r.Namespace + " with labels " + describe([]labels.Selector{r.Selector})
	default:
		return "Services of namespace " + r.Namespace
	}
}

// Includes says whether a reservation is for a Service.
func (r *Reservation) Includes(namespace, name string, serviceLabels labels.Set) bool {
	return r.Namespace == namespace && (r.Name == "" || r.Name == name) && (r.Selector == nil || r.Selector.Matches(serviceLabels))
}

// NextExpiry is when the first reservation that counts no longer does; zero: never.
func (c *Config) NextExpiry() time.Time {
	var next time.Time
	for i := range c.Pools {
		for _, r := range c.Pools[i].Reservations {
			if !r.Expires.IsZero() && (next.IsZero() || r.Expires.Before(next)) {
				next = r.Expires
			}
		}
	}
	return next
}
