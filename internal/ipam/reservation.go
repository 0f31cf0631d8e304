package ipam

import (
	"net/netip"
	"slices"
)

// reserve takes the reserved addresses from those that are free for all. One that the pool does not have to give is no
// matter until it has.
func (a *Allocator) reserve() {
	for _, p := range a.pools {
		var positions []position
		for addr := range p.Reserved {
			if at, ok := a.owner(addr); ok && at.pool == p {
				positions = append(positions, position{at.entry, addr})
			}
		}
		slices.SortFunc(positions, comparePositions)
		for _, at := range positions {
			p.space(FamilyOf(at.addr)).reserve(at)
			name := p.Reserved[at.addr]
			a.reserved[name] = append(a.reserved[name], poolAddress{at.addr, p})
		}
	}
}

// reserve removes a free address that is not in use.
func (s *space) reserve(p position) {
	s.take(p)
	s.used--
	s.reserved++
}

// reservedFor lists the addresses that are reserved for a Service, the one to be used first in front.
func (a *Allocator) reservedFor(req *Request) []poolAddress {
	var out []poolAddress
	for _, name := range req.Reservations {
		out = append(out, a.reserved[name]...)
	}
	return out
}

// obtainable says whether a Service can be given an address that is reserved for it.
func (a *Allocator) obtainable(r poolAddress, req *Request) bool {
	h := a.held.of(r.Addr)
	if h != nil && !slices.Contains(a.sharing[req.SharingKey], h) {
		return false
	}
	return a.open(r.Addr, req) && a.within(r.pool, r.Addr, req)
}

// fromReservations looks for the addresses of a request in the pools that have one reserved for it, which need not be
// open to all; nil means that there are none. An address that is reserved is worth more than a second family.
func (a *Allocator) fromReservations(req *Request, kept []netip.Addr) []netip.Addr {
	var ours []poolAddress
	for _, r := range a.reservedFor(req) {
		if _, refused := req.Refused[r.pool.Name]; !refused && slices.Contains(req.Families, FamilyOf(r.Addr)) && a.obtainable(r, req) {
			ours = append(ours, r)
		}
	}
	for _, r := range ours {
		got := a.complete(r.pool, req, kept)
		if slices.ContainsFunc(ours, func(o poolAddress) bool { return slices.Contains(got, o.Addr) }) {
			return got
		}
	}
	if len(ours) > 0 && req.OneIsEnough && len(kept) == 0 {
		return []netip.Addr{ours[0].Addr}
	}
	return nil
}
