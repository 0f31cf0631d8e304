package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/l2/check"
)

// ConditionAddressConflict of a Service is True while others have an address of it too, as the speaker that announces it has
// found on the LAN; the reasons are those of package check, and the message says who and what to do. There is none otherwise.
const ConditionAddressConflict = "metallb.io/AddressConflict"

// ConditionAnnounced of a Service is True while each of its addresses is announced by a node: that node's speaker says so in
// a ServiceL2Status or a ServiceBGPStatus. It is False where something keeps it from that; the reasons are those of package
// announce and the ones here and in routed.go. There is none while nothing is known.
const ConditionAnnounced = "metallb.io/Announced"

// Reasons of ConditionAnnounced besides those of package announce.
const (
	// NotReported: a node could announce the address, and none says that it does.
	NotReported announce.Reason = "NotReported"
	// NotAnswered: a node says that it announces the address, and its answers do not arrive when another node asks.
	NotAnswered = announce.Reason(check.NotAnswered)
	// NoSpeaker: there is no speaker at all.
	NoSpeaker announce.Reason = "NoSpeaker"
	// NoPeer: the pool is announced by BGP only, and there is no router to tell.
	NoPeer = announce.NoPeer
)

// claim is what a node's speaker says of an address.
type claim struct {
	node       string
	interfaces []v1beta1.InterfaceInfo
	// problems of this address.
	problems []v1beta1.AddressProblem
}

// unanswered returns the problem that nobody hears the answers, if there is one.
func (c claim) unanswered() (v1beta1.AddressProblem, bool) {
	i := slices.IndexFunc(c.problems, func(p v1beta1.AddressProblem) bool { return p.Reason == string(NotAnswered) })
	if i < 0 {
		return v1beta1.AddressProblem{}, false
	}
	return c.problems[i], true
}

// claims says by whom each address of a Service is announced. Of two that say so, one is late to take it back, or dead: the
// one that began last has it.
func claims(statuses []v1beta1.ServiceL2Status) map[netip.Addr]claim {
	slices.SortFunc(statuses, func(a, b v1beta1.ServiceL2Status) int {
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	out := map[netip.Addr]claim{}
	for i := range statuses {
		status := &statuses[i].Status
		for _, text := range status.Addresses {
			if a, err := netip.ParseAddr(text); err == nil {
				c := claim{node: status.Node, interfaces: status.Interfaces}
				for _, p := range status.Problems {
					if p.Address == text {
						c.problems = append(c.problems, p)
					}
				}
				out[a.Unmap()] = c
			}
		}
	}
	return out
}

// lack is why an address is not announced.
type lack struct {
	reason  announce.Reason
	message string
}

// lackOf puts what a plan says of an address in the words of the condition. Where BGP should announce it, what is known of
// routers counts; without, it is not known why nobody does.
func lackOf(w announce.Why, svc *announce.Service, cfg *config.Config, by *routers) (l lack, known bool) {
	out := lack{w.Reason, sentence(w.Message)}
	if w.Reason == announce.OtherNode {
		out.reason = NotReported
		out.message = fmt.Sprintf("No node says that it announces %s, though node %s could: see the events of this Service, which tell of missing network interfaces, and the logs of the speakers.", w.Address, w.Owner)
	}
	switch out.reason {
	case announce.NoAdvertisement, announce.NoNode, announce.NoInterface, NotReported:
	default:
		return out, true // no protocol helps
	}
	pool, ok := cfg.PoolFor(w.Address, svc.Pool)
	switch {
	case !ok || !slices.ContainsFunc(pool.BGP, func(adv config.BGPAdvertisement) bool { return selected(adv.ServiceSelectors, svc.Labels) }):
	case len(cfg.Peers) == 0 && out.reason == announce.NoAdvertisement:
		out.reason = NoPeer
		out.message = fmt.Sprintf("Pool %s is announced by BGP only and there is no BGPPeer, so no router is told of %s: create a BGPPeer for each router.", pool.Name, w.Address)
	case len(cfg.Peers) > 0 && by == nil:
		return out, false
	case len(cfg.Peers) > 0:
		onLAN := out
		if out = by.lack(w.Address); onLAN.reason != announce.NoAdvertisement {
			out.message += " On the LAN nobody answers: " + onLAN.message
		}
	}
	return out, true
}

// selected says whether one of the selectors matches, or there is none.
func selected(selectors []labels.Selector, set labels.Set) bool {
	return len(selectors) == 0 || slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s.Matches(set) })
}

