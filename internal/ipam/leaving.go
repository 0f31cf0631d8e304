package ipam

import (
	"net/netip"
	"slices"
)

// An address that a Service is no longer given is not free yet: its status shows the address until that is written, and
// a write may be lost. Until then the address is held by a ghost, a service of the same key with the request under which
// the address was given. Others meet it as they met the Service; the Service itself does not.

// adoptLeaving makes ghosts. An address that no pool has, or that somebody else has, is remembered all the same: pools may
// change again before it is gone from the status.
func (a *Allocator) adoptLeaving(leaving []Claim) {
	slices.SortStableFunc(leaving, func(x, y Claim) int { return compareRequests(&x.Request, &y.Request) })
	for _, c := range leaving {
		if len(c.Held) == 0 {
			continue
		}
		g := &service{req: c.Request, res: Result{Addresses: c.Held, Pool: c.HeldFrom}}
		for _, addr := range c.Held {
			a.hold(g, addr, c.HeldFrom)
		}
		a.leaving[c.Key] = append(a.leaving[c.Key], g)
	}
}

// leave makes a ghost the user of addresses in place of a Service.
func (a *Allocator) leave(s *service, addrs []netip.Addr) {
	if len(addrs) == 0 {
		return
	}
	g := &service{req: s.req, res: Result{Addresses: addrs}}
	for _, addr := range addrs {
		h := a.held.of(addr)
		h.users[slices.Index(h.users, s)] = g
		g.res.Pool = h.pool.Name
	}
	a.leaving[s.req.Key] = append(a.leaving[s.req.Key], g)
}

// Written says that the status of a Service shows these addresses and no others: all others that it had are free. The
// result are the Services that were given an address because of it.
func (a *Allocator) Written(key Key, shown []netip.Addr) []Key {
	ghosts := a.leaving[key]
	if len(ghosts) == 0 {
		return nil
	}
	var stay []*service
	for _, g := range ghosts {
		var left []netip.Addr
		for _, addr := range g.res.Addresses {
			if s := a.services[key]; slices.Contains(shown, addr) && (s == nil || !slices.Contains(s.res.Addresses, addr)) {
				left = append(left, addr)
			} else if h := a.held.of(addr); h != nil && slices.Contains(h.users, g) {
				a.drop(addr, g)
			}
		}
		if g.res.Addresses = left; len(left) > 0 {
			stay = append(stay, g)
		}
	}
	if a.leaving[key] = stay; len(stay) == 0 {
		delete(a.leaving, key)
	}
	return a.handOver()
}

// Withdraw forgets what a Service asks for, and gives it nothing any more. What its status shows is free once Written says
// so.
func (a *Allocator) Withdraw(key Key) {
	s := a.services[key]
	if s == nil {
		return
	}
	a.leave(s, s.res.Addresses)
	a.move(s, "")
	a.wait(s, false)
	delete(a.services, key)
}

// Leaves says whether a Service's status may show an address that it is no longer given.
func (a *Allocator) Leaves(key Key) bool { return len(a.leaving[key]) > 0 }

// Leaving returns what is no longer given and not free yet, in any order, for Rebuild. A Service may be among it more than
// once.
func (a *Allocator) Leaving() []Claim {
	var out []Claim
	for _, ghosts := range a.leaving {
		for _, g := range ghosts {
			out = append(out, Claim{Request: g.req, Held: g.res.Addresses, HeldFrom: g.res.Pool})
		}
	}
	return out
}
