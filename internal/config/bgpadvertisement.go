package config

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/bgp"
)

const kindBGPAdvertisement = "BGPAdvertisement"

// route is a BGPAdvertisement, or an entry of an AddressPool, on its way to the pools.
type route struct {
	adv    BGPAdvertisement
	source Source
	// at is where lengths and localPref are written.
	at    *field.Path
	age   age
	nodes nodeSet
	pools []*draft
	// usable is false for one that is wrong or waits for something, or that is elsewhere: not for the node.
	usable, elsewhere bool
}

// routes compiles the BGPAdvertisements and attaches all routes to their pools, the oldest first.
func (c *compiler) routes(in []v1beta1.BGPAdvertisement) {
	all := c.implied()
	var own []*route
	for i := range in {
		own = append(own, c.bgpAdvertisement(&in[i]))
	}
	slices.SortFunc(own, func(a, b *route) int { return compareAges(a.age, b.age) })
	c.sayTheSame(own, in)
	all = append(all, own...)
	slices.SortStableFunc(all, func(a, b *route) int { return compareAges(a.age, b.age) })
	c.attach(all)
}

func (c *compiler) bgpAdvertisement(in *v1beta1.BGPAdvertisement) *route {
	source := Source{Kind: kindBGPAdvertisement, Name: in.Name}
	spec := field.NewPath("spec")
	adv, ok := c.attributes(source, spec, attributes{
		in.Spec.AggregationLength, in.Spec.AggregationLengthV6, in.Spec.LocalPref, in.Spec.MED, in.Spec.ASPathPrepend, in.Spec.Communities,
	})
	adv.Name = in.Name
	adv.NodeSelectors = c.selectors(source, spec.Child("nodeSelectors"), in.Spec.NodeSelectors)
	adv.ServiceSelectors = c.selectors(source, spec.Child("serviceSelectors"), in.Spec.ServiceSelectors)
	if ok && len(adv.ServiceSelectors) > 0 && (adv.Length4 != 32 || adv.Length6 != 128) {
		c.errors(source, field.Forbidden(spec.Child("serviceSelectors"), "select some Services, but a prefix that is shorter than an address is announced for all that have an address in it: remove the selectors, or write aggregationLength: 32 and aggregationLengthV6: 128"))
		ok = false
	}
	adv.Peers = c.toldPeers(source, spec.Child("peers"), in.Spec.Peers)
	r := &route{adv: adv, source: source, at: spec, age: c.age(source, in.CreationTimestamp), nodes: c.nodes.selected(adv.NodeSelectors)}
	c.idle(source, spec.Child("nodeSelectors"), adv.NodeSelectors, r.nodes, "nothing is announced by this")
	r.pools = c.choose(source, in.Spec.IPAddressPools, in.Spec.IPAddressPoolSelectors)
	r.usable = ok
	if !c.nodes.isHere(r.nodes) {
		r.usable, r.elsewhere = false, true
		c.forget(source)
	}
	return r
}

// attributes of a route, as written.
type attributes struct {
	length4, length6 *int32
	localPref        uint32
	med              *uint32
	prepend          int32
	communities      []string
}

// attributes compiles what a BGPAdvertisement and an entry of an AddressPool have in common.
func (c *compiler) attributes(source Source, at *field.Path, in attributes) (BGPAdvertisement, bool) {
	adv := BGPAdvertisement{Preference: bgp.Preference{LocalPref: in.localPref, Prepend: int(in.prepend)}}
	if in.med != nil {
		adv.MED = bgp.Metric{Set: true, Value: *in.med}
	}
	var ok4, ok6, known bool
	adv.Length4, ok4 = c.length(source, at.Child("aggregationLength"), in.length4, 32)
	adv.Length6, ok6 = c.length(source, at.Child("aggregationLengthV6"), in.length6, 128)
	adv.Communities, known = c.useCommunities(source, at.Child("communities"), in.communities)
	if adv.Prepend < 0 || adv.Prepend > bgp.MaxPrepend {
		c.errors(source, field.Invalid(at.Child("asPathPrepend"), in.prepend, fmt.Sprintf("write how many times more than once the AS number of the nodes is to be in the path, from 0 to %d", bgp.MaxPrepend)))
		return adv, false
	}
	return adv, ok4 && ok6 && known
}

func (c *compiler) length(source Source, at *field.Path, in *int32, longest int) (int, bool) {
	switch {
	case in == nil:
		return longest, true
	case *in < 1 || int(*in) > longest:
		c.errors(source, field.Invalid(at, *in, fmt.Sprintf("write a number from 1 to %d; unset it is %d, a route for each address", longest, longest)))
		return 0, false
	default:
		return int(*in), true
	}
}

// toldPeers checks the names of the peers that are told.
func (c *compiler) toldPeers(source Source, at *field.Path, in []string) []string {
	out := c.names(source, at, in, "the name of a BGPPeer")
	if len(in) == 0 && len(c.peerNames) == 0 {
		c.warnings(source, field.Required(at, "a BGPPeer: there is none, so no router is told. Create a BGPPeer for each router"))
	}
	for i, name := range in {
		if _, known := slices.BinarySearch(c.peerNames, name); name != "" && !known && !slices.Contains(in[:i], name) {
			c.warnings(source, missing(at.Index(i), name, "there is no BGPPeer of this name, so it is not told", c.peerNames, "create the BGPPeer"))
		}
	}
	return out
}

// sayTheSame warns of advertisements that differ in nothing but the name. They are sorted, the oldest first.
func (c *compiler) sayTheSame(routes []*route, in []v1beta1.BGPAdvertisement) {
	specs := map[string]*v1beta1.BGPAdvertisementSpec{}
	for i := range in {
		specs[in[i].Name] = &in[i].Spec
	}
	seen := map[string]Source{}
	for _, r := range routes {
		if !r.usable {
			continue
		}
		spec := specs[r.source.Name]
		key := fmt.Sprint(r.adv.Length4, r.adv.Length6, r.adv.Preference, r.adv.Communities, described(r.adv.NodeSelectors), described(r.adv.ServiceSelectors),
			sorted(r.adv.Peers), sorted(spec.IPAddressPools), formats(spec.IPAddressPoolSelectors))
		if older, ok := seen[key]; ok {
			e := field.Duplicate(field.NewPath("spec"), field.OmitValueType{})
			e.Detail = "says the same as " + c.before(older, r.source) + ": delete one of the two"
			c.warnings(r.source, e)
			continue
		}
		seen[key] = r.source
	}
}

func sorted(in []string) string {
	return strings.Join(slices.Sorted(slices.Values(in)), ",")
}

func described(in []labels.Selector) string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = describe([]labels.Selector{s})
	}
	slices.Sort(out)
	return strings.Join(out, ";")
}

func formats(in []metav1.LabelSelector) string {
	out := make([]string, len(in))
	for i := range in {
		out[i] = metav1.FormatLabelSelector(&in[i])
	}
	slices.Sort(out)
	return strings.Join(out, ";")
}
