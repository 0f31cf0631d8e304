package legacy

import (
	"math"

	"go.yaml.in/yaml/v3"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/ipam"
)

const addressExample = "write a list, for instance - 192.0.2.0/24 or - 192.0.2.10-192.0.2.20"

// pool reads an entry of address-pools. One that is wrong is kept without what is wrong, so that the rest can be judged.
func (r *reader) pool(cfg *Configuration, v value) {
	f := r.fields(v, "write name:, protocol: and addresses:", "name", "protocol", "addresses", "avoid-buggy-ips",
		"auto-assign", "bgp-advertisements", "cidr", "arp-network")
	if !v.there() || v.node.Kind != yaml.MappingNode {
		r.absent(v)
		return
	}
	p := Pool{Key: v.key, AutoAssign: true}
	p.Name, _ = r.scalar(r.required(v, f, "name", "write the name by which Services find the pool"), "write a name")
	r.emptyName(f["name"])
	p.BGP = r.protocol(v, f)
	p.Addresses = r.addresses(v, f)
	if b := r.boolean(f["auto-assign"]); b != nil {
		p.AutoAssign = *b
	}
	if b := r.boolean(f["avoid-buggy-ips"]); b != nil {
		p.AvoidBuggyIPs = *b
	}
	if a := f["arp-network"]; a.there() {
		r.warnf(a, "is not needed any more and has no effect: remove it")
	}
	advertisements := f["bgp-advertisements"]
	for _, item := range r.list(advertisements, "write - before each entry") {
		if a, ok := r.advertisement(item); ok {
			p.Advertisements = append(p.Advertisements, a)
		}
	}
	if advertisements.there() && len(advertisements.node.Content) > 0 && !p.BGP && f["protocol"].there() {
		r.errorf(advertisements, "belongs to protocol bgp: remove it, or write protocol: bgp")
		p.Advertisements = nil
	}
	if p.Name != "" && r.once(r.pools, f["name"], p.Name, v.key) {
		cfg.Pools = append(cfg.Pools, p)
	}
}

// protocol says whether it is bgp.
func (r *reader) protocol(of value, f map[string]value) bool {
	v := r.required(of, f, "protocol", "write layer2, or bgp to announce the addresses to routers")
	text, ok := r.scalar(v, "write layer2 or bgp")
	switch {
	case !ok || text == "layer2":
	case text == "bgp":
		return true
	case text == "arp" || text == "ndp":
		r.warnf(v, "%s is an old name of layer2 and used as such, for ARP and NDP both: write layer2", quote(text))
	default:
		r.errorf(v, "%s is not a protocol: write layer2, or bgp to announce the addresses to routers", quote(text))
	}
	return false
}

// addresses reads addresses, or what was called cidr up to version 0.5.
func (r *reader) addresses(of value, f map[string]value) []Entry {
	v, old := f["addresses"], f["cidr"]
	switch {
	case v.there() && old.there():
		r.errorf(old, "is the old name of addresses, which is there too: move its entries there")
	case old.there():
		v = old
	default:
		r.required(of, f, "addresses", addressExample)
	}
	items := r.list(v, addressExample)
	if v.there() && v.node.Kind == yaml.SequenceNode && len(v.node.Content) == 0 {
		r.errorf(v, "is empty: %s", addressExample)
	}
	var out []Entry
	for _, item := range items {
		r.absent(item)
		text, ok := r.scalar(item, "write for instance 192.0.2.0/24 or 192.0.2.10-192.0.2.20")
		if !ok {
			continue
		}
		if _, err := ipam.ParseRange(text); err != nil {
			r.errorf(item, "%s %v", quote(text), err)
			continue
		}
		out = append(out, Entry{Key: item.key, Text: text})
	}
	return out
}

// advertisement reads an entry of bgp-advertisements; one that is wrong is left out. An entry without anything is one
// with all defaults.
func (r *reader) advertisement(v value) (Advertisement, bool) {
	before := len(r.problems)
	f := r.fields(v, "write aggregation-length:, localpref: or communities:", "aggregation-length", "aggregation-length-v6",
		"localpref", "communities")
	a := Advertisement{Key: v.key, Length4: 32, Length6: 128}
	if n, ok := r.number(f["aggregation-length"], 1, 32, "32"); ok {
		a.Length4 = int32(n) //nolint:gosec // 32 at most
	}
	if n, ok := r.number(f["aggregation-length-v6"], 1, 128, "128"); ok {
		a.Length6 = int32(n) //nolint:gosec // 128 at most
	}
	if n, ok := r.number(f["localpref"], 0, math.MaxUint32, "100"); ok {
		a.LocalPref = uint32(n) //nolint:gosec // MaxUint32 at most
	}
	seen := map[bgp.Community]bool{}
	for _, item := range r.list(f["communities"], "write for instance - 64512:100") {
		r.absent(item)
		text, ok := r.scalar(item, "write a community, for instance 64512:100")
		if !ok {
			continue
		}
		c, ok := r.resolve(item, text)
		if ok && !seen[c] { // one said twice was sent once
			seen[c] = true
			a.Communities = append(a.Communities, Entry{Key: item.key, Text: text})
		}
	}
	return a, len(r.problems) == before
}

// resolve finds what a community stands for: an alias first, as ever.
func (r *reader) resolve(v value, text string) (bgp.Community, bool) {
	if alias, ok := r.aliases[text]; ok {
		if alias == nil {
			return bgp.Community{}, false
		}
		return *alias, true
	}
	c, err := bgp.ParseCommunity(text)
	if err == nil {
		return c, true
	}
	if near := nearestKey(text, r.aliases); near != "" {
		r.errorf(v, "%s is not one of bgp-communities: did you mean %s?", quote(text), near)
	} else {
		r.errorf(v, "%s is not one of bgp-communities, and %v", quote(text), err)
	}
	return bgp.Community{}, false
}
