package announce

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/election"
)

// equal reports whether two clusters are the same. The configuration is compiled anew when it changes.
func (c *Cluster) equal(o *Cluster) bool {
	return c.Node == o.Node && c.Config == o.Config && c.Joined == o.Joined && c.IgnoreExcludeLabel == o.IgnoreExcludeLabel &&
		slices.Equal(c.Interfaces, o.Interfaces) && slices.Equal(c.Addresses, o.Addresses) &&
		slices.EqualFunc(c.Members, o.Members, func(x, y Member) bool {
			return x.Node == y.Node && x.Delivery == y.Delivery && slices.Equal(x.Interfaces, y.Interfaces)
		}) &&
		slices.EqualFunc(c.Nodes, o.Nodes, func(x, y Node) bool {
			return x.Name == y.Name && x.Cordoned == y.Cordoned && x.NetworkUnavailable == y.NetworkUnavailable &&
				slices.Equal(x.Addresses, y.Addresses) && maps.Equal(x.Labels, y.Labels)
		})
}

// cluster is a Cluster with what follows from it for all addresses.
type cluster struct {
	Cluster
	nodes    []node // sorted by name
	self     int    // among nodes; -1: not there
	excluded string // of Desired
	// members as candidates for speaking of an address.
	members []election.Candidate
	holders map[netip.Addr]string
	adverts map[*config.L2Advertisement]*advert
	// Buffers of candidates, which runs for each address.
	found   []election.Candidate
	counted []*advert
}

// node is a Node with what its speaker claims.
type node struct {
	Node
	named election.Node
	// unfit says why it may announce nothing at all; empty: it may.
	unfit string
	// alive: it has a speaker.
	alive bool
	// interfaces that can announce, if it tells.
	tells      bool
	interfaces []string
	// broken: kube-proxy there delivers nothing. Such a node is taken only if there is no other.
	broken bool
}

// has reports whether the node has one of these interfaces or, with none, any.
func (n *node) has(names []string) bool {
	if !n.tells || len(names) == 0 {
		return !n.tells || len(n.interfaces) > 0
	}
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(n.interfaces, name) })
}

// advert is an advertisement with what it says of each of the cluster's nodes.
type advert struct {
	*config.L2Advertisement
	// selects the node; holds on it, because it also has one of the interfaces.
	selects, holds []bool
	weight         []int
}

func newCluster(c Cluster) *cluster {
	out := &cluster{Cluster: c, self: -1, holders: map[netip.Addr]string{}, adverts: map[*config.L2Advertisement]*advert{}}
	alive := map[string]Member{}
	allTell := !slices.ContainsFunc(c.Members, func(m Member) bool { return m.Delivery == Untold })
	for _, m := range c.Members {
		alive[m.Node] = m
		out.members = append(out.members, election.Candidate{Node: election.NewNode(m.Node)})
	}
	for _, n := range slices.SortedFunc(slices.Values(c.Nodes), func(a, b Node) int { return cmp.Compare(a.Name, b.Name) }) {
		for _, a := range n.Addresses {
			out.holders[a] = n.Name
		}
		m, ok := alive[n.Name]
		x := node{
			Node: n, named: election.NewNode(n.Name), unfit: c.exclusion(n), alive: ok, tells: len(m.Interfaces) > 0, interfaces: m.Interfaces,
			broken: allTell && m.Delivery == NotDelivering,
		}
		if n.Name == c.Node { // which it has it knows best, whether it tells is what gossip says
			out.self, out.excluded = len(out.nodes), x.unfit
			x.interfaces = c.Interfaces
		}
		switch {
		case !ok && n.Name == c.Node && len(c.Interfaces) == 0:
			x.unfit = noInterface
		case !ok:
			x.unfit = "has no live speaker"
		}
		out.nodes = append(out.nodes, x)
	}
	for _, a := range c.Addresses {
		out.holders[a] = c.Node
	}
	return out
}

// alive reports whether this node is a member.
func (c *cluster) alive() bool {
	return slices.ContainsFunc(c.Members, func(m Member) bool { return m.Node == c.Node })
}

const noInterface = "has no network interface that can announce"

// exclusion says what the Node itself has that keeps it from announcing anything; empty: nothing.
func (c *Cluster) exclusion(n Node) string {
	_, excluded := n.Labels[ExcludeLabel]
	switch {
	case n.NetworkUnavailable:
		return "has the condition NetworkUnavailable"
	case excluded && !c.IgnoreExcludeLabel:
		return "has the label " + ExcludeLabel
	default:
		return ""
	}
}

// advert evaluates an advertisement for each node, once.
func (c *cluster) advert(adv *config.L2Advertisement) *advert {
	out, ok := c.adverts[adv]
	if !ok {
		n := len(c.nodes)
		out = &advert{adv, make([]bool, n), make([]bool, n), make([]int, n)}
		for i := range c.nodes {
			n := &c.nodes[i]
			out.selects[i] = matches(adv.NodeSelectors, n.Labels)
			out.holds[i] = out.selects[i] && n.has(adv.Interfaces)
			for _, pref := range adv.Preferred {
				if pref.Selector.Matches(n.Labels) {
					out.weight[i] += pref.Weight
				}
			}
		}
		c.adverts[adv] = out
	}
	return out
}

// use is a Service that has an address.
type use struct {
	service *Service
	address netip.Addr
	inPool  bool
	routed  bool // the pool has advertisements for routers
	// adverts of the pool that are for the Service.
	adverts []*advert
}

func (c *cluster) use(s *Service, a netip.Addr) use {
	u := use{service: s, address: a}
	if c.Config == nil {
		return u
	}
	pool, ok := c.Config.PoolFor(a, s.Pool)
	if !ok {
		return u
	}
	u.inPool, u.routed = true, len(pool.BGP) > 0
	for i := range pool.L2 {
		if adv := &pool.L2[i]; matches(adv.ServiceSelectors, s.Labels) {
			u.adverts = append(u.adverts, c.advert(adv))
		}
	}
	return u
}

// matches reports whether one of the selectors matches, or there is none.
func matches(selectors []labels.Selector, set labels.Set) bool {
	return len(selectors) == 0 || slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s.Matches(set) })
}
