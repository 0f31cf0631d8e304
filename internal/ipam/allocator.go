package ipam

import (
	"cmp"
	"net/netip"
	"slices"
)

// Allocator knows who holds which address and decides who gets which. It is not safe for concurrent use.
type Allocator struct {
	// pools in the order in which they are looked at.
	pools  []*pool
	byName map[string]*pool
	// auto are those of them that may be used without being asked for.
	auto []*pool
	// ranges of all pools, sorted: the pool of an address is a binary search.
	ranges   []poolRange
	held     holdings
	services map[Key]*service
	// leaving are the ghosts of Services whose status may still show an address that they are no longer given.
	leaving map[Key][]*service
	sharing sharing
	// reserved are the addresses of each reservation that a pool has, as they are used up.
	reserved map[string][]poolAddress
	// waiting for an address, or for a second one, the one to be served first in front.
	waiting []*service
	// asking counts those of the waiting that asked for certain addresses.
	asking int
	// touched are the addresses that somebody left since the waiting were last looked at.
	touched []netip.Addr
	// recounted are the namespaces that have other addresses of a pool with a quota since then.
	recounted map[string]bool
}

type poolRange struct {
	Range
	pool  *pool
	entry int
}

type poolAddress struct {
	netip.Addr
	pool *pool
}

// Rebuild makes an allocator from what is known. What Services hold is adopted before anything is given; who comes
// first where two hold the same address, and where not all can be served, is decided by creation time and name. So the
// order of pools and claims does not matter. Each Service has at most one claim, each pool a name of its own. Leaving is what
// the allocator before it said; nothing after a restart, when all that is known is what Services' status shows.
func Rebuild(pools []Pool, claims, leaving []Claim) *Allocator {
	a := &Allocator{
		byName:   make(map[string]*pool, len(pools)),
		held:     holdings{},
		services: make(map[Key]*service, len(claims)),
		leaving:  map[Key][]*service{},
		sharing:  sharing{},
		reserved: map[string][]poolAddress{},
	}
	for _, p := range pools {
		created := newPool(p)
		a.pools = append(a.pools, created)
		a.byName[p.Name] = created
		for i, r := range p.Ranges {
			a.ranges = append(a.ranges, poolRange{r, created, i})
		}
	}
	slices.SortFunc(a.pools, comparePools)
	a.auto = slices.DeleteFunc(slices.Clone(a.pools), func(p *pool) bool { return !p.AutoAssign })
	slices.SortFunc(a.ranges, func(x, y poolRange) int { return x.from.Compare(y.from) })
	a.reserve()

	claims = slices.Clone(claims)
	slices.SortFunc(claims, func(x, y Claim) int { return compareRequests(&x.Request, &y.Request) })
	lost := make([]bool, len(claims))
	leaving = slices.Clone(leaving)
	for i := range claims {
		s := &service{req: claims[i].Request}
		a.services[s.req.Key] = s
		if gone := a.adopt(s, &claims[i]); len(gone) > 0 {
			lost[i] = true
			leaving = append(leaving, Claim{Request: s.req, Held: gone, HeldFrom: claims[i].HeldFrom})
		}
	}
	a.adoptLeaving(leaving)
	for i := range claims {
		a.settle(a.services[claims[i].Key], &claims[i].Request, lost[i])
	}
	a.handOver()
	return a
}

func compareRequests(a, b *Request) int {
	return cmp.Or(a.Created.Compare(b.Created), compareKeys(a.Key, b.Key))
}

// Assign gives a Service what it asks for, as far as that can be had. What it has stays where the request allows it,
// and also where the request cannot be fulfilled: an address that works is worth more than none. What it no longer has is
// free once Written says so. The second result are other Services that were given an address because this one shares its
// address differently.
func (a *Allocator) Assign(req Request) (Result, []Key) {
	s := a.services[req.Key]
	if s == nil {
		s = &service{}
		a.services[req.Key] = s
	}
	a.settle(s, &req, false)
	return s.res, a.handOver()
}

// Release forgets a Service that is gone, and its status with it. The result are the Services that were given an address because of it.
func (a *Allocator) Release(key Key) []Key {
	a.Withdraw(key)
	return a.Written(key, nil)
}

// Lookup returns what came of the last request of a Service.
func (a *Allocator) Lookup(key Key) (Result, bool) {
	s := a.services[key]
	if s == nil {
		return Result{}, false
	}
	return s.res, true
}

// Claims returns all that is known of Services, in any order; Rebuild makes the same of it.
func (a *Allocator) Claims() []Claim {
	out := make([]Claim, 0, len(a.services))
	for _, s := range a.services {
		out = append(out, Claim{Request: s.req, Held: s.res.Addresses, HeldFrom: s.res.Pool})
	}
	return out
}

