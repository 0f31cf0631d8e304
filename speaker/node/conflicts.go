package node

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/l2/check"
	"metallb.io/operator/internal/obs"
)

// The reasons of the events about addresses that others have too.
const (
	eventAddressConflict      = "addressConflict"
	eventAddressConflictEnded = "addressConflictEnded"
)

// conflict is a problem that is reported about a Service.
type conflict struct {
	service string
	address netip.Addr
	reason  check.Reason
	holder  string
	on      string // where the reason is NotAnswered: the interface
}

func conflictOf(service string, p check.Problem) conflict {
	c := conflict{service: service, address: p.Address, reason: p.Reason, holder: p.Holder}
	if p.Reason == check.NotAnswered {
		c.on = p.Interface
	}
	return c
}

// problems puts what is wrong with addresses into the statuses of the Services that have them, and tells of what has changed.
func (r *reporter) problems(x *result, statuses l2Statuses) {
	found := r.checks.found()
	if len(found) == 0 && len(r.conflicts.before) == 0 {
		return
	}
	by := map[netip.Addr][]check.Problem{}
	for _, p := range found {
		by[p.Address] = append(by[p.Address], p)
	}
	for _, w := range x.desired.Why {
		if w.Reason != announce.Announced {
			continue
		}
		for _, p := range by[w.Address] {
			c := conflictOf(w.Service, p)
			if s := statuses[w.Service]; s != nil {
				s.Problems = append(s.Problems, v1beta1.AddressProblem{
					Address: p.Address.String(), Interface: p.Interface, Reason: string(p.Reason), Message: r.words(p),
					Since: metav1.Time{Time: p.Since.Truncate(1e9)},
				})
			}
			if r.conflicts.note(c, p) {
				r.beginConflict(c, p, x.sibling)
			}
		}
	}
	if now := r.conflicts.now; !maps.Equal(now, r.conflicts.before) {
		r.Metrics.conflicts.Reset()
		for _, p := range slices.Compact(slices.SortedFunc(maps.Values(now), check.Problem.Compare)) {
			r.Metrics.conflicts.WithLabelValues(p.Address.String(), p.Interface, string(p.Reason)).Inc()
		}
	}
	for c, p := range r.conflicts.end() {
		r.endConflict(c, p, x.sibling)
	}
}

func (r *reporter) beginConflict(c conflict, p check.Problem, sibling bool) {
	r.Log.Warn("something is wrong with an address on the LAN", obs.KeyService, c.service, obs.KeyAddress, c.address.String(),
		obs.KeyReason, string(c.reason), "holder", c.holder, "interface", p.Interface)
	if ref := r.inputs.reference(c.service); ref != nil && !sibling && c.reason != check.NotAnswered { // of that tells announceFailed
		r.Recorder.Event(ref, corev1.EventTypeWarning, eventAddressConflict, r.words(p))
	}
}

func (r *reporter) endConflict(c conflict, p check.Problem, sibling bool) {
	r.Log.Info("what was wrong with an address on the LAN is over", obs.KeyService, c.service, obs.KeyAddress, c.address.String(),
		obs.KeyReason, string(c.reason), "holder", c.holder, "interface", p.Interface)
	announced := r.reported.holds(line{c.service, c.address, announce.Announced}) // else it is the next owner's to tell
	if ref := r.inputs.reference(c.service); ref != nil && announced && !sibling && c.reason != check.NotAnswered {
		r.Recorder.Eventf(ref, corev1.EventTypeNormal, eventAddressConflictEnded, "%s is not seen to have %s any more", holder(p), p.Address)
	}
}

func holder(p check.Problem) string {
	if p.Reason == check.OtherNodeAnswers {
		return "node " + p.Holder
	}
	return "the machine with the hardware address " + p.Holder
}

// words say what is wrong, and what to do about it.
func (n *Node) words(p check.Problem) string {
	switch p.Reason {
	case check.ForeignHolder:
		return fmt.Sprintf("the machine with the hardware address %s, which is no node with a speaker, has %s too (seen on %s): take the address from it, or take it out of the pool; until then node %s claims it again and again",
			p.Holder, p.Address, p.Interface, n.Name)
	case check.OtherNodeAnswers:
		return fmt.Sprintf("node %s answers for %s too, which node %s announces (seen on %s): where kube-proxy runs in mode ipvs set ipvs.strictARP to true in its configuration, and take the address off that node's network interfaces",
			p.Holder, p.Address, n.Name, p.Interface)
	default:
		return fmt.Sprintf("node %s answers for %s, and its answers did not arrive when another node asked on %s: look for port security or ARP inspection of the switch or the hypervisor, which must let node %s answer for it",
			n.Name, p.Address, p.Interface, n.Name)
	}
}
