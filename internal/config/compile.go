package config

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/api/v1beta1"
)


// Compile turns resources into one Config, and says everything that is wrong with them. What is wrong is dropped and
// the rest stays; of two resources in conflict the younger loses, by creation time and then by name. An invalid
// selector matches nothing: dropping it could open to all what was meant for some. The order of the input does not
// matter.
func Compile(in Input) (*Config, []Problem) {
	c := &compiler{problems: map[problemKey]field.ErrorList{}}
	drafts := make([]draft, 0, len(in.IPAddressPools)+len(in.AddressPools))
	for i := range in.IPAddressPools {
		drafts = append(drafts, c.fromIPAddressPool(&in.IPAddressPools[i]))
	}
	for i := range in.AddressPools {
		drafts = append(drafts, c.fromAddressPool(&in.AddressPools[i]))
	}
	slices.SortFunc(drafts, compareDrafts)
	pools := c.addresses(c.uniqueNames(drafts))
	c.advertisements(pools, in.L2Advertisements)
	c.unannounced(pools)

	slices.SortFunc(pools, func(a, b *draft) int { return cmp.Compare(a.pool.Name, b.pool.Name) })
	out := &Config{Pools: make([]Pool, len(pools))}
	for i, d := range pools {
		out.Pools[i] = d.pool
	}
	return out, c.sorted()
}

// compiler collects what is wrong while Compile runs.
type compiler struct {
	problems map[problemKey]field.ErrorList
}

type problemKey struct {
	source   Source
	severity Severity
}

func (c *compiler) errors(s Source, errs ...*field.Error) {
	c.add(problemKey{s, Error}, errs)
}

func (c *compiler) warnings(s Source, errs ...*field.Error) {
	c.add(problemKey{s, Warning}, errs)
}

func (c *compiler) add(key problemKey, errs field.ErrorList) {
	if len(errs) > 0 {
		c.problems[key] = append(c.problems[key], errs...)
	}
}

func (c *compiler) sorted() []Problem {
	var out []Problem
	for k, errs := range c.problems {
		out = append(out, Problem{Source: k.source, Severity: k.severity, Errors: errs})
	}
	slices.SortFunc(out, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Source.Kind, b.Source.Kind), cmp.Compare(a.Source.Name, b.Source.Name), cmp.Compare(a.Severity, b.Severity))
	})
	return out
}

// advertisements attaches every L2Advertisement to the pools that it is for.
func (c *compiler) advertisements(pools []*draft, advs []v1beta1.L2Advertisement) {
	byName := map[string]*draft{}
	for _, d := range pools {
		byName[d.pool.Name] = d
	}
	for i := range advs {
		adv, chosen := c.l2Advertisement(&advs[i], pools, byName)
		for _, d := range chosen {
			d.pool.L2 = append(d.pool.L2, adv)
		}
	}
	for _, d := range pools {
		slices.SortStableFunc(d.pool.L2, func(a, b L2Advertisement) int { return cmp.Compare(a.Name, b.Name) })
	}
}

func (c *compiler) l2Advertisement(in *v1beta1.L2Advertisement, pools []*draft, byName map[string]*draft) (L2Advertisement, []*draft) {
	source := Source{Kind: "L2Advertisement", Name: in.Name}
	spec := field.NewPath("spec")
	adv := L2Advertisement{
		Name:             in.Name,
		NodeSelectors:    c.selectors(source, spec.Child("nodeSelectors"), in.Spec.NodeSelectors),
		ServiceSelectors: c.selectors(source, spec.Child("serviceSelectors"), in.Spec.ServiceSelectors),
		Interfaces:       c.names(source, spec.Child("interfaces"), in.Spec.Interfaces, "the name of an interface"),
	}
	for i := range in.Spec.PreferredNodeSelectors {
		p, at := &in.Spec.PreferredNodeSelectors[i], spec.Child("preferredNodeSelectors").Index(i)
		if p.Weight < 1 || p.Weight > 100 {
			c.errors(source, field.Invalid(at.Child("weight"), p.Weight, "write a number from 1 to 100"))
			continue
		}
		if selector, ok := c.selector(source, at.Child("preference"), &p.Preference); ok {
			adv.Preferred = append(adv.Preferred, PreferredNodes{Selector: selector, Weight: int(p.Weight)})
		}
	}

	names := c.names(source, spec.Child("ipAddressPools"), in.Spec.IPAddressPools, "the name of a pool")
	selectors := c.selectors(source, spec.Child("ipAddressPoolSelectors"), in.Spec.IPAddressPoolSelectors)
	if len(in.Spec.IPAddressPools) == 0 && len(in.Spec.IPAddressPoolSelectors) == 0 {
		// An AddressPool says itself how it is announced.
		return adv, slices.DeleteFunc(slices.Clone(pools), func(d *draft) bool { return d.pool.Source.Kind != kindIPAddressPool })
	}
	var chosen []*draft
	for _, d := range pools {
		if slices.Contains(names, d.pool.Name) || matchesAny(selectors, d.labels) {
			chosen = append(chosen, d)
		}
	}
	for i, name := range in.Spec.IPAddressPools {
		if name != "" && byName[name] == nil {
			missing := field.NotFound(spec.Child("ipAddressPools").Index(i), name)
			missing.Detail = "there is no pool of this name, so nothing of it is announced: " + known(pools)
			c.warnings(source, missing)
		}
	}
	return adv, chosen
}

// known lists the names of the pools, as a hint to whoever mistyped one.
func known(pools []*draft) string {
	if len(pools) == 0 {
		return "create an IPAddressPool of this name"
	}
	names := make([]string, len(pools))
	for i, d := range pools {
		names[i] = d.pool.Name
	}
	slices.Sort(names)
	return "write one of " + strings.Join(names, ", ") + ", or create the pool"
}

// unannounced warns of pools whose addresses nobody will answer for.
func (c *compiler) unannounced(pools []*draft) {
	for _, d := range pools {
		at := field.NewPath("spec", "addresses")
		switch {
		case len(d.pool.L2) > 0:
		case d.pool.Source.Kind == kindIPAddressPool:
			c.warnings(d.pool.Source, field.Required(at, "an L2Advertisement for this pool: without one its addresses are given to Services but nobody answers for them. Create an L2Advertisement with "+d.pool.Name+" in spec.ipAddressPools"))
		case d.bgp:
			c.warnings(d.pool.Source, field.Required(at, "an L2Advertisement for this pool: this version announces addresses by layer 2 only, so those of protocol bgp are given to Services but not announced. Set spec.protocol to layer2 if the addresses belong to the nodes' LAN"))
		}
	}
}

func matchesAny(selectors []labels.Selector, set labels.Set) bool {
	return slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s.Matches(set) })
}