// sentence makes one of a message.
func sentence(text string) string {
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// configured says of the addresses that cannot be announced, whatever nodes and endpoints there are, why not.
func configured(svc announce.Service, cfg *config.Config) map[netip.Addr]lack {
	out := map[netip.Addr]lack{}
	if !slices.ContainsFunc(svc.Addresses, func(a netip.Addr) bool {
		pool, ok := cfg.PoolFor(a, svc.Pool)
		return !ok || !slices.ContainsFunc(pool.L2, func(adv config.L2Advertisement) bool { return selected(adv.ServiceSelectors, svc.Labels) })
	}) {
		return out // mostly; a plan says the same, and takes longer
	}
	s := announce.Snapshot{Services: []announce.Service{svc}}
	s.Config, s.Joined = cfg, true
	for _, w := range announce.Plan(s).Why {
		if w.Reason == announce.NoPool || w.Reason == announce.NoAdvertisement {
			if l, known := lackOf(w, &svc, cfg, nil); known {
				out[w.Address] = l
			}
		}
	}
	return out
}

// announced is the condition of a Service with these addresses; nil while it is not known of each whether it is announced.
func announced(addresses []netip.Addr, by map[netip.Addr]claim, told []telling, lacks map[netip.Addr]lack) *metav1.Condition {
	out := &metav1.Condition{Type: ConditionAnnounced, Status: metav1.ConditionTrue, Reason: string(announce.Announced)}
	var texts []string
	for _, a := range addresses {
		if c, ok := by[a]; ok {
			if p, bad := c.unanswered(); bad {
				texts = append(texts, sentence(p.Message))
				out.Status, out.Reason = metav1.ConditionFalse, string(NotAnswered)
				continue
			}
			if text := answering(addresses, by, c); !slices.Contains(texts, text) {
				texts = append(texts, text)
			}
			continue
		}
		if routed(told, a) {
			continue
		}
		l, ok := lacks[a]
		if !ok {
			return nil
		}
		if !slices.Contains(texts, l.message) {
			texts = append(texts, l.message)
		}
		if out.Status == metav1.ConditionTrue {
			out.Status, out.Reason = metav1.ConditionFalse, string(l.reason)
		}
	}
	out.Message = strings.Join(append(texts, routing(addresses, told)...), " ")
	return out
}

// conflict is the condition ConditionAddressConflict of a Service with these addresses; nil: there is no conflict.
func conflict(addresses []netip.Addr, by map[netip.Addr]claim) *metav1.Condition {
	var out *metav1.Condition
	for _, a := range addresses {
		for _, p := range by[a].problems {
			switch {
			case p.Reason == string(NotAnswered): // of that tells ConditionAnnounced
			case out == nil:
				out = &metav1.Condition{Type: ConditionAddressConflict, Status: metav1.ConditionTrue, Reason: p.Reason, Message: sentence(p.Message)}
			default:
				out.Message += " " + sentence(p.Message)
			}
		}
	}
	return out
}

// answering says which of the addresses a node announces in the same way as one of them.
func answering(addresses []netip.Addr, by map[netip.Addr]claim, c claim) string {
	var same []netip.Addr
	for _, a := range addresses {
		o, ok := by[a]
		if _, bad := o.unanswered(); ok && !bad && o.node == c.node && slices.Equal(o.interfaces, c.interfaces) {
			same = append(same, a)
		}
	}
	on := "all its network interfaces"
	if len(c.interfaces) > 0 {
		names := make([]string, len(c.interfaces))
		for i := range c.interfaces {
			names[i] = c.interfaces[i].Name
		}
		on = strings.Join(names, ", ")
	}
	return fmt.Sprintf("Node %s answers for %s on %s.", c.node, join(same), on)
}