// Usage counts the addresses of a pool.
type Usage struct {
	Pool string
	// Size4, Size6 are how many can be given, Used4, Used6 how many are; the largest uint64 stands for that many and
	// more. An address that Services share counts once.
	Size4, Size6, Used4, Used6 uint64
	// Outside4, Outside6 are how many addresses Services keep from a pool that is Incomplete and no longer has them. They
	// are not among Used4 and Used6.
	Outside4, Outside6 uint64
	// Reserved4, Reserved6 are how many addresses nobody has, and only some may have.
	Reserved4, Reserved6 uint64
	// Services that have an address of the pool.
	Services int
}

// Usage counts the addresses of every pool.
func (a *Allocator) Usage() []Usage {
	out := make([]Usage, len(a.pools))
	for i, p := range a.pools {
		out[i] = Usage{
			Pool: p.Name, Size4: p.v4.size, Size6: p.v6.size, Used4: p.v4.used, Used6: p.v6.used,
			Outside4: p.v4.outside, Outside6: p.v6.outside, Reserved4: p.v4.reserved, Reserved6: p.v6.reserved,
			Services: p.services,
		}
	}
	return out
}

// adopt lets a Service have what it holds, at most one address of each family, as far as a pool still has it and nobody
// else does. It returns what is lost.
func (a *Allocator) adopt(s *service, c *Claim) (lost []netip.Addr) {
	for _, addr := range c.Held {
		addr = addr.Unmap()
		twice := slices.ContainsFunc(s.res.Addresses, func(b netip.Addr) bool { return FamilyOf(b) == FamilyOf(addr) })
		if twice || !a.hold(s, addr, c.HeldFrom) {
			lost = append(lost, addr)
			continue
		}
		s.res.Addresses = append(s.res.Addresses, addr)
	}
	return lost
}

// hold makes a service a user of an address that it holds by its own account, unless no pool has it or somebody is in the
// way.
func (a *Allocator) hold(s *service, addr netip.Addr, heldFrom string) bool {
	h := a.held.of(addr)
	if h == nil {
		at, ok := a.owner(addr)
		if from := a.byName[heldFrom]; !ok && from != nil && from.Incomplete {
			at, ok = poolRange{pool: from, entry: noEntry}, true
		}
		if !ok {
			return false
		}
		h = newHolding(addr, at)
	}
	if ok, _ := h.admits(&s.req); !ok {
		return false
	}
	a.add(h, s)
	return true
}

// settle decides on a request and carries it out. Lost says that the Service held more than was left to it.
func (a *Allocator) settle(s *service, req *Request, lost bool) {
	before := s.res.Addresses
	var kept []netip.Addr
	for _, addr := range before {
		wanted := req.KeepOnly || slices.Contains(req.Families, FamilyOf(addr))
		if wanted && a.open(addr, req) {
			kept = append(kept, addr)
		}
	}
	res := a.decide(req, kept, lost || len(kept) < len(before))
	sortByFamily(res.Addresses)
	var holdings [2]*holding // one address of each family
	for i, addr := range res.Addresses {
		h := a.place(addr)
		if i == 0 || h.outside() {
			res.Pool = h.pool.Name
		}
		holdings[i] = h
	}
	// Holdings are indexed by what their users asked for, so a user leaves before it asks for something else.
	changed := req.SharingKey != s.req.SharingKey || req.BackendKey != s.req.BackendKey || !slices.Equal(req.Ports, s.req.Ports)
	var left []netip.Addr
	for _, addr := range before {
		if !slices.Contains(res.Addresses, addr) {
			left = append(left, addr)
		} else if changed {
			a.drop(addr, s)
		}
	}
	a.leave(s, left)
	a.wait(s, false)
	a.move(s, res.Pool)
	s.req, s.res = *req, res
	for _, h := range holdings[:len(res.Addresses)] {
		a.add(h, s)
	}
	a.wait(s, !req.KeepOnly && (res.Reason != Assigned || len(res.Addresses) < len(req.Families)))
}

// move counts a Service with the pool that its addresses are from now; empty: it has none.
func (a *Allocator) move(s *service, to string) {
	if s.res.Pool == to {
		return
	}
	if p := a.byName[s.res.Pool]; p != nil {
		p.services--
	}
	if p := a.byName[to]; p != nil {
		p.services++
	}
}

// owner returns the pool that has the address to give.
func (a *Allocator) owner(addr netip.Addr) (poolRange, bool) {
	at, ok := a.containing(addr)
	if ok && at.pool.AvoidBuggyIPs && Buggy(addr) {
		return poolRange{}, false
	}
	return at, ok
}

