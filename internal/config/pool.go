package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/ipam"
)

const (
	kindIPAddressPool = "IPAddressPool"
	kindAddressPool   = "AddressPool"
)

// draft is a pool on its way into the Config.
type draft struct {
	pool   Pool
	nameAt *field.Path
	texts  []string
	// reservations as they are written.
	reservations []v1beta1.Reservation
	age          age
	labels       labels.Set
	// legacy is the AddressPool that the draft is made from; nil: it is an IPAddressPool.
	legacy *v1beta1.AddressPoolSpec
	// at are the indices in texts of the pool's Addresses.
	at []int
	// widest are the largest prefixes in Addresses, by family.
	widest4, widest6 widest
	// routed says that something announces the pool by BGP, on whatever node, or would if it were not wrong; routes are
	// what the Config has of that.
	routed bool
	routes []*route
}

func compareNames(a, b *draft) int { return cmp.Compare(a.pool.Name, b.pool.Name) }

// drafts returns the pools in the order of their age.
func (c *compiler) drafts(pools []v1beta1.IPAddressPool, legacy []v1beta1.AddressPool) []draft {
	out := make([]draft, 0, len(pools)+len(legacy))
	for i := range pools {
		out = append(out, c.fromIPAddressPool(&pools[i]))
	}
	for i := range legacy {
		out = append(out, c.fromAddressPool(&legacy[i]))
	}
	slices.SortFunc(out, func(a, b draft) int { return compareAges(a.age, b.age) })
	return out
}

func (c *compiler) fromIPAddressPool(in *v1beta1.IPAddressPool) draft {
	source := Source{Kind: kindIPAddressPool, Name: in.Name}
	return draft{
		pool: Pool{
			Name:           in.Name,
			Source:         source,
			AutoAssign:     in.Spec.AutoAssign == nil || *in.Spec.AutoAssign,
			AvoidBuggyIPs:  in.Spec.AvoidBuggyIPs,
			Allocation:     c.allocation(source, in.Spec.ServiceAllocation),
			NamespaceQuota: c.quota(source, in.Spec.NamespaceQuota),
		},
		nameAt:       field.NewPath("metadata", "name"),
		texts:        in.Spec.Addresses,
		reservations: in.Spec.Reservations,
		age:          c.age(source, in.CreationTimestamp),
		labels:       in.Labels,
	}
}

func (c *compiler) fromAddressPool(in *v1beta1.AddressPool) draft {
	source := Source{Kind: kindAddressPool, Name: in.Name}
	spec := field.NewPath("spec")
	d := draft{
		pool: Pool{
			Name:       in.Name,
			Source:     source,
			AutoAssign: (in.Spec.AutoAssign == nil || *in.Spec.AutoAssign) && (in.Spec.AutoAssignLegacy == nil || *in.Spec.AutoAssignLegacy),
		},
		nameAt: field.NewPath("metadata", "name"),
		texts:  in.Spec.Addresses,
		age:    c.age(source, in.CreationTimestamp),
		labels: in.Labels,
		legacy: &in.Spec,
	}
	if in.Spec.Name != "" {
		d.pool.Name, d.nameAt = in.Spec.Name, spec.Child("name")
	}
	switch in.Spec.Protocol {
	case v1beta1.ProtocolLayer2:
		d.pool.L2 = []L2Advertisement{{Name: in.Name}}
		if len(in.Spec.BGPAdvertisements) > 0 {
			c.errors(source, field.Forbidden(spec.Child("bgpAdvertisements"), "belong to protocol bgp: remove them, or set spec.protocol to bgp"))
		}
	case v1beta1.ProtocolBGP:
	default:
		c.errors(source, field.NotSupported(spec.Child("protocol"), in.Spec.Protocol, []v1beta1.AddressPoolProtocol{v1beta1.ProtocolLayer2, v1beta1.ProtocolBGP}))
	}
	return d
}

// uniqueNames drops the younger of two pools of the same name. The drafts are sorted, the oldest first.
func (c *compiler) uniqueNames(drafts []draft) []*draft {
	byName := map[string]*draft{}
	var out []*draft
	for i := range drafts {
		d := &drafts[i]
		older := byName[d.pool.Name]
		if older == nil {
			byName[d.pool.Name] = d
			out = append(out, d)
			continue
		}
		e := field.Duplicate(d.nameAt, d.pool.Name)
		e.Detail = c.before(older.pool.Source, d.pool.Source) + ", has this name already, so this pool is not used: give it another name"
		c.errors(d.pool.Source, e)
		older.pool.Incomplete = true
	}
	return out
}

