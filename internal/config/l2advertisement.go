package config

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/api/v1beta1"
)

const kindL2Advertisement = "L2Advertisement"

// l2 attaches every L2Advertisement to the pools that it is for.
func (c *compiler) l2(in []v1beta1.L2Advertisement) {
	for i := range in {
		adv, chosen := c.l2Advertisement(&in[i])
		for _, d := range chosen {
			d.pool.L2 = append(d.pool.L2, adv)
		}
	}
	for _, d := range c.pools {
		slices.SortStableFunc(d.pool.L2, func(a, b L2Advertisement) int { return cmp.Compare(a.Name, b.Name) })
	}
}

func (c *compiler) l2Advertisement(in *v1beta1.L2Advertisement) (L2Advertisement, []*draft) {
	source := Source{Kind: kindL2Advertisement, Name: in.Name}
	spec := field.NewPath("spec")
	adv := L2Advertisement{
		Name:             in.Name,
		NodeSelectors:    c.selectors(source, spec.Child("nodeSelectors"), in.Spec.NodeSelectors),
		ServiceSelectors: c.selectors(source, spec.Child("serviceSelectors"), in.Spec.ServiceSelectors),
		Interfaces:       c.list(source, spec.Child("interfaces"), in.Spec.Interfaces, "the name of an interface", c.warnings), // twice does no harm
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
	c.idle(source, spec.Child("nodeSelectors"), adv.NodeSelectors, c.nodes.selected(adv.NodeSelectors), "nothing is announced by this")
	return adv, c.choose(source, in.Spec.IPAddressPools, in.Spec.IPAddressPoolSelectors)
}
