package announce

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/election"
	"metallb.io/operator/internal/l2"
)

// Plan decides what the node announces. It is deterministic, and the order of what is in the snapshot does not matter.
// Each address is decided on its own: by all Services that have it together, and by nothing else.
func Plan(s Snapshot) Desired {
	p := newPlanner(s)
	var d Desired
	for _, a := range slices.SortedFunc(maps.Keys(p.users), netip.Addr.Compare) {
		v := p.decide(a)
		if v.reason == Announced {
			d.L2 = append(d.L2, L2Entry{Entry: l2.Entry{Address: a, Interfaces: v.interfaces}, Services: p.wanting(a)})
		}
		for _, u := range p.users[a] {
			d.Why = append(d.Why, p.why(u, a, v))
		}
	}
	slices.SortStableFunc(d.Why, func(x, y Why) int { return cmp.Compare(x.Service, y.Service) })
	return d
}

// planner holds what the decisions on all addresses have in common.
type planner struct {
	Snapshot
	// nodes that may announce anything at all, sorted by name, with the reasons of those that may not.
	nodes   []Node
	unfit   []string
	holders map[netip.Addr]string
	users   map[netip.Addr][]use
	adverts map[*config.L2Advertisement]*advert
	// Buffers of candidates, which runs for each address.
	found   []election.Candidate
	counted []*advert
}

// use is a Service that has an address.
type use struct {
	service *Service
	inPool  bool
	// adverts of the pool that are for the Service.
	adverts []*advert
}

// advert is an advertisement with what it says of each of the planner's nodes.
type advert struct {
	*config.L2Advertisement
	selects []bool
	weight  []int
}

func newPlanner(s Snapshot) *planner {
	p := &planner{
		Snapshot: s, holders: map[netip.Addr]string{}, users: map[netip.Addr][]use{},
		adverts: map[*config.L2Advertisement]*advert{},
	}
	alive := map[string]bool{}
	for _, m := range s.Members {
		alive[m] = true
	}
	for _, n := range slices.SortedFunc(slices.Values(s.Nodes), func(a, b Node) int { return cmp.Compare(a.Name, b.Name) }) {
		for _, a := range n.Addresses {
			p.holders[a] = n.Name
		}
		_, excluded := n.Labels[ExcludeLabel]
		switch {
		case !alive[n.Name]:
			p.unfit = append(p.unfit, n.Name+" has no live speaker")
		case n.NetworkUnavailable:
			p.unfit = append(p.unfit, n.Name+" has the condition NetworkUnavailable")
		case excluded && !s.IgnoreExcludeLabel:
			p.unfit = append(p.unfit, n.Name+" has the label "+ExcludeLabel)
		default:
			p.nodes = append(p.nodes, n)
		}
	}
	for _, a := range s.Addresses {
		p.holders[a] = s.Node
	}
	for i := range s.Services {
		svc := &s.Services[i]
		for _, a := range svc.Addresses {
			p.users[a] = append(p.users[a], p.use(svc, a))
		}
	}
	for _, us := range p.users {
		slices.SortFunc(us, func(a, b use) int { return cmp.Compare(a.service.Name, b.service.Name) })
	}
	return p
}

func (p *planner) use(svc *Service, a netip.Addr) use {
	u := use{service: svc}
	if p.Config == nil {
		return u
	}
	pool, ok := p.Config.PoolFor(a, svc.Pool)
	if !ok {
		return u
	}
	u.inPool = true
	for i := range pool.L2 {
		if adv := &pool.L2[i]; matches(adv.ServiceSelectors, svc.Labels) {
			u.adverts = append(u.adverts, p.advert(adv))
		}
	}
	return u
}

// advert evaluates an advertisement's selectors for each node, once.
func (p *planner) advert(adv *config.L2Advertisement) *advert {
	out, ok := p.adverts[adv]
	if !ok {
		out = &advert{adv, make([]bool, len(p.nodes)), make([]int, len(p.nodes))}
		for i, n := range p.nodes {
			out.selects[i] = matches(adv.NodeSelectors, n.Labels)
			for _, pref := range adv.Preferred {
				if pref.Selector.Matches(n.Labels) {
					out.weight[i] += pref.Weight
				}
			}
		}
		p.adverts[adv] = out
	}
	return out
}

// matches reports whether one of the selectors matches, or there is none.
func matches(selectors []labels.Selector, set labels.Set) bool {
	return len(selectors) == 0 || slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s.Matches(set) })
}

// verdict is what was decided for an address.
type verdict struct {
	reason     Reason
	owner      string
	interfaces []string
}

// decide goes through what an address needs, in the order of the reasons.
func (p *planner) decide(a netip.Addr) verdict {
	users := p.users[a]
	switch {
	case !p.Joined:
		return verdict{reason: NotJoined}
	case !slices.ContainsFunc(users, func(u use) bool { return u.inPool }):
		return verdict{reason: NoPool}
	case p.holders[a] != "":
		return verdict{reason: HeldByNode}
	case !slices.ContainsFunc(users, func(u use) bool { return len(u.adverts) > 0 }):
		return verdict{reason: NoAdvertisement}
	case !slices.ContainsFunc(users, func(u use) bool { return len(u.adverts) > 0 && u.service.deliverable() }):
		return verdict{reason: NoEndpoints}
	}
	owner, ok := election.Owner(a, p.candidates(users))
	switch {
	case !ok:
		return verdict{reason: NoNode}
	case owner != p.Node:
		return verdict{reason: OtherNode, owner: owner}
	}
	wanted := p.interfaces(users)
	present := slices.ContainsFunc(p.Interfaces, func(name string) bool { return l2.Entry{Interfaces: wanted}.On(name) })
	if !present {
		return verdict{reason: NoInterface, owner: owner, interfaces: wanted}
	}
	return verdict{reason: Announced, owner: owner, interfaces: wanted}
}

