package ipam

import (
	"net/netip"
	"slices"
)

// quota is what a pool's NamespaceQuota is counted by.
type quota struct {
	namespace string
	family    Family
}

// usedIn says whether a Service of the namespace uses the address.
func (h *holding) usedIn(namespace string) bool {
	return slices.ContainsFunc(h.users, func(u *service) bool { return u.req.Key.Namespace == namespace })
}

// count notes that a Service begins (+1) or has ceased (-1) to use an address of a pool with a quota. Others of its namespace
// may be concerned: an address that is shared within a namespace counts once.
func (a *Allocator) count(h *holding, s *service, n int) {
	ns := s.req.Key.Namespace
	if !h.usedIn(ns) {
		q := quota{ns, FamilyOf(h.addr)}
		if h.pool.given[q] += n; h.pool.given[q] == 0 {
			delete(h.pool.given, q)
		}
	}
	if n > 0 && s.req.SharingKey == "" {
		return
	}
	if a.recounted == nil {
		a.recounted = map[string]bool{}
	}
	a.recounted[ns] = true
}

// within says whether the pool's quota lets a Service have the address. One that another Service of its namespace has
// costs nothing, and what the Service itself has of the family would be given up for it.
func (a *Allocator) within(p *pool, addr netip.Addr, req *Request) bool {
	if p.NamespaceQuota == 0 {
		return true
	}
	others := func(h *holding) bool {
		return slices.ContainsFunc(h.users, func(u *service) bool {
			return u.req.Key.Namespace == req.Key.Namespace && u.req.Key != req.Key
		})
	}
	if h := a.held.of(addr); h != nil && others(h) {
		return true
	}
	n := p.given[quota{req.Key.Namespace, FamilyOf(addr)}]
	for _, own := range a.ownAddresses(req.Key) {
		if h := a.held.of(own); h != nil && h.pool == p && FamilyOf(own) == FamilyOf(addr) && h.usedBy(req.Key) && !others(h) {
			n--
		}
	}
	return n < p.NamespaceQuota
}

func (h *holding) usedBy(key Key) bool {
	return slices.ContainsFunc(h.users, func(u *service) bool { return u.req.Key == key })
}

// ownAddresses are those that a Service has and those that it is about to leave, each once.
func (a *Allocator) ownAddresses(key Key) []netip.Addr {
	var out []netip.Addr
	add := func(s *service) {
		for _, addr := range s.res.Addresses {
			if !slices.Contains(out, addr) {
				out = append(out, addr)
			}
		}
	}
	if s := a.services[key]; s != nil {
		add(s)
	}
	for _, g := range a.leaving[key] {
		add(g)
	}
	return out
}
