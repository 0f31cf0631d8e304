package ipam

import (
	"cmp"
	"maps"
	"math"
	"net/netip"
	"slices"
)

// oracle does what the allocator does, slowly and obviously: it lists every address of every pool and asks of each
// whether any other Service is in the way.
type oracle struct {
	pools    []Pool
	services map[Key]*oracleService
	// outside is the pool of each address that was adopted although its pool, Incomplete, does not list it.
	outside map[netip.Addr]string
	// ghosts are what Services are no longer given while their status may still show it.
	ghosts []*oracleService
}

type oracleService struct {
	req   Request
	addrs []netip.Addr
	ok    bool
}

func newOracle(pools []Pool, claims, leaving []Claim) *oracle {
	o := &oracle{services: map[Key]*oracleService{}, outside: map[netip.Addr]string{}}
	o.pools = slices.Clone(pools)
	slices.SortFunc(o.pools, func(a, b Pool) int {
		rank := func(p Pool) int {
			switch {
			case !p.Pinned:
				return math.MaxInt
			case p.Priority == 0:
				return math.MaxInt - 1
			}
			return p.Priority
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})
	claims, leaving = slices.Clone(claims), slices.Clone(leaving)
	slices.SortFunc(claims, func(a, b Claim) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Key.String(), b.Key.String()))
	})
	lost := map[Key]bool{}
	for _, c := range claims {
		s := &oracleService{req: c.Request}
		o.services[c.Key] = s
		for _, addr := range c.Held {
			twice := slices.ContainsFunc(s.addrs, func(b netip.Addr) bool { return b.Is4() == addr.Is4() })
			if twice || !o.adopt(s, addr, c.HeldFrom) {
				lost[c.Key] = true
				leaving = append(leaving, Claim{Request: c.Request, Held: []netip.Addr{addr}, HeldFrom: c.HeldFrom})
			}
		}
	}
	slices.SortStableFunc(leaving, func(a, b Claim) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Key.String(), b.Key.String()))
	})
	for _, c := range leaving {
		for _, addr := range c.Held {
			g := &oracleService{req: c.Request}
			if o.adopt(g, addr, c.HeldFrom) {
				o.ghosts = append(o.ghosts, g)
			}
		}
	}
	for _, c := range claims {
		o.settle(o.services[c.Key], c.Request, lost[c.Key])
	}
	o.serveWaiting()
	return o
}

func (o *oracle) adopt(s *oracleService, addr netip.Addr, heldFrom string) bool {
	if !o.usable(addr, s.req) {
		return false
	}
	if o.poolOf(addr) == nil {
		from := o.named(heldFrom)
		if from == nil || !from.Incomplete {
			return false
		}
		o.outside[addr] = from.Name
	}
	s.addrs = append(s.addrs, addr)
	return true
}

func (o *oracle) assign(req Request) {
	s := o.services[req.Key]
	if s == nil {
		s = &oracleService{}
		o.services[req.Key] = s
	}
	o.settle(s, req, false)
	o.serveWaiting()
}

func (o *oracle) release(key Key) {
	o.withdraw(key)
	o.written(key, nil)
}

func (o *oracle) withdraw(key Key) {
	if s := o.services[key]; s != nil {
		o.ghosts = append(o.ghosts, s)
		delete(o.services, key)
	}
}

func (o *oracle) written(key Key, shown []netip.Addr) {
	for _, g := range o.ghosts {
		if g.req.Key == key {
			g.addrs = slices.DeleteFunc(slices.Clone(g.addrs), func(a netip.Addr) bool {
				s := o.services[key]
				return !slices.Contains(shown, a) || s != nil && slices.Contains(s.addrs, a)
			})
		}
	}
	o.serveWaiting()
}

// serveWaiting tries everybody in order, from the front again after each change.
func (o *oracle) serveWaiting() {
	for changed := true; changed; {
		changed = false
		var all []*oracleService
		for _, s := range o.services {
			if !s.req.KeepOnly && (!s.ok || len(s.addrs) < len(s.req.Families)) {
				all = append(all, s)
			}
		}
		slices.SortFunc(all, func(a, b *oracleService) int {
			return cmp.Or(a.req.Created.Compare(b.req.Created), cmp.Compare(a.req.Key.String(), b.req.Key.String()))
		})
		for _, s := range all {
			before, ok := s.addrs, s.ok
			o.settle(s, s.req, false)
			if changed = ok != s.ok || !slices.Equal(before, s.addrs); changed {
				break
			}
		}
	}
}

