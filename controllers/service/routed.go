package service

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/config"
)

// ConditionAdvertisementConflict of a Service is True while two BGPAdvertisements contradict one another about an address of it,
// so that the nodes that both are for do not announce it by BGP. The reason is ConflictingAdvertisements, and the message says
// which two and what to do. There is none otherwise.
const ConditionAdvertisementConflict = "metallb.io/AdvertisementConflict"

// Reasons of ConditionAnnounced where BGP should announce the address.
const (
	// SessionDown: nodes would tell routers of the address, and their sessions with these are not up.
	SessionDown announce.Reason = "SessionDown"
	// FamilyNotCarried: the sessions are up, and prefixes of the address's family are not exchanged on them.
	FamilyNotCarried announce.Reason = "FamilyNotCarried"
	// NoNodeTells: there is no node that may tell a router of the address.
	NoNodeTells announce.Reason = "NoNodeTells"
)

// mostNamed is how many names, and how many groups of them, a message has. What changes among the others is not worth a write.
const mostNamed = 5

// several are things of a kind by name.
func several(one, many string, names []string) string {
	switch n := len(names); {
	case n == 1:
		return one + " " + names[0]
	case n > mostNamed:
		return many + " " + strings.Join(names[:mostNamed], ", ") + " and others"
	default:
		return many + " " + strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
}

// groups are nodes by what is so on them, in words; in the order in which they came.
type groups struct {
	words []string
	nodes map[string][]string
}

func (g *groups) add(words, node string) {
	if g.nodes == nil {
		g.nodes = map[string][]string{}
	}
	if _, ok := g.nodes[words]; !ok {
		g.words = append(g.words, words)
	}
	if nodes := g.nodes[words]; !slices.Contains(nodes, node) {
		g.nodes[words] = append(nodes, node)
	}
}

// telling is a prefix that a node tells routers of.
type telling struct {
	prefix netip.Prefix
	node   string
	peers  []string
}

// tellings are those of a Service, sorted.
func tellings(statuses []v1beta1.ServiceBGPStatus) (out []telling) {
	for i := range statuses {
		status := &statuses[i].Status
		for _, r := range status.Routes {
			if p, err := netip.ParsePrefix(r.Prefix); err == nil && len(r.Peers) > 0 {
				out = append(out, telling{p, status.Node, r.Peers})
			}
		}
	}
	slices.SortFunc(out, func(a, b telling) int {
		return cmp.Or(bgp.ComparePrefixes(a.prefix, b.prefix), slices.Compare(a.peers, b.peers), cmp.Compare(a.node, b.node))
	})
	return out
}

// routed says whether a router is told of an address.
func routed(all []telling, a netip.Addr) bool {
	return slices.ContainsFunc(all, func(t telling) bool { return t.prefix.Contains(a) })
}

// routing says who tells whom of prefixes around the addresses.
func routing(addresses []netip.Addr, all []telling) (sentences []string) {
	type told struct {
		prefix netip.Prefix
		peers  string
	}
	var order []told
	nodes := map[told][]string{}
	for _, t := range all {
		if !slices.ContainsFunc(addresses, t.prefix.Contains) {
			continue
		}
		k := told{t.prefix, several("BGPPeer", "BGPPeers", t.peers)}
		if nodes[k] == nil {
			order = append(order, k)
		}
		nodes[k] = append(nodes[k], t.node)
	}
	var same groups // prefixes that the same nodes tell the same routers of
	for _, k := range order {
		verb := " tell "
		if len(nodes[k]) == 1 {
			verb = " tells "
		}
		same.add(several("Node", "Nodes", nodes[k])+verb+k.peers, k.prefix.String())
	}
	for i, words := range same.words {
		if i == mostNamed {
			return append(sentences, "Other nodes tell other routers.")
		}
		sentences = append(sentences, words+" of "+strings.Join(same.nodes[words], " and ")+".")
	}
	return sentences
}

// contradiction is the condition ConditionAdvertisementConflict of a Service with these addresses; nil: there is none.
func contradiction(addresses []netip.Addr, statuses []v1beta1.ServiceBGPStatus) *metav1.Condition {
	var found groups
	slices.SortFunc(statuses, func(a, b v1beta1.ServiceBGPStatus) int { return cmp.Compare(a.Status.Node, b.Status.Node) })
	for i := range statuses {
		for _, p := range statuses[i].Status.Problems {
			a, err := netip.ParseAddr(p.Address)
			if err == nil && p.Message != "" && p.Reason == string(announce.Conflict) && slices.Contains(addresses, a) {
				found.add(p.Message, statuses[i].Status.Node)
			}
		}
	}
	if len(found.words) == 0 {
		return nil
	}
	var texts []string
	for _, words := range found.words[:min(len(found.words), mostNamed)] {
		texts = append(texts, sentence(words)+" Until then it is not announced by "+several("node", "nodes", found.nodes[words])+" to any router.")
	}
	return &metav1.Condition{
		Type: ConditionAdvertisementConflict, Status: metav1.ConditionTrue, Reason: string(announce.Conflict), Message: strings.Join(texts, " "),
	}
}

// routers is what is known of why routers are not told.
type routers struct {
	// nodes say what each of them would tell.
	nodes []announce.NodeRoutes
	// session of a node with a BGPPeer, as its speaker reports it; nil: it does not.
	session func(node, peer string) *v1beta1.BGPSessionStateStatus
	config  *config.Config
}

// lack says why nobody tells a router of an address.
func (r *routers) lack(a netip.Addr) lack {
	var down, contradicting groups
	var obstacles []string
	reason := NotReported
	for _, n := range r.nodes {
		if n.Address != a {
			continue
		}
		switch n.Reason {
		case announce.HeldByNode:
			return lack{n.Reason, sentence(n.Message)}
		case announce.Announced:
			for _, peer := range n.Peers() {
				why, words := r.why(n.Node, peer, a)
				down.add(words, n.Node)
				if reason == NotReported || why == SessionDown {
					reason = why
				}
			}
		case announce.Conflict:
			contradicting.add(n.Message, n.Node)
		default:
			obstacles = append(obstacles, n.Message)
		}
	}
	switch {
	case len(down.words) > 0:
		return lack{reason, fmt.Sprintf("No router is told of %s: %s.", a, down.list())}
	case len(contradicting.words) > 0:
		return lack{announce.Conflict, sentence(contradicting.words[0])}
	case len(obstacles) == 0:
		return lack{NoNodeTells, fmt.Sprintf("No node with a speaker is selected by a BGPAdvertisement for %s: check its nodeSelectors.", a)}
	}
	obstacles = slices.Compact(obstacles)
	if len(obstacles) == 1 && strings.HasPrefix(obstacles[0], "the Service ") {
		return lack{announce.NoEndpoints, sentence(obstacles[0])}
	}
	if len(obstacles) > mostNamed {
		obstacles = append(obstacles[:mostNamed], "and more")
	}
	return lack{NoNodeTells, fmt.Sprintf("No node may tell a router of %s: %s.", a, strings.Join(obstacles, "; "))}
}

// list says on which nodes what is so.
func (g *groups) list() string {
	var out []string
	for i, words := range g.words {
		if i == mostNamed {
			out = append(out, "and more")
			break
		}
		out = append(out, "on "+several("node", "nodes", g.nodes[words])+" "+words)
	}
	return strings.Join(out, "; ")
}

// why says why a peer is not told of an address by a node that would.
func (r *routers) why(node, peer string, a netip.Addr) (announce.Reason, string) {
	family := "IPv4"
	if a.Is6() {
		family = "IPv6"
	}
	i := slices.IndexFunc(r.config.Peers, func(p config.Peer) bool { return p.Name == peer })
	s := r.session(node, peer)
	switch {
	case s == nil:
		return NotReported, "nothing is reported of the session with BGPPeer " + peer
	case s.BGPStatus != string(bgp.Established) && s.LastError == "":
		return SessionDown, "the session with BGPPeer " + peer + " is not up yet"
	case s.BGPStatus != string(bgp.Established):
		return SessionDown, "the session with BGPPeer " + peer + " is down: " + s.LastError
	case i >= 0 && !r.config.Peers[i].DualStack && r.config.Peers[i].Address.Is4() != a.Is4():
		return FamilyNotCarried, fmt.Sprintf("the session with BGPPeer %s is not for %s: set dualStackAddressFamily, or create a BGPPeer with an %s address", peer, family, family)
	default:
		return FamilyNotCarried, fmt.Sprintf("the session with BGPPeer %s is up and exchanges no %s prefixes: activate that address family for it on the router, and see its lastError", peer, family)
	}
}
