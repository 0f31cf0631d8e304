package announce

import (
	"cmp"
	"net/netip"
	"slices"
)

// NodeRoutes is what a node is to tell its routers of an address.
type NodeRoutes struct {
	Node string
	BGPWhy
}

// Peers are the names of those that are to be told, sorted.
func (n NodeRoutes) Peers() []string {
	var out []string
	for _, r := range n.Routes {
		out = append(out, r.Peers...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// RoutesByNode says of each member what it is to tell its routers of the addresses of a Service, as it plans that itself, sorted by
// node and address. There is no line for a node that no BGPAdvertisement of the address is for. The Node of the cluster does not
// matter.
func RoutesByNode(c Cluster, s Service) (out []NodeRoutes) {
	c.Node = ""
	all := newBasis(&c)
	for _, n := range c.Nodes {
		if !slices.ContainsFunc(c.Members, func(m Member) bool { return m.Node == n.Name }) {
			continue
		}
		b := all
		b.node, b.self, b.excluded = n.Name, n, c.exclusion(n)
		r := newRouter(&b)
		for _, w := range r.settle(s.Name, &s, map[netip.Prefix]bool{}) {
			out = append(out, NodeRoutes{n.Name, w})
		}
	}
	slices.SortStableFunc(out, func(a, b NodeRoutes) int { return cmp.Or(cmp.Compare(a.Node, b.Node), a.Address.Compare(b.Address)) })
	return out
}
