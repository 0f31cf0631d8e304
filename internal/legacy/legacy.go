// Package legacy reads the configuration that MetalLB had up to version 0.12, the YAML text in the ConfigMap "config",
// and turns it into today's resources. It says of everything that is wrong with the text in which line and at which key
// it stands. What the resources mean together is internal/config's to judge; its findings are traced back to the text.
//
// It is pure: no client, no clock, no logger. Passwords never appear in what it says; only a Secret holds them.
package legacy

import (
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/internal/bgp"
)

// Names of the ConfigMap and of the entry that holds the text.
const (
	ConfigMapName = "config"
	DataKey       = "config"
)

// Keys at the top of the text.
const (
	keyPeers         = "peers"
	keyPools         = "address-pools"
	keyCommunities   = "bgp-communities"
	keyProfiles      = "bfd-profiles"
	keyAutodiscovery = "peer-autodiscovery"
)

// Place is where something stands in the text.
type Place struct {
	// Line of the text, from 1; 0 where there is none.
	Line int
	// Key is the path, for instance address-pools[1].addresses[0].
	Key string
}

// Configuration is what the text says, in its order. What is wrong with it has been left out.
type Configuration struct {
	Peers       []Peer
	Communities []Community
	Profiles    []Profile
	Pools       []Pool

	// lines of every key that is there.
	lines map[string]int
}

// Peer is an entry of peers.
type Peer struct {
	// Key of the entry.
	Key string
	// MyASN and ASN are the AS numbers of the nodes and of the peer.
	MyASN, ASN uint32
	// Address of the peer; Source and RouterID are not valid where they are not given.
	Address, Source, RouterID netip.Addr
	// Port of the peer; 179 where none is given.
	Port uint16
	// HoldTime in whole seconds; 90 s where none is given.
	HoldTime time.Duration
	// KeepaliveTime; nil where none is given.
	KeepaliveTime *time.Duration
	// NodeSelectors: one match is enough. Empty: every node. SelectorKeys are their keys.
	NodeSelectors []metav1.LabelSelector
	SelectorKeys  []string
	// Password; empty where none is given.
	Password bgp.Password
	// BFDProfile by name; empty where none is given.
	BFDProfile string
	// MultiHop for an eBGP peer more than one hop away.
	MultiHop bool
}

// Community is an entry of bgp-communities.
type Community struct {
	Key, Name string
	Value     bgp.Community
}

// Profile is an entry of bfd-profiles; nil is what is not given. Intervals are in milliseconds.
type Profile struct {
	Key, Name                                           string
	ReceiveInterval, TransmitInterval, DetectMultiplier *uint32
	EchoInterval, MinimumTTL                            *uint32
	EchoMode, PassiveMode                               *bool
}

// Pool is an entry of address-pools.
type Pool struct {
	Key, Name string
	// BGP is the protocol; else it is layer 2.
	BGP bool
	// Addresses are ranges and prefixes as written.
	Addresses []Entry
	// AutoAssign is true where nothing is said.
	AutoAssign    bool
	AvoidBuggyIPs bool
	// Advertisements to all peers. None of a BGP pool: one with all defaults.
	Advertisements []Advertisement
}

// Entry is a text of a list.
type Entry struct {
	Key, Text string
}

// Advertisement is an entry of bgp-advertisements.
type Advertisement struct {
	Key string
	// Length4 and Length6 are the prefix lengths announced; 32 and 128 where none are given.
	Length4, Length6 int32
	// LocalPref is 0 where none is given.
	LocalPref uint32
	// Communities are aliases of bgp-communities, or literals; each value once.
	Communities []Entry
}

// place finds a key, or what is nearest above it.
func (c *Configuration) place(key string) Place {
	for k := key; ; k = parent(k) {
		if line := c.lines[k]; line > 0 || k == "" {
			return Place{Line: line, Key: key}
		}
	}
}
