package ipam

import (
	"net/netip"
	"slices"
)

// decide chooses the addresses for a request, without giving them. Kept are those that the Service has and may go on
// having; lost says that it had more before.
func (a *Allocator) decide(req *Request, kept []netip.Addr, lost bool) Result {
	switch {
	case req.KeepOnly:
		return failed(kept, InvalidRequest, Fault{})
	case len(req.Addresses) > 0:
		return a.asked(req, kept)
	case req.Pool != "":
		return a.fromPool(req, kept)
	}
	if got := a.search(req, a.automatic(req), kept, lost); got != nil {
		return Result{Addresses: got, Reason: Assigned}
	}
	refusals := a.refusals(req)
	reason := NoPools
	if len(refusals) > 0 {
		reason = NoPoolForService
	}
	for _, r := range []Reason{PoolExhausted, QuotaReached} {
		if slices.ContainsFunc(refusals, func(refusal Refusal) bool { return refusal.Reason == r }) {
			reason = r
			break
		}
	}
	return failed(kept, reason, Fault{Refusals: refusals})
}

// failed is the result of a request that is not fulfilled.
func failed(kept []netip.Addr, reason Reason, fault Fault) Result {
	return Result{Addresses: kept, Reason: reason, Fault: &fault}
}

// asked serves a request for certain addresses.
func (a *Allocator) asked(req *Request, kept []netip.Addr) Result {
	if req.Pool != "" && a.byName[req.Pool] == nil {
		return failed(kept, PoolUnknown, Fault{})
	}
	var first *pool
	for _, addr := range req.Addresses {
		fault := Fault{Address: addr}
		has := slices.Contains(kept, addr)
		at, ok := a.owner(addr)
		from := at.pool
		if has {
			from, ok = a.place(addr).pool, true
		}
		if !ok {
			if within, avoided := a.containing(addr); avoided {
				fault.Pool = within.pool.Name
				return failed(kept, AddressAvoided, fault)
			}
			return failed(kept, AddressOutsidePools, fault)
		}
		fault.Pool = from.Name
		if req.Pool != "" && from.Name != req.Pool {
			return failed(kept, AddressNotInPool, fault)
		}
		if first != nil && from != first && !has {
			return failed(kept, AddressesInTwoPools, fault)
		}
		first = from
		if why, refused := req.Refused[from.Name]; refused && !has {
			fault.Refusals = []Refusal{{from.Name, PoolNotForService, why}}
			return failed(kept, PoolNotForService, fault)
		}
		if h := a.held.of(addr); h != nil {
			if ok, holder := h.admits(req); !ok {
				fault.Holder = holder
				return failed(kept, AddressInUse, fault)
			}
		}
		if has {
			continue
		}
		if name := from.Reserved[addr]; name != "" && !slices.Contains(req.Reservations, name) {
			fault.Reservation = name
			return failed(kept, AddressReserved, fault)
		}
		if !a.within(from, addr, req) {
			fault.Refusals = []Refusal{{Pool: from.Name, Reason: QuotaReached}}
			return failed(kept, QuotaReached, fault)
		}
	}
	return Result{Addresses: slices.Clone(req.Addresses), Reason: Assigned}
}

// fromPool serves a request for any address of a certain pool.
func (a *Allocator) fromPool(req *Request, kept []netip.Addr) Result {
	p := a.byName[req.Pool]
	if p == nil {
		return failed(kept, PoolUnknown, Fault{})
	}
	within := slices.DeleteFunc(slices.Clone(kept), func(addr netip.Addr) bool { return a.place(addr).pool != p })
	candidates := []*pool{p}
	why, refused := req.Refused[p.Name]
	if refused {
		candidates = nil
	}
	if got := a.search(req, candidates, within, false); got != nil {
		return Result{Addresses: got, Reason: Assigned}
	}
	r := Refusal{p.Name, PoolNotForService, why}
	if !refused {
		r = Refusal{Pool: p.Name, Reason: a.lacks(p, req)}
	}
	return failed(kept, r.Reason, Fault{Refusals: []Refusal{r}})
}

