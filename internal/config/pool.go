package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	pool    Pool
	nameAt  *field.Path
	texts   []string
	created time.Time
	labels  labels.Set
	bgp     bool
}

// compareDrafts puts the older first. An object that has no creation time yet is the youngest.
func compareDrafts(a, b draft) int {
	if a.created.IsZero() != b.created.IsZero() {
		if a.created.IsZero() {
			return 1
		}
		return -1
	}
	return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.pool.Source.Name, b.pool.Source.Name),
		-cmp.Compare(a.pool.Source.Kind, b.pool.Source.Kind)) // IPAddressPool before AddressPool
}

func (c *compiler) fromIPAddressPool(in *v1beta1.IPAddressPool) draft {
	source := Source{Kind: kindIPAddressPool, Name: in.Name}
	return draft{
		pool: Pool{
			Name:          in.Name,
			Source:        source,
			AutoAssign:    in.Spec.AutoAssign == nil || *in.Spec.AutoAssign,
			AvoidBuggyIPs: in.Spec.AvoidBuggyIPs,
			Allocation:    c.allocation(source, in.Spec.ServiceAllocation),
		},
		nameAt:  field.NewPath("metadata", "name"),
		texts:   in.Spec.Addresses,
		created: in.CreationTimestamp.Time,
		labels:  in.Labels,
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
		nameAt:  field.NewPath("metadata", "name"),
		texts:   in.Spec.Addresses,
		created: in.CreationTimestamp.Time,
		labels:  in.Labels,
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
		d.bgp = true
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
		e.Detail = fmt.Sprintf("%s %s, which is older, has this name already, so this pool is not used: give it another name", older.pool.Source.Kind, older.pool.Source.Name)
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
				err = taken.add(r, d.pool.Source)
			}
			if err != nil {
				c.errors(d.pool.Source, field.Invalid(at.Index(i), text, err.Error()))
				d.pool.Incomplete = true
				continue
			}
			d.pool.Addresses = append(d.pool.Addresses, r)
		}
	}
	return pools
}

// never are the addresses that no Service can be reached at.
var never = []struct{ prefix, what string }{
	{"0.0.0.0/8", `addresses of "this network" (RFC 1122, section 3.2.1.3)`},
	{"127.0.0.0/8", "loopback addresses"},
	{"224.0.0.0/4", "multicast addresses"},
	{"255.255.255.255/32", "broadcast address"},
	{"::/127", "unspecified and the loopback address"},
	{"ff00::/8", "multicast addresses"},
}

func unusable(r ipam.Range) error {
	for _, n := range never {
		if s, err := ipam.ParseRange(n.prefix); err == nil && r.Overlaps(s) {
			return fmt.Errorf("contains %s, the %s: no Service can be reached there; write addresses that the network routes to the nodes", n.prefix, n.what)
		}
	}
	return nil
}

// taken holds the ranges of all pools, sorted; they do not overlap.
type taken []owned

type owned struct {
	ipam.Range
	by Source
}

func (t *taken) add(r ipam.Range, by Source) error {
	i, _ := slices.BinarySearchFunc(*t, r.From(), func(o owned, from netip.Addr) int { return o.From().Compare(from) })
	for _, o := range (*t)[max(i-1, 0):min(i+1, len(*t))] {
		switch {
		case !o.Overlaps(r):
		case o.by == by:
			return fmt.Errorf("overlaps %s of the same pool: remove one of the two entries, or narrow it", o.Range)
		default:
			return fmt.Errorf("overlaps %s of %s %s, which is older: write addresses that no other pool has", o.Range, o.by.Kind, o.by.Name)
		}
	}
	*t = slices.Insert(*t, i, owned{r, by})
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

// names returns a list without what is said twice. An empty entry is kept: it matches nothing, and a list that became
// empty would match everything.
func (c *compiler) names(source Source, at *field.Path, in []string, what string) []string {
	var out []string
	for i, name := range in {
		switch {
		case name == "":
			c.errors(source, field.Required(at.Index(i), "write "+what+", or remove the entry"))
			out = append(out, name)
		case slices.Contains(out, name):
			c.errors(source, field.Duplicate(at.Index(i), name))
		default:
			out = append(out, name)
		}
	}
	return out
}

// selectors compiles a list of which one match is enough. In place of an invalid one stands one that matches nothing.
func (c *compiler) selectors(source Source, at *field.Path, in []metav1.LabelSelector) []labels.Selector {
	var out []labels.Selector
	for i := range in {
		s, ok := c.selector(source, at.Index(i), &in[i])
		if ok && slices.ContainsFunc(out, func(o labels.Selector) bool { return o.String() == s.String() }) {
			c.errors(source, field.Duplicate(at.Index(i), metav1.FormatLabelSelector(&in[i])))
			continue
		}
		out = append(out, s)
	}
	return out
}