// containing returns the pool in whose ranges the address is.
func (a *Allocator) containing(addr netip.Addr) (poolRange, bool) {
	i, found := slices.BinarySearchFunc(a.ranges, addr, func(r poolRange, addr netip.Addr) int { return r.from.Compare(addr) })
	if !found {
		i--
	}
	if i < 0 || !a.ranges[i].Contains(addr) {
		return poolRange{}, false
	}
	return a.ranges[i], true
}

// place returns the holding of an address that is in use, or about to be.
func (a *Allocator) place(addr netip.Addr) *holding {
	if h := a.held.of(addr); h != nil {
		return h
	}
	at, _ := a.owner(addr)
	return newHolding(addr, at)
}

// open says whether a Service with that request may have the address, as far as other Services matter.
func (a *Allocator) open(addr netip.Addr, req *Request) bool {
	h := a.held.of(addr)
	if h == nil {
		return true
	}
	ok, _ := h.admits(req)
	return ok
}

// add makes a Service a user of an address, unless it is one.
func (a *Allocator) add(h *holding, s *service) {
	if len(h.users) == 0 {
		a.held.put(h)
		switch space := h.pool.space(FamilyOf(h.addr)); {
		case h.outside():
			space.outside++
		case h.pool.Reserved[h.addr] != "":
			space.reserved--
			space.used++
		default:
			space.take(h.position)
		}
	}
	if slices.Contains(h.users, s) {
		return
	}
	if h.pool.NamespaceQuota > 0 {
		a.count(h, s, +1)
	}
	h.users = append(h.users, s)
	if s.req.SharingKey != "" {
		a.sharing.add(s.req.SharingKey, h)
	}
}

// drop makes a Service no longer a user of an address; with the last one the address is free.
func (a *Allocator) drop(addr netip.Addr, s *service) {
	h := a.held.of(addr)
	h.users = slices.DeleteFunc(h.users, func(u *service) bool { return u == s })
	a.touched = append(a.touched, addr)
	if !slices.ContainsFunc(h.users, func(u *service) bool { return u.req.SharingKey == s.req.SharingKey }) {
		a.sharing.remove(s.req.SharingKey, h)
	}
	if h.pool.NamespaceQuota > 0 {
		a.count(h, s, -1)
	}
	if len(h.users) > 0 {
		return
	}
	a.held.remove(addr)
	switch space := h.pool.space(FamilyOf(addr)); {
	case h.outside():
		space.outside--
	case h.pool.Reserved[addr] != "":
		space.reserved++
		space.used--
	default:
		space.give(h.position)
	}
}

// wait puts a Service among those that wait, or takes it from there.
func (a *Allocator) wait(s *service, waits bool) {
	if waits == s.waits {
		return
	}
	s.waits = waits
	if len(s.req.Addresses) > 0 && waits {
		a.asking++
	} else if len(s.req.Addresses) > 0 {
		a.asking--
	}
	i, _ := slices.BinarySearchFunc(a.waiting, s, func(x, y *service) int { return compareRequests(&x.req, &y.req) })
	if waits {
		a.waiting = slices.Insert(a.waiting, i, s)
	} else {
		a.waiting = slices.Delete(a.waiting, i, i+1)
	}
}

// handOver gives what has become free, or can be shared, to those that wait for it, the oldest first. It returns those for
// whom something changed. What they leave for it is not free yet, so once round is enough, but where a quota counts
// differently by it, which may concern some of those before them.
func (a *Allocator) handOver() []Key {
	var changed []Key
	for len(a.touched)+len(a.recounted) > 0 {
		touched, recounted := a.touched, a.recounted
		a.touched, a.recounted = nil, nil
		for _, s := range slices.Clone(a.waiting) {
			if a.asking == 0 && len(recounted) == 0 && !slices.ContainsFunc(touched, a.available) {
				break
			}
			concerned := func(addr netip.Addr) bool {
				return s.res.Fault != nil && addr == s.res.Fault.Address || a.open(addr, &s.req)
			}
			if !recounted[s.req.Key.Namespace] && !slices.ContainsFunc(touched, concerned) {
				continue
			}
			before := s.res
			a.settle(s, &s.req, false)
			if s.res.Equal(before) {
				continue
			}
			if !slices.Contains(changed, s.req.Key) {
				changed = append(changed, s.req.Key)
			}
		}
	}
	return changed
}

// available says whether anybody might still be given the address.
func (a *Allocator) available(addr netip.Addr) bool {
	h := a.held.of(addr)
	return h == nil || h.users[0].req.SharingKey != ""
}
