package announce

import (
	"net/netip"
	"slices"

	"metallb.io/operator/internal/election"
	"metallb.io/operator/internal/l2"
)

// verdict is what was decided for an address.
type verdict struct {
	reason Reason
	owner  string
	// next would own the address without the owner; empty: nobody.
	next       string
	interfaces []string
}

// outcome decides on an address, and says what that means for this node.
func (c *cluster) outcome(a netip.Addr, users []use) outcome {
	o := outcome{address: a}
	v := c.decide(a, users)
	o.check = c.check(a, users, v)
	if !c.speaks(a, users, v) {
		return o
	}
	for _, u := range users {
		o.why = append(o.why, c.why(u, a, v))
	}
	if v.reason == Announced {
		o.entry = &L2Entry{Entry: l2.Entry{Address: a, Interfaces: v.interfaces}, Services: wanting(users)}
	}
	return o
}

// speaks reports whether it is for this node to speak of an address. Its owner does, and of one without an owner one of
// the members, elected like one. Where there is no member, a node without interfaces, which cannot be one, speaks; one
// that has them will be a member in a moment. What only routers are to be told of is nothing to speak of on the LAN.
func (c *cluster) speaks(a netip.Addr, users []use, v verdict) bool {
	switch {
	case c.Node == "", v.reason == NotJoined:
		return true
	case v.reason == NoAdvertisement && slices.ContainsFunc(users, func(u use) bool { return u.routed }):
		return false
	case v.owner != "":
		return v.owner == c.Node
	}
	speaker, ok := election.Owner(a, c.members)
	return ok && speaker == c.Node || !ok && len(c.Interfaces) == 0
}

// decide goes through what an address needs, in the order of the reasons.
func (c *cluster) decide(a netip.Addr, users []use) verdict {
	switch {
	case !c.Joined:
		return verdict{reason: NotJoined}
	case !slices.ContainsFunc(users, func(u use) bool { return u.inPool }):
		return verdict{reason: NoPool}
	case c.holders[a] != "":
		return verdict{reason: HeldByNode}
	case !slices.ContainsFunc(users, func(u use) bool { return len(u.adverts) > 0 }):
		return verdict{reason: NoAdvertisement}
	case !slices.ContainsFunc(users, func(u use) bool { return len(u.adverts) > 0 && u.deliverable() }):
		return verdict{reason: NoEndpoints}
	}
	first, second := election.Two(a, c.candidates(users, (*advert).holdsOn))
	switch {
	case first == nil && len(c.candidates(users, (*advert).selectsNode)) > 0:
		return verdict{reason: NoInterface}
	case first == nil:
		return verdict{reason: NoNode}
	}
	v := verdict{reason: OtherNode, owner: first.Node.Name()}
	if second != nil {
		v.next = second.Node.Name()
	}
	if v.owner != c.Node {
		return v
	}
	v.reason, v.interfaces = Announced, c.interfaces(users, c.self)
	if !slices.ContainsFunc(c.Interfaces, l2.Entry{Interfaces: v.interfaces}.On) {
		v.reason = NoInterface // the others count on any, since this node does not tell
	}
	return v
}

func (a *advert) selectsNode(i int) bool { return a.selects[i] }
func (a *advert) holdsOn(i int) bool     { return a.holds[i] }

// endpoints are those that traffic for an address gets to.
func (s *Service) endpoints(a netip.Addr) *Endpoints {
	if a.Is4() {
		return &s.Endpoints4
	}
	return &s.Endpoints6
}

// deliverable reports whether there is a node that can deliver the Service's traffic for an address.
func (s *Service) deliverable(a netip.Addr) bool {
	if s.Local {
		return len(s.endpoints(a).Nodes) > 0
	}
	return s.endpoints(a).Any
}

// deliverableOn reports whether traffic for an address that enters at the node reaches an endpoint.
func (s *Service) deliverableOn(node string, a netip.Addr) bool {
	if !s.Local {
		return s.endpoints(a).Any
	}
	_, ok := slices.BinarySearch(s.endpoints(a).Nodes, node)
	return ok
}

func (u *use) deliverable() bool              { return u.service.deliverable(u.address) }
func (u *use) deliverableOn(node string) bool { return u.service.deliverableOn(node, u.address) }

// A penalty is more than all weights of preferred nodes together. A node that is about to be emptied still does better than one
// that delivers nothing.
const (
	cordonPenalty = 1 << 29
	brokenPenalty = 1 << 30
)

// candidates are the nodes that may own an address, where the advertisements that count on a node are given. Services
// that share the address wish together: a node is a candidate if one of them may be announced there, and what any of their
// advertisements prefers counts, an advertisement once. So all of them get the same owner.
func (c *cluster) candidates(users []use, counts func(*advert, int) bool) []election.Candidate {
	c.found = c.found[:0]
	for i := range c.nodes {
		n := &c.nodes[i]
		if n.unfit != "" {
			continue
		}
		ok, score := false, 0
		c.counted = c.counted[:0]
		for _, u := range users {
			delivers := u.deliverableOn(n.Name)
			for _, adv := range u.adverts {
				if !counts(adv, i) {
					continue
				}
				ok = ok || delivers
				if !slices.Contains(c.counted, adv) {
					c.counted = append(c.counted, adv)
					score += adv.weight[i]
				}
			}
		}
		if n.Cordoned {
			score -= cordonPenalty
		}
		if n.broken {
			score -= brokenPenalty
		}
		if ok {
			c.found = append(c.found, election.Candidate{Node: n.named, Score: score})
		}
	}
	return c.found
}

// interfaces are those of the advertisements that hold on a node, the i-th; nil means all.
func (c *cluster) interfaces(users []use, i int) []string {
	var out []string
	for _, u := range users {
		if !u.deliverableOn(c.nodes[i].Name) {
			continue
		}
		for _, adv := range u.adverts {
			if !adv.holds[i] {
				continue
			}
			if len(adv.Interfaces) == 0 {
				return nil
			}
			out = append(out, adv.Interfaces...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// wanting names the Services that an entry is for: those that have an advertisement for the address.
func wanting(users []use) []string {
	var out []string
	for _, u := range users {
		if len(u.adverts) > 0 && u.deliverable() {
			out = append(out, u.service.Name)
		}
	}
	return out
}
