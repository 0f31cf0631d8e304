// Package config turns the resources that users write (IPAddressPool, AddressPool, L2Advertisement) into one Config,
// and says completely what is wrong with them. What is wrong is dropped and the rest stays, the same way each time, so
// that a restart changes nothing.
//
// It is pure: it imports api, apimachinery and ipam, no client, no clock, no logger.
package config

import (
	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/internal/ipam"
)

// Config is the compiled form of all configuration resources of one namespace. It is immutable: whoever has one may
// share it.
type Config struct {
	// Pools that are usable, sorted by name. One that is Incomplete may have no addresses at all.
	Pools []Pool
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
	// L2 are the advertisements of the pool's addresses by ARP and NDP.
	L2 []L2Advertisement
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
