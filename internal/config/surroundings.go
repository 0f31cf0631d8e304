package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/internal/ipam"
)

// unannounced warns of pools whose addresses nobody will answer for.
func (c *compiler) unannounced() {
	at := field.NewPath("spec", "addresses")
	warn := func(d *draft, text string) {
		d.pool.Unadvertised = "Lacks " + text
		c.warnings(d.pool.Source, field.Required(at, text))
	}
	for _, d := range c.pools {
		switch {
		case len(d.pool.L2) > 0:
		case d.routed && len(c.peerNames) == 0:
			warn(d, "a BGPPeer: there is none, and this pool is announced by BGP only, so its addresses are given to Services but no router is told. Create a BGPPeer for each router")
		case d.legacy == nil && !d.routed:
			warn(d, "an L2Advertisement or BGPAdvertisement for this pool: without one its addresses are given to Services but nobody answers for them. Create one with "+d.pool.Name+" in spec.ipAddressPools")
		}
	}
}

// spot is an address that some node has, or a prefix that it is in.
type spot struct {
	prefix netip.Prefix
	// node is the first by name, others the number of the rest.
	node   string
	others int
}

// and names the nodes of a spot.
func (s spot) and() string {
	switch s.others {
	case 0:
		return s.node
	case 1:
		return s.node + " and 1 other"
	default:
		return fmt.Sprintf("%s and %d others", s.node, s.others)
	}
}

// surroundings warns of pools that get in the way of nodes and gateways, or that hosts beside the nodes cannot reach;
// and of those that have nothing left to give.
func (c *compiler) surroundings(nodes []Node) {
	addresses := spots(nodes, func(n *Node) []netip.Prefix { return single(n.Addresses) })
	gateways := spots(nodes, func(n *Node) []netip.Prefix { return single(n.Gateways) })
	subnets := newSubnets(spots(nodes, func(n *Node) []netip.Prefix { return n.Subnets }))
	for _, d := range c.pools {
		c.nothingLeft(d)
		for i, r := range d.pool.Addresses {
			at := field.NewPath("spec", "addresses").Index(d.at[i])
			warn := func(detail string) { c.warnings(d.pool.Source, field.Invalid(at, d.texts[d.at[i]], detail)) }
			if in := within(addresses, r); len(in) > 0 {
				warn(fmt.Sprintf("contains %s, an address of node %s%s: no Service may have that; write addresses that nothing else has", in[0].prefix.Addr(), in[0].and(), more(len(in)-1)))
			}
			if in := within(gateways, r); len(in) > 0 {
				warn(fmt.Sprintf("contains %s, the gateway of node %s%s: no Service may have that; write addresses that nothing else has", in[0].prefix.Addr(), in[0].and(), more(len(in)-1)))
			}
			if !d.routed || len(d.pool.L2) > 0 {
				continue
			}
			if s, ok := subnets.overlap(r); ok {
				warn(fmt.Sprintf("overlaps %s, the subnet of node %s, and is announced by BGP only: hosts of that subnet ask by ARP or NDP and get no answer; create an L2Advertisement for the pool too, or write addresses outside of the subnet", s.prefix, s.and()))
			}
		}
	}
}

func more(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d more)", n)
}

func single(addrs []netip.Addr) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(addrs))
	for _, a := range addrs {
		if a = a.Unmap().WithZone(""); a.IsValid() {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}

// spots collects what the nodes have, sorted by address.
func spots(nodes []Node, of func(*Node) []netip.Prefix) []spot {
	found := map[netip.Prefix]map[string]bool{}
	for i := range nodes {
		for _, p := range of(&nodes[i]) {
			p = p.Masked()
			if found[p] == nil {
				found[p] = map[string]bool{}
			}
			found[p][nodes[i].Name] = true
		}
	}
	out := make([]spot, 0, len(found))
	for p, names := range found {
		s := spot{prefix: p, others: len(names) - 1}
		for name := range names {
			if s.node == "" || name < s.node {
				s.node = name
			}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b spot) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
	})
	return out
}

// within returns the spots whose prefixes begin in a range.
func within(sorted []spot, r ipam.Range) []spot {
	from, _ := slices.BinarySearchFunc(sorted, r.From(), func(s spot, a netip.Addr) int { return s.prefix.Addr().Compare(a) })
	to := from
	for to < len(sorted) && r.Contains(sorted[to].prefix.Addr()) {
		to++
	}
	return sorted[from:to]
}

// subnets finds the subnets of nodes that overlap a range, without looking at all of them.
type subnets struct {
	sorted   []spot
	byPrefix map[netip.Prefix]spot
	lengths  []int
}

// newSubnets leaves out what has no other hosts in it.
func newSubnets(all []spot) *subnets {
	s := &subnets{byPrefix: map[netip.Prefix]spot{}}
	for _, p := range all {
		if p.prefix.IsSingleIP() || p.prefix.Addr().IsLoopback() {
			continue
		}
		s.sorted = append(s.sorted, p)
		s.byPrefix[p.prefix] = p
		if !slices.Contains(s.lengths, p.prefix.Bits()) {
			s.lengths = append(s.lengths, p.prefix.Bits())
		}
	}
	slices.Sort(s.lengths)
	return s
}

func (s *subnets) overlap(r ipam.Range) (spot, bool) {
	for _, length := range s.lengths {
		if p, err := r.From().Prefix(length); err == nil {
			if found, ok := s.byPrefix[p]; ok {
				return found, true
			}
		}
	}
	if in := within(s.sorted, r); len(in) > 0 {
		return in[0], true
	}
	return spot{}, false
}

// nothingLeft warns of a pool that avoids each of its addresses.
func (c *compiler) nothingLeft(d *draft) {
	if !d.pool.AvoidBuggyIPs || len(d.pool.Addresses) == 0 || slices.ContainsFunc(d.pool.Addresses, func(r ipam.Range) bool { return !onlyBuggy(r) }) {
		return
	}
	c.warnings(d.pool.Source, field.Invalid(field.NewPath("spec", "avoidBuggyIPs"), true, "every address of the pool ends in .0 or .255, so none is left: write other addresses, or set this to false"))
}

// onlyBuggy says whether all addresses of a range are IPv4 and end in .0 or .255.
func onlyBuggy(r ipam.Range) bool {
	return ipam.Buggy(r.From()) && ipam.Buggy(r.To()) && (r.From() == r.To() || r.From().Next() == r.To())
}
