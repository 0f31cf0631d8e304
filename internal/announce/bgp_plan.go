package announce

import (
	"cmp"
	"net/netip"
	"slices"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/config"
)

// router plans what routers are told. Like the Planner, of which it is a part, it decides anew only what there is a reason
// for.
type router struct {
	basis *basis // nil before the first plan
	pools map[*config.Pool][]*route
	// claims are the routes that Services want, by their names; users are the Services that want a prefix, sorted.
	claims map[string][]claim
	users  map[netip.Prefix][]user
	peers  []BGPPeer
	why    []BGPWhy
	out    BGP
}

// claim is one route that a Service wants.
type claim struct {
	prefix netip.Prefix
	route  *route
}

// user of a prefix.
type user struct {
	service string
	route   *route
}

func compareUsers(a, b user) int {
	return cmp.Or(cmp.Compare(a.service, b.service), cmp.Compare(a.route.Name, b.route.Name), cmp.Compare(a.route.order, b.route.order))
}

func newRouter(b *basis) router {
	return router{basis: b, peers: b.peers(), pools: map[*config.Pool][]*route{}, claims: map[string][]claim{}, users: map[netip.Prefix][]user{}}
}

// plan decides, with the Services as they are and those that have changed.
func (r *router) plan(c *Cluster, services map[string]*Service, changed []Service) BGP {
	b := newBasis(c)
	touched := map[netip.Prefix]bool{}
	if r.basis != nil && r.basis.equal(&b) {
		different := false
		for i := range changed {
			name := changed[i].Name
			why := r.settle(name, services[name], touched)
			from, _ := slices.BinarySearchFunc(r.why, name, func(w BGPWhy, name string) int { return cmp.Compare(w.Service, name) })
			to := from
			for to < len(r.why) && r.why[to].Service == name {
				to++
			}
			if to > from || len(why) > 0 {
				r.why, different = slices.Replace(r.why, from, to, why...), true
			}
		}
		if !different {
			return r.out
		}
	} else {
		*r = newRouter(&b)
		for name, s := range services {
			r.why = append(r.why, r.settle(name, s, touched)...)
		}
		slices.SortFunc(r.why, func(a, b BGPWhy) int { return cmp.Or(cmp.Compare(a.Service, b.Service), a.Address.Compare(b.Address)) })
	}
	r.tell(touched)
	r.out = BGP{Peers: slices.Clone(r.peers), Why: slices.Clone(r.why), Parting: b.parting}
	return r.out
}

// settle decides on a Service, nil for one that has gone, and says what became of its addresses.
func (r *router) settle(name string, s *Service, touched map[netip.Prefix]bool) []BGPWhy {
	for _, c := range r.claims[name] {
		touched[c.prefix] = true
		users := r.users[c.prefix]
		if i, ok := slices.BinarySearchFunc(users, user{name, c.route}, compareUsers); ok {
			users = slices.Delete(users, i, i+1)
		}
		if r.users[c.prefix] = users; len(users) == 0 {
			delete(r.users, c.prefix)
		}
	}
	delete(r.claims, name)
	if s == nil {
		return nil
	}
	var out []BGPWhy
	for _, a := range slices.SortedFunc(slices.Values(s.Addresses), netip.Addr.Compare) {
		routes := r.routes(s, a)
		if len(routes) == 0 {
			continue
		}
		w := BGPWhy{Service: name, Address: a, Reason: r.basis.reason(s, a, routes)}
		if w.Reason == Announced {
			w.Routes = r.claim(name, a, routes, touched)
		}
		w.Message = r.basis.message(w, s, routes)
		out = append(out, w)
	}
	return out
}

