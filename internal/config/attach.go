package config

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/bgp"
)

// implied returns what the AddressPools of protocol bgp say themselves about how they are announced: on all nodes, to all
// peers, one route for each address if nothing is written.
func (c *compiler) implied() []*route {
	var out []*route
	for _, d := range c.pools {
		if d.legacy == nil || d.legacy.Protocol != v1beta1.ProtocolBGP {
			continue
		}
		entries := d.legacy.BGPAdvertisements
		if len(entries) == 0 {
			entries = []v1beta1.LegacyBGPAdvertisement{{}}
		}
		seen := map[string]bool{}
		for i, e := range entries {
			at := field.NewPath("spec", "bgpAdvertisements").Index(i)
			adv, ok := c.attributes(d.pool.Source, at, attributes{length4: e.AggregationLength, length6: e.AggregationLengthV6, localPref: e.LocalPref, communities: e.Communities})
			adv.Name = d.pool.Source.Name
			key := fmt.Sprint(adv.Length4, adv.Length6, adv.Preference, adv.Communities)
			if ok && seen[key] {
				repeated := field.Duplicate(at, field.OmitValueType{})
				repeated.Detail = "an entry above says the same: remove this one"
				c.errors(d.pool.Source, repeated)
				continue
			}
			seen[key] = ok
			out = append(out, &route{adv: adv, source: d.pool.Source, at: at, age: d.age, nodes: c.nodes.selected(nil), pools: []*draft{d}, usable: ok})
		}
	}
	return out
}

// attach gives every pool the routes that are for it, but those whose prefixes would hold more than the pool, and of two
// that contradict one another the younger.
func (c *compiler) attach(routes []*route) {
	for _, r := range routes {
		for _, d := range r.pools {
			d.routed = true
			switch {
			case r.usable:
				d.routes = append(d.routes, r)
			case !r.elsewhere:
				c.exceeds(d, r) // all that is wrong is said at once
			}
		}
	}
	for _, d := range c.pools {
		var kept []*route
		for _, r := range d.routes {
			if c.exceeds(d, r) || c.contradicts(d, r, kept) {
				continue
			}
			kept = append(kept, r)
			d.pool.BGP = append(d.pool.BGP, r.adv)
		}
		d.routes = kept
		slices.SortStableFunc(d.pool.BGP, func(a, b BGPAdvertisement) int { return cmp.Compare(a.Name, b.Name) })
	}
}

// exceeds reports a route whose prefix, around an address of the pool, would hold others that are not the pool's.
func (c *compiler) exceeds(d *draft, r *route) bool {
	report := func(name string, length, longest int, widest widest) bool {
		if length == 0 || length >= widest.length { // 0: what is written is none
			return false
		}
		c.errors(r.source, field.Invalid(r.at.Child(name), length, fmt.Sprintf("a prefix of this length would hold more than %s of %s %s: write a number from %d to %d",
			widest.entry, d.pool.Source.Kind, d.pool.Source.Name, widest.length, longest)).WithOrigin(d.pool.Name))
		return true
	}
	exceeds4 := report("aggregationLength", r.adv.Length4, 32, d.widest4)
	exceeds6 := report("aggregationLengthV6", r.adv.Length6, 128, d.widest6)
	return exceeds4 || exceeds6
}

// contradicts reports a route that an older one of the pool contradicts: the same prefix, from the same node to the same
// peer, with another preference. Those for some Services are judged when it is known which Services have them.
func (c *compiler) contradicts(d *draft, r *route, kept []*route) bool {
	if len(r.adv.ServiceSelectors) > 0 {
		return false
	}
	for _, o := range kept {
		if o.adv.Preference == r.adv.Preference || len(o.adv.ServiceSelectors) > 0 || !d.samePrefixes(o.adv, r.adv) ||
			!meet(o.adv.Peers, r.adv.Peers) || !c.nodes.share(o.nodes, r.nodes) {
			continue
		}
		who := c.before(o.source, r.source) + ","
		if o.source == r.source {
			who = "an entry above"
		}
		for _, x := range o.adv.Differences(r.adv.Preference) {
			c.errors(r.source, field.Invalid(r.at.Child(x.Attribute), valueOf(x.B), fmt.Sprintf("%s announces the same prefixes of %s %s with %s: write the same here, or give the two different peers, nodes or aggregation lengths",
				who, d.pool.Source.Kind, d.pool.Source.Name, x.A)).WithOrigin(d.pool.Name))
		}
		return true
	}
	return false
}

// valueOf is the value of a field.
func valueOf(m bgp.Metric) any {
	if !m.Set {
		return field.OmitValueType{}
	}
	return m.Value
}

// samePrefixes says whether both announce the same prefix for an address of the pool.
func (d *draft) samePrefixes(a, b BGPAdvertisement) bool {
	return d.widest4.length > 0 && a.Length4 == b.Length4 || d.widest6.length > 0 && a.Length6 == b.Length6
}

// meet says whether the two lists of peers have one in common. An empty one is all peers.
func meet(a, b []string) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(name string) bool { return slices.Contains(b, name) })
}
