package ipam

import (
	"net/netip"
	"slices"
)

// Reason says how a request came out, or why a pool was not used for it.
type Reason string

// Reasons of a Result.
const (
	// Assigned: the Service has what it asked for.
	Assigned Reason = "Assigned"
	// InvalidRequest: the request could not be read.
	InvalidRequest Reason = "InvalidRequest"
	// NoPools: there is no pool at all.
	NoPools Reason = "NoPools"
	// NoPoolForService: there are pools, but none is open to this Service without being asked for.
	NoPoolForService Reason = "NoPoolForService"
	// PoolExhausted: the pools that could be used have no address left.
	PoolExhausted Reason = "PoolExhausted"
	// PoolUnknown: there is no pool of the name asked for.
	PoolUnknown Reason = "PoolUnknown"
	// PoolNotForService: the pool asked for is not meant for this Service.
	PoolNotForService Reason = "PoolNotForService"
	// FamilyNotInPool: the pool asked for has no addresses of a family that the Service needs.
	FamilyNotInPool Reason = "FamilyNotInPool"
	// AddressOutsidePools: no pool has the address asked for.
	AddressOutsidePools Reason = "AddressOutsidePools"
	// AddressNotInPool: the address asked for is of another pool than the one asked for.
	AddressNotInPool Reason = "AddressNotInPool"
	// AddressesInTwoPools: the addresses asked for are of two pools.
	AddressesInTwoPools Reason = "AddressesInTwoPools"
	// AddressAvoided: the address asked for ends in .0 or .255, which its pool avoids.
	AddressAvoided Reason = "AddressAvoided"
	// AddressInUse: another Service has the address asked for and does not share it with this one.
	AddressInUse Reason = "AddressInUse"
	// AddressReserved: the address asked for is reserved for other Services.
	AddressReserved Reason = "AddressReserved"
	// QuotaReached: the pools that could be used have given the Service's namespace as many addresses as it may have.
	QuotaReached Reason = "QuotaReached"
)

// Reasons of a Refusal, besides PoolExhausted, PoolNotForService, FamilyNotInPool and QuotaReached.
const (
	// NotAutomatic: the pool is used on request only.
	NotAutomatic Reason = "NotAutomatic"
)

// Result is what came of a Request.
type Result struct {
	// Addresses that the Service has, IPv4 first. Where the request failed these are what it keeps from before.
	Addresses []netip.Addr
	// Pool that they are from. Where they are of two, since pools were edited, it is the one that must be remembered:
	// the one that no longer lists its address, else that of the first.
	Pool string
	// Reason is Assigned where the request is fulfilled.
	Reason Reason
	// Fault says more where it is not, and is nil where it is.
	Fault *Fault
}

// Fault is what kept a Request from being fulfilled.
type Fault struct {
	// Address asked for that is at fault, and its Pool's name, its Holder or its Reservation where they are the reason.
	Address     netip.Addr
	Pool        string
	Holder      Key
	Reservation string
	// Refusals tell of each pool why it was not used, in the order in which they were looked at.
	Refusals []Refusal
}

// Refusal tells why a pool was not used.
type Refusal struct {
	Pool   string
	Reason Reason
	// Detail in words, of a pool that is not meant for the Service.
	Detail string
}

// Equal says whether two results tell the same.
func (r Result) Equal(o Result) bool {
	return slices.Equal(r.Addresses, o.Addresses) && r.Pool == o.Pool && r.Reason == o.Reason && r.Fault.equal(o.Fault)
}

func (f *Fault) equal(o *Fault) bool {
	if f == nil || o == nil {
		return f == o
	}
	return f.Address == o.Address && f.Pool == o.Pool && f.Holder == o.Holder && f.Reservation == o.Reservation && slices.Equal(f.Refusals, o.Refusals)
}