// deliverable reports whether there is a node that can deliver the Service's traffic.
func (s *Service) deliverable() bool {
	if s.Local {
		return len(s.Endpoints.Nodes) > 0
	}
	return s.Endpoints.Any
}

// deliverableOn reports whether traffic that enters at the node reaches an endpoint.
func (s *Service) deliverableOn(node string) bool {
	if !s.Local {
		return s.Endpoints.Any
	}
	_, ok := slices.BinarySearch(s.Endpoints.Nodes, node)
	return ok
}

// cordonPenalty is more than all weights of preferred nodes together.
const cordonPenalty = 1 << 30

// candidates are the nodes that may own an address. Services that share it wish together: a node is a candidate if one
// of them may be announced there, and what any of their advertisements prefers counts, an advertisement once. So all of
// them get the same owner.
func (p *planner) candidates(users []use) []election.Candidate {
	p.found = p.found[:0]
	for i, n := range p.nodes {
		ok, score := false, 0
		p.counted = p.counted[:0]
		for _, u := range users {
			delivers := u.service.deliverableOn(n.Name)
			for _, adv := range u.adverts {
				if !adv.selects[i] {
					continue
				}
				ok = ok || delivers
				if !slices.Contains(p.counted, adv) {
					p.counted = append(p.counted, adv)
					score += adv.weight[i]
				}
			}
		}
		if n.Cordoned {
			score -= cordonPenalty
		}
		if ok {
			p.found = append(p.found, election.Candidate{Node: n.Name, Score: score})
		}
	}
	return p.found
}

// interfaces are those of the advertisements that hold for this node; nil means all.
func (p *planner) interfaces(users []use) []string {
	self := slices.IndexFunc(p.nodes, func(n Node) bool { return n.Name == p.Node })
	var out []string
	for _, u := range users {
		if !u.service.deliverableOn(p.Node) {
			continue
		}
		for _, adv := range u.adverts {
			if !adv.selects[self] {
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
func (p *planner) wanting(a netip.Addr) []string {
	var out []string
	for _, u := range p.users[a] {
		if len(u.adverts) > 0 && u.service.deliverable() {
			out = append(out, u.service.Name)
		}
	}
	return out
}

// why puts the decision on an address in the words of one of the Services that have it, for which less may hold than for
// the others.
func (p *planner) why(u use, a netip.Addr, v verdict) Why {
	if v.reason != NotJoined && v.reason != HeldByNode {
		switch {
		case !u.inPool:
			v = verdict{reason: NoPool}
		case len(u.adverts) == 0:
			v = verdict{reason: NoAdvertisement}
		case !u.service.deliverable():
			v = verdict{reason: NoEndpoints}
		}
	}
	return Why{
		Service: u.service.Name, Address: a, Owner: v.owner, Interfaces: v.interfaces,
		Reason: v.reason, Message: p.message(u, a, v),
	}
}

func (p *planner) message(u use, a netip.Addr, v verdict) string {
	switch v.reason {
	case NotJoined:
		return "the speaker on this node does not know the other speakers yet and waits for them"
	case NoPool:
		return fmt.Sprintf("no pool contains %s: add it to an IPAddressPool, or delete the Service and create it again to get another address", a)
	case HeldByNode:
		return fmt.Sprintf("%s is an address of node %s itself: take it out of the pool", a, p.holders[a])
	case NoAdvertisement:
		return fmt.Sprintf("no L2Advertisement is for the pool of %s and this Service: create one, or check its ipAddressPools and serviceSelectors", a)
	case NoEndpoints:
		if u.service.Local && u.service.Endpoints.Any {
			return "externalTrafficPolicy is Local and no endpoint that takes traffic is on a node of the cluster"
		}
		return "the Service has no endpoint that takes traffic: check that its selector matches pods and that they are ready"
	case NoNode:
		return p.noNode(u)
	case OtherNode:
		return fmt.Sprintf("node %s announces %s", v.owner, a)
	case NoInterface:
		if len(v.interfaces) == 0 {
			return fmt.Sprintf("node %s should announce %s and has no network interface that can", p.Node, a)
		}
		return fmt.Sprintf("node %s should announce %s and has none of the interfaces %s: check the L2Advertisement's interfaces, or select other nodes",
			p.Node, a, strings.Join(v.interfaces, ", "))
	default:
		return fmt.Sprintf("this node announces %s", a)
	}
}

// noNode says what keeps each node from being a candidate.
func (p *planner) noNode(u use) string {
	why := slices.Clone(p.unfit)
	for i, n := range p.nodes {
		switch {
		case !slices.ContainsFunc(u.adverts, func(adv *advert) bool { return adv.selects[i] }):
			why = append(why, n.Name+" is not selected by an L2Advertisement")
		case !u.service.deliverableOn(n.Name):
			why = append(why, n.Name+" has no endpoint (externalTrafficPolicy is Local)")
		}
	}
	slices.Sort(why)
	const most = 5
	if len(why) > most {
		why = append(why[:most:most], fmt.Sprintf("and %d more", len(why)-most))
	}
	if len(why) == 0 {
		return "no node may announce it: the cluster has none"
	}
	return "no node may announce it: " + strings.Join(why, "; ")
}
