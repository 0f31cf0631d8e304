package ipam

import (
	"cmp"
	"net/netip"
	"time"
)

// Key names a Service.
type Key struct {
	Namespace, Name string
}

func (k Key) String() string { return k.Namespace + "/" + k.Name }

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// Family of an address.
type Family uint8

// The two families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

func (f Family) String() string {
	if f == IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// FamilyOf returns the family of a; an IPv4-mapped address is IPv4.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// Port that a Service occupies on its addresses. Protocol as in the Kubernetes API: TCP, UDP, SCTP.
type Port struct {
	Protocol string
	Number   int32
}

// Request is what a Service asks for. It is read-only once handed to the allocator.
type Request struct {
	Key Key
	// Created orders Services that want the same address, and those that wait: the older first, then by Key.
	Created time.Time
	// Families wanted, the primary first: one, or both.
	Families []Family
	// OneIsEnough accepts one of two Families where both cannot be had (PreferDualStack).
	OneIsEnough bool
	// KeepOnly is a request that cannot be read: the Service keeps what it has and is given nothing.
	KeepOnly bool
	// Addresses asked for, at most one of each family. Empty: any.
	Addresses []netip.Addr
	// Pool asked for by name. Empty: any that is open to automatic use.
	Pool string
	// SharingKey lets Services with the same key have the same address. Empty: the address is for this Service only.
	SharingKey string
	// BackendKey must be equal between Services that share an address: traffic cannot be sent to different nodes
	// for one address.
	BackendKey string
	// Ports occupied. Services that share an address have none in common.
	Ports []Port
	// Refused are the pools that are not meant for the Service, by name, each with the reason in words.
	Refused map[string]string
	// Reservations that are for the Service, by name, the one to be used first in front.
	Reservations []string
}

// Claim is a Request together with what the Service has been given before.
type Claim struct {
	Request
	// Held addresses, those of the Service's status.
	Held []netip.Addr
	// HeldFrom is the pool that they were given from, where known.
	HeldFrom string
}
