package announce

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// why puts the decision on an address in the words of one of the Services that have it, for which less may hold than for
// the others.
func (c *cluster) why(u use, a netip.Addr, v verdict) Why {
	if v.reason != NotJoined && v.reason != HeldByNode {
		switch {
		case !u.inPool:
			v = verdict{reason: NoPool}
		case len(u.adverts) == 0:
			v = verdict{reason: NoAdvertisement}
		case !u.deliverable():
			v = verdict{reason: NoEndpoints}
		}
	}
	return Why{
		Service: u.service.Name, Address: a, Owner: v.owner, Interfaces: v.interfaces,
		Reason: v.reason, Message: c.message(u, a, v),
	}
}

func (c *cluster) message(u use, a netip.Addr, v verdict) string {
	switch v.reason {
	case NotJoined:
		return "the speaker on this node does not know the other speakers yet and waits for them"
	case NoPool:
		return fmt.Sprintf("no pool contains %s: add it to an IPAddressPool, or delete the Service and create it again to get another address", a)
	case HeldByNode:
		return fmt.Sprintf("%s is an address of node %s itself: take it out of the pool", a, c.holders[a])
	case NoAdvertisement:
		return fmt.Sprintf("no L2Advertisement is for the pool of %s and this Service: create one, or check its ipAddressPools and serviceSelectors", a)
	case NoEndpoints:
		return u.service.noEndpoints(a, "a node of the cluster")
	case NoNode:
		return "no node may announce it: " + c.obstacles(u)
	case NoInterface:
		switch {
		case v.owner != "" && len(v.interfaces) == 0:
			return fmt.Sprintf("node %s should announce %s and %s", v.owner, a, noInterface)
		case v.owner != "":
			return fmt.Sprintf("node %s should announce %s and does not have %s, which the other speakers are not told: select other nodes",
				v.owner, a, strings.Join(v.interfaces, ", "))
		}
		return fmt.Sprintf("no node that may announce it has the interface: %s; check the L2Advertisement's interfaces, or select other nodes", c.obstacles(u))
	case OtherNode:
		return fmt.Sprintf("node %s announces %s", v.owner, a)
	}
	if c.nodes[c.self].broken {
		return fmt.Sprintf("this node announces %s, since there is no other that may, and kube-proxy on it is not healthy, so that traffic may be lost: see the events of the Node, and kube-proxy", a)
	}
	return fmt.Sprintf("this node announces %s", a)
}

// noEndpoints says why nothing takes traffic for an address where it would enter.
func (s *Service) noEndpoints(a netip.Addr, where string) string {
	other := &s.Endpoints4
	if a.Is4() {
		other = &s.Endpoints6
	}
	switch {
	case s.Local && s.endpoints(a).Any:
		return "externalTrafficPolicy is Local and no endpoint that takes traffic is on " + where
	case other.Any:
		return fmt.Sprintf("the Service has endpoints that take traffic, but none for %s, which is of the other IP family: check its ipFamilies, and that its pods have addresses of both", a)
	default:
		return "the Service has no endpoint that takes traffic: check that its selector matches pods and that they are ready"
	}
}

// obstacle is what keeps a node from being a candidate.
type obstacle struct {
	// passed is how much the node has of what a candidate needs.
	passed int
	words  string
}

// obstacles says what keeps each node from being a candidate, of the nodes that come closest.
func (c *cluster) obstacles(u use) string {
	var all []obstacle
	for i := range c.nodes {
		if o := u.obstacle(&c.nodes[i], i); o.words != "" {
			all = append(all, obstacle{o.passed, c.nodes[i].Name + " " + o.words})
		}
	}
	if len(all) == 0 {
		return "the cluster has none"
	}
	slices.SortStableFunc(all, func(a, b obstacle) int { return cmp.Compare(b.passed, a.passed) })
	const most = 5
	var out []string
	for _, o := range all[:min(len(all), most)] {
		out = append(out, o.words)
	}
	if len(all) > most {
		out = append(out, fmt.Sprintf("and %d more", len(all)-most))
	}
	return strings.Join(out, "; ")
}

// obstacle says what keeps a node, the i-th, from announcing for a Service.
func (u *use) obstacle(n *node, i int) obstacle {
	var wanted []string
	selected, held := false, false
	for _, adv := range u.adverts {
		if adv.selects[i] {
			wanted = append(wanted, adv.Interfaces...)
		}
		selected, held = selected || adv.selects[i], held || adv.holds[i]
	}
	switch {
	case !selected:
		return obstacle{0, "is not selected by an L2Advertisement"}
	case !u.deliverableOn(n.Name):
		return obstacle{1, "has no endpoint (externalTrafficPolicy is Local)"}
	case n.unfit != "":
		return obstacle{2, n.unfit}
	case held:
		return obstacle{}
	case !n.has(nil):
		return obstacle{3, noInterface}
	default:
		return obstacle{3, "does not have " + strings.Join(slices.Compact(slices.Sorted(slices.Values(wanted))), ", ")}
	}
}