// search looks for the addresses of a request in the candidates, in their order; nil means that there are none.
// All addresses that it gives are from one pool.
func (a *Allocator) search(req *Request, candidates []*pool, kept []netip.Addr, lost bool) []netip.Addr {
	if len(kept) == len(req.Families) {
		return kept
	}
	if len(kept) == 1 {
		// The missing family is taken from the pool of the other, if that has it: then nothing moves.
		p := a.place(kept[0]).pool
		if _, refused := req.Refused[p.Name]; !refused {
			if got := a.complete(p, req, kept); got != nil {
				return got
			}
		}
		if req.OneIsEnough && !lost {
			return kept // it never had more, and does not move for more
		}
	}
	if req.Pool == "" {
		if got := a.fromReservations(req, kept); got != nil {
			return got
		}
	}
	for _, p := range candidates {
		if got := a.complete(p, req, kept); got != nil {
			return got
		}
	}
	switch {
	case len(req.Families) < 2 || !req.OneIsEnough:
		return nil
	case len(kept) > 0:
		return kept
	}
	for _, f := range req.Families {
		for _, p := range candidates {
			if addr, ok := a.fit(p, f, req); ok {
				return []netip.Addr{addr}
			}
		}
	}
	return nil
}

// complete returns an address of the pool for each family of the request, those of kept where they are of that pool;
// nil where one is missing.
func (a *Allocator) complete(p *pool, req *Request, kept []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, 0, len(req.Families))
	for _, f := range req.Families {
		i := slices.IndexFunc(kept, func(addr netip.Addr) bool { return FamilyOf(addr) == f && a.place(addr).pool == p })
		if i >= 0 {
			out = append(out, kept[i])
			continue
		}
		addr, ok := a.fit(p, f, req)
		if !ok {
			return nil
		}
		out = append(out, addr)
	}
	return out
}

// fit returns the address of the pool that is reserved for the Service, else the first that is free or that the Service
// may share.
func (a *Allocator) fit(p *pool, f Family, req *Request) (netip.Addr, bool) {
	for _, r := range a.reservedFor(req) {
		if r.pool == p && FamilyOf(r.Addr) == f && a.obtainable(r, req) {
			return r.Addr, true
		}
	}
	best, ok := p.space(f).first()
	ok = ok && a.within(p, best.addr, req)
	if req.SharingKey == "" {
		return best.addr, ok
	}
	for _, h := range a.sharing[req.SharingKey] {
		if h.pool != p || h.outside() || FamilyOf(h.addr) != f || ok && comparePositions(best, h.position) < 0 || p.Reserved[h.addr] != "" {
			continue
		}
		if admitted, _ := h.admits(req); admitted && a.within(p, h.addr, req) {
			best, ok = h.position, true
		}
	}
	return best.addr, ok
}

// automatic returns the pools that may be used without being asked for.
func (a *Allocator) automatic(req *Request) []*pool {
	if len(req.Refused) == 0 {
		return a.auto
	}
	return slices.DeleteFunc(slices.Clone(a.auto), func(p *pool) bool {
		_, refused := req.Refused[p.Name]
		return refused
	})
}

// refusals says of every pool why it does not serve the request.
func (a *Allocator) refusals(req *Request) []Refusal {
	out := make([]Refusal, len(a.pools))
	for i, p := range a.pools {
		why, refused := req.Refused[p.Name]
		switch {
		case refused:
			out[i] = Refusal{p.Name, PoolNotForService, why}
		case !p.AutoAssign:
			out[i] = Refusal{Pool: p.Name, Reason: NotAutomatic}
		default:
			out[i] = Refusal{Pool: p.Name, Reason: a.lacks(p, req)}
		}
	}
	return out
}

// lacks says what a pool lacks that has not the addresses for a request.
func (a *Allocator) lacks(p *pool, req *Request) Reason {
	for _, f := range req.Families {
		if p.space(f).size == 0 {
			return FamilyNotInPool
		}
	}
	for _, f := range req.Families {
		if first, ok := p.space(f).first(); ok && !a.within(p, first.addr, req) {
			return QuotaReached
		}
	}
	return PoolExhausted
}
