package announce

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/config"
)

// BGP is what this node is to tell its routers. There is no election: each node does that an advertisement is for.
type BGP struct {
	// Peers of this node, sorted by name.
	Peers []BGPPeer
	// Why has a line for each Service and address that an advertisement on this node is for, sorted by Service and address.
	Why []BGPWhy
	// Parting: all paths are told for a moment only, with graceful shutdown, as Cluster.Parting wants.
	Parting bool
}

// BGPPeer is a session of this node, with what the peer is to be told.
type BGPPeer struct {
	bgp.Wanted
	// BFD by which the path to the peer is watched; nil: none.
	BFD *config.BFDProfile
}

// BGPWhy says what became of an address of a Service on this node.
type BGPWhy struct {
	Service string
	Address netip.Addr
	// Routes by which the address is announced.
	Routes  []BGPRoute
	Reason  Reason
	Message string
}

// BGPRoute is a prefix with the names of the peers that are to be told, sorted.
type BGPRoute struct {
	Prefix netip.Prefix
	Peers  []string
}

// The reasons that there are for BGP alone. Of those of all, HeldByNode, NoEndpoints and Announced apply.
const (
	// NodeExcluded: this node may announce nothing.
	NodeExcluded Reason = "NodeExcluded"
	// Conflict: two advertisements want the same prefix with different preferences at the same peer.
	Conflict Reason = "ConflictingAdvertisements"
	// NoPeer: this node has no session with a peer that the advertisements are for.
	NoPeer Reason = "NoPeer"
)

// basis is what the routes of all Services depend on.
type basis struct {
	node     string
	config   *config.Config
	excluded string
	self     Node
	holders  map[netip.Addr]string
	// shutdown says why all paths are told with graceful shutdown; empty: they are not.
	shutdown string
	parting  bool
}

func newBasis(c *Cluster) basis {
	b := basis{node: c.Node, config: c.Config, holders: map[netip.Addr]string{}}
	for _, n := range c.Nodes {
		for _, a := range n.Addresses {
			b.holders[a] = n.Name
		}
		if n.Name == c.Node {
			b.self = n
			b.standing(c)
		}
	}
	for _, a := range c.Addresses {
		b.holders[a] = c.Node
	}
	return b
}

// standing says whether the node announces, and whether routers are asked to use others first. What has no network is gone at
// once; what is told to go parts first, if there was something.
func (b *basis) standing(c *Cluster) {
	b.excluded = c.exclusion(b.self)
	switch {
	case b.excluded != "" && c.Parting && !b.self.NetworkUnavailable:
		b.parting, b.shutdown, b.excluded = true, b.excluded+" and is about to withdraw it", ""
	case b.self.Cordoned:
		b.shutdown = "is cordoned"
	}
}

func (b *basis) equal(o *basis) bool {
	return b.node == o.node && b.config == o.config && b.excluded == o.excluded && b.shutdown == o.shutdown && maps.Equal(b.self.Labels, o.self.Labels) &&
		slices.Equal(b.self.Addresses, o.self.Addresses) && maps.Equal(b.holders, o.holders)
}

