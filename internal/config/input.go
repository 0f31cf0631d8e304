package config

import (
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/bgp"
)

// Input is all configuration of one namespace, in any order, and what is known of the cluster around it.
type Input struct {
	IPAddressPools    []v1beta1.IPAddressPool
	AddressPools      []v1beta1.AddressPool
	L2Advertisements  []v1beta1.L2Advertisement
	BGPAdvertisements []v1beta1.BGPAdvertisement
	BGPPeers          []v1beta2.BGPPeer
	BFDProfiles       []v1beta1.BFDProfile
	Communities       []v1beta1.Community

	// Now is the time by which what is limited in time counts; zero: it counts.
	Now time.Time

	// Secrets by name, those that peers refer to; one that is missing does not exist. Nil: it is not known which exist.
	Secrets map[string]Secret
	// Nodes of the cluster. Nil: they are not known, and any two peers are taken to share one.
	Nodes []Node
	// Node that the Config is for: peers and BGP advertisements that do not select it are left out, with whatever is wrong
	// with them. Empty: for all.
	Node string
}

// Node is what a configuration may match, or get in the way of, on one node.
type Node struct {
	Name   string
	Labels labels.Set
	// Addresses of the node itself.
	Addresses []netip.Addr
	// Subnets of its interfaces and Gateways of its default routes, where they are known.
	Subnets  []netip.Prefix
	Gateways []netip.Addr
}

// Secret is what a peer's passwordSecret refers to.
type Secret struct {
	// Type must be kubernetes.io/basic-auth.
	Type string
	// Password under the key "password"; empty where that is missing.
	Password bgp.Password
}
