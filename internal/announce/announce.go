// Package announce decides what a node announces: from a snapshot of everything that matters to what is desired, with a
// reason for each address of each Service. It is pure: no clock, no client, no logger; it imports config, election, l2 and bgp.
// What it decides is a function of the snapshot alone, so every speaker can compute what the others decide.
package announce

import (
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/l2"
)

// Snapshot is all that a plan depends on.
type Snapshot struct {
	Cluster
	// Services that are ours and have addresses, in any order.
	Services []Service
}

// Cluster is what the plans of all addresses depend on.
type Cluster struct {
	// Node that the plan is for. Empty: for none; nothing is announced then, and there is a reason for every address.
	Node string
	// Config is the compiled configuration.
	Config *config.Config
	// Nodes of the cluster, in any order.
	Nodes []Node
	// Members of the group of speakers, this one included where it is, in any order.
	Members []Member
	// Joined: this speaker knows the others, or that there are none. Before that it owns nothing.
	Joined bool
	// Interfaces of this node that can announce, by name.
	Interfaces []string
	// Addresses that this node itself holds.
	Addresses []netip.Addr
	// Parting: this node was told to announce nothing by ExcludeLabel just now, and asks its routers to use others before it
	// withdraws what it has told them. It means nothing while the node may announce.
	Parting bool
	// IgnoreExcludeLabel makes nodes with the label ExcludeLabel candidates like any other.
	IgnoreExcludeLabel bool
}

// Member is a node whose speaker is alive and ready, with what it claims of itself by gossip.
type Member struct {
	Node string
	// Interfaces that can announce, by name. None: it does not tell, as no speaker did at first, and counts as having all.
	Interfaces []string
	Delivery   Delivery
}

// Delivery is what a member says of kube-proxy on its node: whether what arrives there gets to endpoints.
type Delivery int8

// The deliveries. While a member does not tell, as no speaker did at first, what the others say of theirs counts for nothing:
// that one decides without it, and they must agree.
const (
	Untold Delivery = iota
	Delivering
	NotDelivering
)

// ExcludeLabel on a Node, with any value, keeps load balancers away from it (Kubernetes: well-known labels).
const ExcludeLabel = "node.kubernetes.io/exclude-from-external-load-balancers"

// Service is what matters of a Service.
type Service struct {
	// Name with namespace, as namespace/name.
	Name   string
	Labels labels.Set
	// Addresses of its status.
	Addresses []netip.Addr
	// Pool that the addresses were given from, as the controller recorded it; may be empty.
	Pool string
	// Local: externalTrafficPolicy is Local, so only a node with an endpoint can deliver.
	Local bool
	// Endpoints4 and Endpoints6 are those of each family: what arrives at an IPv6 address gets to IPv6 endpoints only.
	Endpoints4, Endpoints6 Endpoints
}

// Endpoints says where a Service has endpoints of a family that take traffic.
type Endpoints struct {
	// Any: there is at least one, on a node or elsewhere.
	Any bool
	// Nodes that have one, sorted by name.
	Nodes []string
}

// Equal reports whether both say the same.
func (e Endpoints) Equal(o Endpoints) bool { return e.Any == o.Any && slices.Equal(e.Nodes, o.Nodes) }

// Node is what matters of a Node. Whether it is Ready does not: its speaker is alive or it is not.
type Node struct {
	Name   string
	Labels labels.Set
	// Addresses of the node (type InternalIP).
	Addresses []netip.Addr
	// Cordoned: marked unschedulable. Such a node is taken only if there is no other; routers are asked to do the same.
	Cordoned bool
	// NetworkUnavailable: the condition of that name is true.
	NetworkUnavailable bool
}

// Desired is what a node is to announce. It may be kept and must not be changed.
type Desired struct {
	// L2 entries of this node, sorted by address.
	L2 []L2Entry
	// Why holds, sorted by address and Service, a line for each Service of each address that it is for this node to speak of:
	// those that it owns, and its share of those that nobody does, but for those of pools that are for routers only.
	Why []Why
	// BGP is what this node is to tell its routers.
	BGP BGP
	// Excluded says why this node may announce nothing at all though its speaker is there; empty: it may.
	Excluded string
	// Checks on the LAN that are for this node to make, sorted by address, and how many addresses there are in the cluster, by
	// which the checks of all nodes are paced.
	Checks    []Check
	Addresses int
}

// Check is an address for which somebody is asked on the LAN now and then: its owner should answer and nobody else. A node
// does not hear itself, so it is another one that checks: the one that would own the address next, or where there is none
// any with such an interface. The owner has each of its addresses in its own checks too, to look for others that answer.
type Check struct {
	Address netip.Addr
	Owner   string
	// Interfaces of this node to ask on, by name and sorted.
	Interfaces []string
	// Beside is an address of the owner itself: where it does not answer for that one either, it is on another LAN. Invalid:
	// none is known.
	Beside netip.Addr
}

// L2Entry is an entry with the Services that want it.
type L2Entry struct {
	l2.Entry
	// Services by name, sorted.
	Services []string
}

// Entries returns the entries without those who want them.
func (d Desired) Entries() []l2.Entry {
	out := make([]l2.Entry, len(d.L2))
	for i, e := range d.L2 {
		out[i] = e.Entry
	}
	return out
}

// Why says what became of an address of a Service on this node.
type Why struct {
	Service string
	Address netip.Addr
	// Owner is the node that announces the address; empty if none does.
	Owner string
	// Interfaces on which this node announces or, where it is the owner with NoInterface, should, by name and sorted; empty: all.
	Interfaces []string
	Reason     Reason
	// Message says it in words, and what to do where something can be done.
	Message string
}

// Reason is why an address is announced by this node or not.
type Reason string

// The reasons. Of two that hold, the first in this order is given.
const (
	// NotJoined: the speaker does not know the others yet.
	NotJoined Reason = "NotJoined"
	// NoPool: the address is in no pool, so nothing says how to announce it.
	NoPool Reason = "NoPool"
	// HeldByNode: a node has the address itself.
	HeldByNode Reason = "HeldByNode"
	// NoAdvertisement: no L2Advertisement of the pool is for the Service.
	NoAdvertisement Reason = "NoAdvertisement"
	// NoEndpoints: no endpoint takes traffic, and with externalTrafficPolicy Local none on a node that can be found.
	NoEndpoints Reason = "NoEndpoints"
	// NoNode: there is no node that may announce it.
	NoNode Reason = "NoNode"
	// NoInterface: none of those that may has one of the interfaces, or the owner does not, of which the others do not know.
	NoInterface Reason = "NoInterface"
	// OtherNode: another node announces it.
	OtherNode Reason = "OtherNode"
	// Announced: this node announces it.
	Announced Reason = "Announced"
)
