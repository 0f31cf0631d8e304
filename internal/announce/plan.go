package announce

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"metallb.io/operator/internal/l2"
)

// Plan decides what the node announces. It is deterministic, and the order of what is in the snapshot does not matter.
// Each address is decided on its own: by the cluster and all Services that have it together, and by nothing else.
func Plan(s Snapshot) Desired {
	return new(Planner).Plan(s.Cluster, s.Services)
}

// Planner plans one snapshot after the other, and decides anew only what there is a reason for: with the cluster all
// addresses, with a Service its own. What comes out is what Plan makes of the whole snapshot. The zero Planner has no
// Services and is ready.
type Planner struct {
	cluster  *cluster // nil before the first plan
	services map[string]*Service
	users    map[netip.Addr][]use // sorted by the Services' names
	outcomes []outcome            // sorted by address
	desired  Desired
	router   router
}

// outcome is what the decision on an address means for this node.
type outcome struct {
	address netip.Addr
	entry   *L2Entry // nil: not announced here
	why     []Why    // empty: not for this node to speak of
	check   *Check   // nil: not for this node to check
}

func (o outcome) matters() bool { return len(o.why) > 0 || o.check != nil }

// Plan decides what the node announces in the cluster as it is now, with the Services of the plan before and those that
// have changed since. One without addresses is one that has gone.
func (p *Planner) Plan(c Cluster, changed []Service) Desired {
	touched := map[netip.Addr]bool{}
	if p.cluster != nil && p.cluster.equal(&c) {
		for _, s := range changed {
			p.drop(s.Name, touched)
			p.keep(s)
			p.use(s.Name, touched)
		}
	} else {
		for _, s := range changed {
			p.keep(s)
		}
		p.cluster, p.users, p.outcomes = newCluster(c), make(map[netip.Addr][]use, len(p.services)), nil
		p.desired = Desired{Excluded: p.cluster.excluded}
		for name := range p.services {
			p.use(name, touched)
		}
	}
	different := false
	for _, a := range slices.SortedFunc(maps.Keys(touched), netip.Addr.Compare) {
		different = p.settle(a) || different
	}
	if different {
		p.desired = p.gather()
	}
	p.desired.Addresses = len(p.users)
	out := p.desired
	out.BGP = p.router.plan(&c, p.services, changed)
	return out
}

// gather puts together what has been decided. It is large, and made anew with each change: it takes no more room than it needs.
func (p *Planner) gather() Desired {
	entries, checks := 0, 0
	for i := range p.outcomes {
		if p.outcomes[i].entry != nil {
			entries++
		}
		if p.outcomes[i].check != nil {
			checks++
		}
	}
	out := Desired{
		L2: make([]L2Entry, 0, entries), Why: make([]Why, 0, len(p.outcomes)), Excluded: p.cluster.excluded, Checks: make([]Check, 0, checks),
	}
	for i := range p.outcomes {
		o := &p.outcomes[i]
		if o.entry != nil {
			out.L2 = append(out.L2, *o.entry)
		}
		out.Why = append(out.Why, o.why...)
		if o.check != nil {
			out.Checks = append(out.Checks, *o.check)
		}
	}
	return out
}

// Yields returns, of the addresses that this node answers, those that by the last plan another member is to announce: they may go
// on being answered until it does. A node that is no member itself yields nothing, since it cannot know whether another one
// has taken over. What nobody is to announce is not among them.
func (p *Planner) Yields(answered []l2.Entry) []l2.Entry {
	var out []l2.Entry
	if p.cluster == nil || !p.cluster.alive() {
		return out
	}
	for _, e := range answered {
		_, ours := slices.BinarySearchFunc(p.desired.L2, e.Address, func(e L2Entry, a netip.Addr) int { return e.Address.Compare(a) })
		if !ours && p.cluster.decide(e.Address, p.users[e.Address]).reason == OtherNode {
			e.Yielding = true
			out = append(out, e)
		}
	}
	return out
}

// keep remembers a Service, or forgets one without addresses.
func (p *Planner) keep(s Service) {
	if len(s.Addresses) == 0 {
		delete(p.services, s.Name)
		return
	}
	if p.services == nil {
		p.services = map[string]*Service{}
	}
	p.services[s.Name] = &s
}

// use makes a Service a user of its addresses, which are touched by that.
func (p *Planner) use(name string, touched map[netip.Addr]bool) {
	s, ok := p.services[name]
	if !ok {
		return
	}
	for _, a := range s.Addresses {
		touched[a] = true
		if i, there := find(p.users[a], name); !there {
			p.users[a] = slices.Insert(p.users[a], i, p.cluster.use(s, a))
		}
	}
}

// drop is the inverse.
func (p *Planner) drop(name string, touched map[netip.Addr]bool) {
	s, ok := p.services[name]
	if !ok {
		return
	}
	for _, a := range s.Addresses {
		touched[a] = true
		if i, there := find(p.users[a], name); there {
			p.users[a] = slices.Delete(p.users[a], i, i+1)
		}
		if len(p.users[a]) == 0 {
			delete(p.users, a)
		}
	}
}

func find(users []use, name string) (int, bool) {
	return slices.BinarySearchFunc(users, name, func(u use, name string) int { return cmp.Compare(u.service.Name, name) })
}

// settle decides on an address and reports whether that is anything to this node, or was.
func (p *Planner) settle(a netip.Addr) bool {
	i, there := slices.BinarySearchFunc(p.outcomes, a, func(o outcome, a netip.Addr) int { return o.address.Compare(a) })
	o := p.cluster.outcome(a, p.users[a])
	switch {
	case o.matters() && there:
		p.outcomes[i] = o
	case o.matters():
		p.outcomes = slices.Insert(p.outcomes, i, o)
	case there:
		p.outcomes = slices.Delete(p.outcomes, i, i+1)
	default:
		return false
	}
	return true
}
