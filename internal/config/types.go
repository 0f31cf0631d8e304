// Package config turns the resources that users write (pools, advertisements, peers, BFD profiles, communities) into one
// Config, and says completely what is wrong with them. What is wrong is dropped and the rest stays, the same way each
// time, so that a restart changes nothing.
//
// It is pure: it imports api, apimachinery, ipam and bgp, no client, no clock, no logger.
package config

import (
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/ipam"
)

// Config is the compiled form of all configuration resources of one namespace. It is immutable: whoever has one may
// share it.
type Config struct {
	// Pools that are usable, sorted by name. One that is Incomplete may have no addresses at all.
	Pools []Pool
	// Peers that are usable, sorted by name; for a node, those that it opens a session with.
	Peers []Peer
}

// Pool is a compiled IPAddressPool or AddressPool.
type Pool struct {
	// Name by which Services and advertisements find the pool.
	Name string
	// Source is the resource that the pool was made from.
	Source Source
	// Addresses in the order of the specification; entries do not overlap, within the pool or with others.
	Addresses []ipam.Range
	// Incomplete says that something of the resource was dropped that may have held addresses. Services keep what they
	// have from this pool, even outside Addresses, until the resource is put right.
	Incomplete bool
	// AutoAssign is false for a pool that is used on request only.
	AutoAssign bool
	// AvoidBuggyIPs leaves out IPv4 addresses that end in .0 or .255.
	AvoidBuggyIPs bool
	// Allocation restricts the pool to some Services; nil: open to all.
	Allocation *Allocation
	// NamespaceQuota is how many addresses of each family the Services of one namespace may have; 0: any number.
	NamespaceQuota int
	// Reservations keep addresses for some Services, in the order of the specification; none has an address of another.
	Reservations []Reservation
	// Unadvertised says in words why nobody answers for the pool's addresses, on whatever node; empty: somebody does.
	Unadvertised string
	// L2 are the advertisements of the pool's addresses by ARP and NDP.
	L2 []L2Advertisement
	// BGP are the advertisements of the pool's addresses to peers.
	BGP []BGPAdvertisement
}

// Allocation is a compiled ServiceAllocation.
type Allocation struct {
	// Priority orders the pools that are meant for a Service: the lowest first, 0 last.
	Priority int
	// Namespaces by name; NamespaceSelectors by label. Both empty: every namespace.
	Namespaces         []string
	NamespaceSelectors []labels.Selector
	// ServiceSelectors choose Services by label, one match is enough. Empty: every Service.
	ServiceSelectors []labels.Selector
}

// Reservation is a compiled Reservation that counts.
type Reservation struct {
	// Addresses of the pool.
	Addresses []netip.Addr
	// Namespace of the Services, and the Name of the only one or a Selector. Empty, nil: all of the namespace.
	Namespace, Name string
	Selector        labels.Selector
	// Expires is when it no longer counts; zero: never.
	Expires time.Time
}

// L2Advertisement is a compiled L2Advertisement, or what an AddressPool of protocol layer2 implies.
type L2Advertisement struct {
	// Name of the resource.
	Name string
	// NodeSelectors: one match is enough. Empty: every node.
	NodeSelectors []labels.Selector
	// Preferred nodes and their weights.
	Preferred []PreferredNodes
	// ServiceSelectors: one match is enough. Empty: every Service.
	ServiceSelectors []labels.Selector
	// Interfaces by name. Empty: all.
	Interfaces []string
}

// PreferredNodes gives weight to the nodes that match.
type PreferredNodes struct {
	Selector labels.Selector
	// Weight from 1 to 100.
	Weight int
}

// Source names a resource.
type Source struct {
	// Kind, for instance IPAddressPool.
	Kind string
	// Name of the resource.
	Name string
}

// BGPAdvertisement is a compiled BGPAdvertisement, or what an AddressPool of protocol bgp implies.
type BGPAdvertisement struct {
	// Name of the resource; of several that one AddressPool implies each has the same.
	Name string
	// Length4 and Length6 are the lengths of the prefixes announced for an address.
	Length4, Length6 int
	bgp.Preference
	// Communities, sorted as written.
	Communities []bgp.Community
	// NodeSelectors: one match is enough. Empty: every node.
	NodeSelectors []labels.Selector
	// ServiceSelectors: one match is enough. Empty: every Service.
	ServiceSelectors []labels.Selector
	// Peers by name of the resource. Empty: all.
	Peers []string
}

// Peer is a compiled BGPPeer.
type Peer struct {
	// Name of the resource.
	Name string
	// MyASN is our AS number; LocalASN replaces it towards this peer, 0: it does not.
	MyASN, LocalASN uint32
	// ASN of the peer; 0 where Dynamic says what it may be.
	ASN     uint32
	Dynamic DynamicASN
	// Address of the peer, or the Interface over which its link-local address is found.
	Address   netip.Addr
	Interface string
	// Port of the peer.
	Port uint16
	// Source address of the session; not valid: the kernel chooses.
	Source netip.Addr
	// HoldTime of 0 is a session without keepalives. ConnectTime of 0 leaves the choice to the session.
	HoldTime, KeepaliveTime, ConnectTime time.Duration
	// RouterID is an IPv4 address; not valid: one of the node's.
	RouterID netip.Addr
	// NodeSelectors: one match is enough. Empty: every node.
	NodeSelectors []labels.Selector
	// Password of the session; empty: none.
	Password bgp.Password
	// BFD by which the path is watched; nil: none.
	BFD *BFDProfile
	// GracefulRestart (RFC 4724), MultiHop for an eBGP peer more than one hop away, DualStack for both families on this
	// session.
	GracefulRestart, MultiHop, DualStack bool
	// TTLSecurityHops is how many hops away the peer may be at most (RFC 5082); 0: TTLs are not looked at.
	TTLSecurityHops uint8
	// Passive: the peer opens the connection.
	Passive bool
	// VRF of the node; empty: the default one.
	VRF string
}

// DynamicASN says which AS number a peer may have: "", internal or external.
type DynamicASN string

// BFDProfile is a compiled BFDProfile, its defaults filled in.
type BFDProfile struct {
	// Name of the resource.
	Name string
	// Receive and Transmit are the intervals between packets.
	Receive, Transmit time.Duration
	// Multiplier is the number of packets that may be missed.
	Multiplier int
	// Passive as in RFC 5880, section 6.1.
	Passive bool
	// MinimumTTL of multihop packets.
	MinimumTTL int
}
