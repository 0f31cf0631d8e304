package ipam

import (
	"net/netip"
	"slices"
)

// holding is an address in use, or one that is about to be and has no users yet.
type holding struct {
	position
	pool *pool
	// users share the address: Services, and ghosts of Services. All have the sharing key and the backend key of the first,
	// but for a Service and its own ghost.
	users []*service
	// first is where users begin: most addresses have one.
	first [1]*service
}

func newHolding(addr netip.Addr, at poolRange) *holding {
	h := &holding{position: position{at.entry, addr}, pool: at.pool}
	h.users = h.first[:0]
	return h
}

// service is a Service that the allocator knows, with what it asked for and what came of it.
type service struct {
	req   Request
	res   Result
	waits bool
}

// noEntry is the entry of an address that its pool, which is Incomplete, has in none of its ranges.
const noEntry = -1

func (h *holding) outside() bool { return h.entry == noEntry }

// admits says whether a Service with that request may use the address beside those that do; if not, beside whom not.
// The rules are those of sharing: equal keys, equal backends, no port in common.
func (h *holding) admits(req *Request) (bool, Key) {
	for _, u := range h.users {
		if u.req.Key == req.Key {
			continue
		}
		if req.SharingKey == "" || u.req.SharingKey != req.SharingKey || u.req.BackendKey != req.BackendKey || portsMeet(u.req.Ports, req.Ports) {
			return false, u.req.Key
		}
	}
	return true, Key{}
}

func portsMeet(a, b []Port) bool {
	return slices.ContainsFunc(a, func(p Port) bool { return slices.Contains(b, p) })
}

// sharing indexes the addresses in use by the sharing key of their users.
type sharing map[string][]*holding

func (s sharing) add(key string, h *holding) {
	if !slices.Contains(s[key], h) {
		s[key] = append(s[key], h)
	}
}

func (s sharing) remove(key string, h *holding) {
	list := s[key]
	i := slices.Index(list, h)
	if i < 0 {
		return
	}
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(s, key)
	} else {
		s[key] = list
	}
}

// sortByFamily sorts addresses, IPv4 first.
func sortByFamily(addrs []netip.Addr) {
	slices.SortFunc(addrs, netip.Addr.Compare) // shorter addresses first
}