func (o *oracle) settle(s *oracleService, req Request, lost bool) {
	var kept []netip.Addr
	for _, addr := range s.addrs {
		if (req.KeepOnly || slices.Contains(req.Families, FamilyOf(addr))) && o.usable(addr, req) {
			kept = append(kept, addr)
		}
	}
	lost = lost || len(kept) < len(s.addrs)
	got := o.wanted(req, s.addrs, kept, lost)
	ghost := &oracleService{req: s.req, addrs: s.addrs}
	s.req, s.ok = req, got != nil
	if got == nil {
		got = kept
	}
	s.addrs = slices.Clone(got)
	slices.SortFunc(s.addrs, netip.Addr.Compare)
	ghost.addrs = slices.DeleteFunc(slices.Clone(ghost.addrs), func(a netip.Addr) bool { return slices.Contains(s.addrs, a) })
	o.ghosts = append(o.ghosts, ghost)
}

// wanted returns what fulfils the request, nil where nothing does.
func (o *oracle) wanted(req Request, had, kept []netip.Addr, lost bool) []netip.Addr {
	if req.KeepOnly {
		return nil
	}
	if len(req.Addresses) > 0 {
		return o.wantedAddresses(req, kept)
	}
	var candidates []Pool
	for _, p := range o.pools {
		_, refused := req.Refused[p.Name]
		if !refused && (req.Pool == p.Name || req.Pool == "" && p.AutoAssign) {
			candidates = append(candidates, p)
		}
	}
	if req.Pool != "" {
		if o.named(req.Pool) == nil {
			return nil
		}
		kept = slices.DeleteFunc(slices.Clone(kept), func(a netip.Addr) bool {
			p := o.poolOf(a)
			return p != nil && p.Name != req.Pool
		})
	}
	if len(kept) == len(req.Families) {
		return kept
	}
	if len(kept) == 1 {
		p := *o.poolOf(kept[0])
		if _, refused := req.Refused[p.Name]; !refused {
			if got := o.allOf(p, req, kept); got != nil {
				return got
			}
		}
		if req.OneIsEnough && !lost {
			return kept
		}
	}
	if req.Pool == "" {
		ours := o.reserved(req)
		for _, r := range ours {
			got := o.allOf(*o.poolOf(r), req, kept)
			if slices.ContainsFunc(ours, func(a netip.Addr) bool { return slices.Contains(got, a) }) {
				return got
			}
		}
		if len(ours) > 0 && req.OneIsEnough && len(kept) == 0 {
			return ours[:1]
		}
	}
	for _, p := range candidates {
		if got := o.allOf(p, req, kept); got != nil {
			return got
		}
	}
	if !req.OneIsEnough || len(req.Families) == 1 {
		return nil
	}
	if len(kept) > 0 {
		return kept
	}
	for _, f := range req.Families {
		for _, p := range candidates {
			if addr := o.firstOf(p, f, req); addr.IsValid() {
				return []netip.Addr{addr}
			}
		}
	}
	return nil
}

func (o *oracle) wantedAddresses(req Request, kept []netip.Addr) []netip.Addr {
	pools := map[string]bool{}
	for _, addr := range req.Addresses {
		p, has := o.poolOf(addr), slices.Contains(kept, addr)
		if p == nil || !has && !slices.Contains(listAddresses(*p), addr) || req.Pool != "" && p.Name != req.Pool || !o.usable(addr, req) {
			return nil
		}
		if _, refused := req.Refused[p.Name]; refused && !has {
			return nil
		}
		pools[p.Name] = true
		if len(pools) > 1 && !has {
			return nil
		}
		if name := p.Reserved[addr]; !has && (name != "" && !slices.Contains(req.Reservations, name) || !o.within(*p, addr, req)) {
			return nil
		}
	}
	return req.Addresses
}

func (o *oracle) allOf(p Pool, req Request, kept []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, f := range req.Families {
		addr := o.firstOf(p, f, req)
		for _, k := range kept {
			if owner := o.poolOf(k); FamilyOf(k) == f && owner != nil && owner.Name == p.Name {
				addr = k
			}
		}
		if !addr.IsValid() {
			return nil
		}
		out = append(out, addr)
	}
	return out
}