// peers are the sessions of the node.
func (b *basis) peers() []BGPPeer {
	var out []BGPPeer
	if b.config == nil || b.node == "" {
		return nil
	}
	for i := range b.config.Peers {
		p := &b.config.Peers[i]
		if matches(p.NodeSelectors, b.self.Labels) {
			out = append(out, b.peer(p))
		}
	}
	slices.SortFunc(out, func(a, b BGPPeer) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (b *basis) peer(p *config.Peer) BGPPeer {
	out := BGPPeer{BFD: p.BFD}
	out.Peer = bgp.Peer{
		Name: p.Name, LocalASN: cmp.Or(p.LocalASN, p.MyASN), ASN: p.ASN, Address: p.Address, Interface: p.Interface, Port: p.Port, Source: p.Source,
		Device: p.VRF, RouterID: p.RouterID, HoldTime: p.HoldTime, KeepaliveTime: p.KeepaliveTime, ConnectTime: p.ConnectTime,
		Password: p.Password, MultiHop: p.MultiHop, TTLSecurityHops: p.TTLSecurityHops, GracefulRestart: p.GracefulRestart, Passive: p.Passive,
		IPv4: p.DualStack || p.Address.Is4(), IPv6: p.DualStack || p.Address.Is6(),
	}
	if p.Dynamic == "internal" {
		out.ASN = out.LocalASN
	}
	if !out.RouterID.IsValid() {
		out.RouterID = b.routerID()
	}
	if p.Interface != "" { // the two ends know each other's link-local addresses, which do for both families
		out.Source, out.MultiHop, out.IPv4, out.IPv6 = netip.Addr{}, false, true, true
	}
	return out
}

// routerID is the node's first IPv4 address or, where it has none, a number made of its name (RFC 6286: it need not be an
// address, only differ within the AS).
func (b *basis) routerID() netip.Addr {
	for _, a := range b.self.Addresses {
		if a.Is4() {
			return a
		}
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(b.node))
	n := h.Sum32() | 1 // never 0.0.0.0
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// route is a BGPAdvertisement with the peers of this node that it is for.
type route struct {
	*config.BGPAdvertisement
	peers []string // sorted
	order int      // among those of its pool: several of an AddressPool have one name
}

// prefix around an address.
func (r *route) prefix(a netip.Addr) netip.Prefix {
	n := r.Length4
	if a.Is6() {
		n = r.Length6
	}
	p, _ := a.Prefix(n) // of a length that config has checked
	return p
}

func (r *route) tells(peer string) bool {
	_, ok := slices.BinarySearch(r.peers, peer)
	return ok
}

// routes are those of a pool that are for this node.
func (b *basis) routes(pool *config.Pool, peers []BGPPeer) []*route {
	var out []*route
	for i := range pool.BGP {
		adv := &pool.BGP[i]
		if !matches(adv.NodeSelectors, b.self.Labels) {
			continue
		}
		r := &route{BGPAdvertisement: adv, order: i}
		for _, p := range peers {
			if len(adv.Peers) == 0 || slices.Contains(adv.Peers, p.Name) {
				r.peers = append(r.peers, p.Name)
			}
		}
		out = append(out, r)
	}
	return out
}

// conflict returns two routes to the same peer that want different preferences for the prefix around an address.
func conflict(routes []*route, a netip.Addr) (x, y *route) {
	for i, x := range routes {
		for _, y := range routes[:i] {
			if x.Preference != y.Preference && x.prefix(a) == y.prefix(a) && slices.ContainsFunc(x.peers, y.tells) {
				return y, x
			}
		}
	}
	return nil, nil
}

// message says in words why an address is announced, or not.
func (b *basis) message(w BGPWhy, s *Service, routes []*route) string {
	switch w.Reason {
	case HeldByNode:
		return fmt.Sprintf("%s is an address of node %s itself: take it out of the pool", w.Address, b.holders[w.Address])
	case NodeExcluded:
		return fmt.Sprintf("node %s announces nothing, because it %s", b.node, b.excluded)
	case NoEndpoints:
		return s.noEndpoints(w.Address, "node "+b.node)
	case Conflict:
		x, y := conflict(routes, w.Address)
		var with []string
		for _, d := range x.Differences(y.Preference) {
			with = append(with, fmt.Sprintf("%s %s and %s", d.Attribute, d.A, d.B))
		}
		return fmt.Sprintf("BGPAdvertisements %s and %s announce %s to the same peer with %s: write the same in both, or give them different peers, nodes or Services",
			x.Name, y.Name, x.prefix(w.Address), strings.Join(with, ", "))
	case NoPeer:
		return fmt.Sprintf("node %s has no session with a peer that the BGPAdvertisements are for: check the nodeSelectors of the BGPPeers", b.node)
	}
	if b.shutdown != "" {
		return fmt.Sprintf("node %s announces it with graceful shutdown (RFC 8326), so that routers prefer other nodes, because it %s", b.node, b.shutdown)
	}
	return fmt.Sprintf("node %s announces it", b.node)
}