// addresses fills in the ranges of every pool, without those that are invalid or that an older pool has.
func (c *compiler) addresses(pools []*draft) []*draft {
	var taken taken
	for _, d := range pools {
		at := field.NewPath("spec", "addresses")
		if len(d.texts) == 0 {
			c.errors(d.pool.Source, field.Required(at, "write at least one entry, for instance 192.0.2.0/24 or 192.0.2.10-192.0.2.20"))
			d.pool.Incomplete = true
		}
		for i, text := range d.texts {
			r, err := ipam.ParseRange(text)
			if err == nil {
				err = unusable(r)
			}
			if err == nil {
				err = c.take(&taken, r, d.pool.Source)
			}
			if err != nil {
				c.errors(d.pool.Source, field.Invalid(at.Index(i), text, err.Error()))
				d.pool.Incomplete = true
				continue
			}
			d.pool.Addresses = append(d.pool.Addresses, r)
			d.at = append(d.at, i)
			if r.Is4() {
				d.widest4 = d.widest4.or(r)
			} else {
				d.widest6 = d.widest6.or(r)
			}
		}
		c.reserve(d)
	}
	return pools
}

// never are the addresses that no Service can be reached at.
var never = []struct {
	ipam.Range
	what string
}{
	{mustParse("0.0.0.0/8"), `addresses of "this network" (RFC 1122, section 3.2.1.3)`},
	{mustParse("127.0.0.0/8"), "loopback addresses"},
	{mustParse("224.0.0.0/4"), "multicast addresses"},
	{mustParse("255.255.255.255/32"), "broadcast address"},
	{mustParse("::/127"), "unspecified and the loopback address"},
	{mustParse("ff00::/8"), "multicast addresses"},
}

func mustParse(text string) ipam.Range {
	r, err := ipam.ParseRange(text)
	if err != nil {
		panic(err)
	}
	return r
}

func unusable(r ipam.Range) error {
	for _, n := range never {
		if r.Overlaps(n.Range) {
			return fmt.Errorf("contains %s, the %s: no Service can be reached there; write addresses that the network routes to the nodes", n.Range, n.what)
		}
	}
	return nil
}

// taken holds the ranges of all pools, sorted; they do not overlap.
type taken []*owned

type owned struct {
	ipam.Range
	by Source
}

func (c *compiler) take(t *taken, r ipam.Range, by Source) error {
	i, _ := slices.BinarySearchFunc(*t, r.From(), func(o *owned, from netip.Addr) int { return o.From().Compare(from) })
	for _, o := range (*t)[max(i-1, 0):min(i+1, len(*t))] {
		switch {
		case !o.Overlaps(r):
		case o.by == by:
			return fmt.Errorf("overlaps %s of the same pool: remove one of the two entries, or narrow it", o.Range)
		default:
			return fmt.Errorf("overlaps %s of %s: write addresses that no other pool has", o.Range, c.before(o.by, by))
		}
	}
	*t = slices.Insert(*t, i, &owned{r, by})
	return nil
}

// allocation compiles a ServiceAllocation; nil stays nil.
func (c *compiler) allocation(source Source, in *v1beta1.ServiceAllocation) *Allocation {
	if in == nil {
		return nil
	}
	at := field.NewPath("spec", "serviceAllocation")
	return &Allocation{
		Priority:           in.Priority,
		Namespaces:         c.names(source, at.Child("namespaces"), in.Namespaces, "the name of a namespace"),
		NamespaceSelectors: c.selectors(source, at.Child("namespaceSelectors"), in.NamespaceSelectors),
		ServiceSelectors:   c.selectors(source, at.Child("serviceSelectors"), in.ServiceSelectors),
	}
}

// twice says that a list has an entry more than once.
func twice(at *field.Path, value string) *field.Error {
	e := field.Duplicate(at, value)
	e.Detail = "is in the list already: remove one of the two"
	return e
}

// names returns a list without what is said twice, which is an error.
func (c *compiler) names(source Source, at *field.Path, in []string, what string) []string {
	return c.list(source, at, in, what, c.errors)
}

// list returns a list without what is said twice, and tells of that. An empty entry is an error, and kept: it matches
// nothing, and a list that became empty would match everything.
func (c *compiler) list(source Source, at *field.Path, in []string, what string, tell func(Source, ...*field.Error)) []string {
	var out []string
	for i, name := range in {
		switch {
		case name == "":
			c.errors(source, field.Required(at.Index(i), "write "+what+", or remove the entry"))
			out = append(out, name)
		case slices.Contains(out, name):
			tell(source, twice(at.Index(i), name))
		default:
			out = append(out, name)
		}
	}
	return out
}