func (o *oracle) firstOf(p Pool, f Family, req Request) netip.Addr {
	for _, name := range append(slices.Clone(req.Reservations), "") {
		for _, addr := range listAddresses(p) {
			if p.Reserved[addr] == name && FamilyOf(addr) == f && o.offered(p, addr, req) {
				return addr
			}
		}
	}
	return netip.Addr{}
}

func (o *oracle) offered(p Pool, addr netip.Addr, req Request) bool {
	return o.usable(addr, req) && o.found(addr, req) && o.within(p, addr, req)
}

// reserved lists what the Service could be given since it is reserved for it.
func (o *oracle) reserved(req Request) []netip.Addr {
	var out []netip.Addr
	for _, name := range req.Reservations {
		for _, p := range o.pools {
			if _, refused := req.Refused[p.Name]; refused {
				continue
			}
			for _, addr := range listAddresses(p) {
				if p.Reserved[addr] == name && slices.Contains(req.Families, FamilyOf(addr)) && o.offered(p, addr, req) {
					out = append(out, addr)
				}
			}
		}
	}
	return out
}

// within counts the addresses of the pool that other Services of the namespace have or are about to leave.
func (o *oracle) within(p Pool, addr netip.Addr, req Request) bool {
	theirs := map[netip.Addr]bool{}
	for _, s := range append(slices.Collect(maps.Values(o.services)), o.ghosts...) {
		if s.req.Key == req.Key || s.req.Key.Namespace != req.Key.Namespace {
			continue
		}
		for _, a := range s.addrs {
			if owner := o.poolOf(a); owner != nil && owner.Name == p.Name && FamilyOf(a) == FamilyOf(addr) {
				theirs[a] = true
			}
		}
	}
	return p.NamespaceQuota == 0 || theirs[addr] || len(theirs) < p.NamespaceQuota
}

// found says whether an address can be come across: one that is in use only by its sharing key, even if all who use it are the
// Service itself and what it is about to leave.
func (o *oracle) found(addr netip.Addr, req Request) bool {
	used, shared := false, false
	for _, s := range append(slices.Collect(maps.Values(o.services)), o.ghosts...) {
		if slices.Contains(s.addrs, addr) {
			used = true
			shared = shared || req.SharingKey != "" && s.req.SharingKey == req.SharingKey
		}
	}
	return !used || shared
}

// usable compares a request with every other Service that has the address, or is about to leave it.
func (o *oracle) usable(addr netip.Addr, req Request) bool {
	for _, g := range o.ghosts {
		if g.req.Key != req.Key && slices.Contains(g.addrs, addr) && !mayShare(req, g.req) {
			return false
		}
	}
	for key, s := range o.services {
		if key != req.Key && slices.Contains(s.addrs, addr) && !mayShare(req, s.req) {
			return false
		}
	}
	return true
}

func mayShare(a, b Request) bool {
	if a.SharingKey == "" || a.SharingKey != b.SharingKey || a.BackendKey != b.BackendKey {
		return false
	}
	for _, p := range a.Ports {
		for _, q := range b.Ports {
			if p == q {
				return false
			}
		}
	}
	return true
}

func (o *oracle) named(name string) *Pool {
	for i := range o.pools {
		if o.pools[i].Name == name {
			return &o.pools[i]
		}
	}
	return nil
}

func (o *oracle) poolOf(addr netip.Addr) *Pool {
	for i := range o.pools {
		if slices.Contains(listAddresses(o.pools[i]), addr) {
			return &o.pools[i]
		}
	}
	for _, s := range append(slices.Collect(maps.Values(o.services)), o.ghosts...) {
		if slices.Contains(s.addrs, addr) {
			return o.named(o.outside[addr])
		}
	}
	return nil
}

func listAddresses(p Pool) []netip.Addr {
	var out []netip.Addr
	for _, r := range p.Ranges {
		for a := r.From(); ; a = a.Next() {
			if b := a.AsSlice(); !p.AvoidBuggyIPs || !a.Is4() || (b[3] != 0 && b[3] != 255) {
				out = append(out, a)
			}
			if a == r.To() {
				break
			}
		}
	}
	return out
}