// claim has the Service use the prefixes around an address. Two of its addresses may be in one prefix.
func (r *router) claim(name string, a netip.Addr, routes []*route, touched map[netip.Prefix]bool) (out []BGPRoute) {
	for _, route := range routes {
		if len(route.peers) == 0 {
			continue
		}
		prefix, u := route.prefix(a), user{name, route}
		touched[prefix] = true
		if i, ok := slices.BinarySearchFunc(r.users[prefix], u, compareUsers); !ok {
			r.users[prefix] = slices.Insert(r.users[prefix], i, u)
			r.claims[name] = append(r.claims[name], claim{prefix, route})
		}
		out = append(out, BGPRoute{prefix, route.peers})
	}
	return out
}

// routes are those by which an address of a Service would be announced here.
func (r *router) routes(s *Service, a netip.Addr) (out []*route) {
	if r.basis.config == nil || r.basis.node == "" {
		return nil
	}
	pool, ok := r.basis.config.PoolFor(a, s.Pool)
	if !ok || len(pool.BGP) == 0 {
		return nil
	}
	all, ok := r.pools[pool]
	if !ok {
		all = r.basis.routes(pool, r.peers)
		r.pools[pool] = all
	}
	for _, x := range all {
		if matches(x.ServiceSelectors, s.Labels) {
			out = append(out, x)
		}
	}
	return out
}

// reason goes through what an address needs, in order.
func (b *basis) reason(s *Service, a netip.Addr, routes []*route) Reason {
	x, _ := conflict(routes, a)
	switch {
	case b.holders[a] != "":
		return HeldByNode
	case b.excluded != "":
		return NodeExcluded
	case x != nil:
		return Conflict
	case !s.deliverableOn(b.node, a):
		return NoEndpoints
	case !slices.ContainsFunc(routes, func(r *route) bool { return len(r.peers) > 0 }):
		return NoPeer
	}
	return Announced
}

// tell brings the paths of all peers up to date for the prefixes that were touched.
func (r *router) tell(touched map[netip.Prefix]bool) {
	prefixes := make([]netip.Prefix, 0, len(touched))
	for p := range touched {
		prefixes = append(prefixes, p)
	}
	slices.SortFunc(prefixes, bgp.ComparePrefixes)
	for i := range r.peers {
		p := &r.peers[i]
		p.Paths = merge(p.Paths, prefixes, func(prefix netip.Prefix) (bgp.Path, bool) {
			out, wanted := path(prefix, r.users[prefix], p)
			out.Shutdown = r.basis.shutdown != ""
			return out, wanted
		})
	}
}

// path is what a peer is told of a prefix: all communities that its users want, and of their preferences the best.
func path(prefix netip.Prefix, users []user, p *BGPPeer) (bgp.Path, bool) {
	out := bgp.Path{Prefix: prefix}
	if !p.Carries(prefix.Addr()) {
		return out, false
	}
	found := false
	for _, u := range users {
		if u.route.tells(p.Name) {
			if found {
				out.Preference = out.Best(u.route.Preference)
			} else {
				out.Preference, found = u.route.Preference, true
			}
			out.Communities = append(out.Communities, u.route.Communities...)
		}
	}
	slices.SortFunc(out.Communities, bgp.CompareCommunities)
	out.Communities = slices.Compact(out.Communities)
	return out, found
}

// merge replaces the paths of some prefixes, sorted, in a list that is not changed; where nothing differs, it is returned.
func merge(paths []bgp.Path, prefixes []netip.Prefix, compose func(netip.Prefix) (bgp.Path, bool)) []bgp.Path {
	out := make([]bgp.Path, 0, len(paths)+len(prefixes))
	rest, different := paths, false
	for _, prefix := range prefixes {
		i, there := slices.BinarySearchFunc(rest, prefix, func(p bgp.Path, to netip.Prefix) int { return bgp.ComparePrefixes(p.Prefix, to) })
		out = append(out, rest[:i]...)
		made, wanted := compose(prefix)
		different = different || wanted != there || there && !made.Equal(rest[i])
		if wanted {
			out = append(out, made)
		}
		if there {
			i++
		}
		rest = rest[i:]
	}
	if !different {
		return paths
	}
	return append(out, rest...)
}
