package config

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// compatible drops, of two peers on one node that do not go together, the younger. The drafts are sorted, the oldest
// first. A peer that waits for its password counts: no other may move in for as long.
func (c *compiler) compatible(drafts []*peerDraft) []*peerDraft {
	var kept []*peerDraft
	for _, d := range drafts {
		ok := true
		for _, o := range kept {
			if o.peer.VRF != d.peer.VRF || !c.nodes.share(o.nodes, d.nodes) {
				continue
			}
			if e := c.clash(o, d); e != nil {
				c.errors(d.source, e)
				ok = false
				break
			}
		}
		if ok {
			kept = append(kept, d)
		}
	}
	return kept
}

// clash says why the younger of two peers in one VRF of a node cannot be had beside the older.
func (c *compiler) clash(older, younger *peerDraft) *field.Error {
	spec := field.NewPath("spec")
	o, y := older.peer, younger.peer
	who := c.before(older.source, younger.source)
	switch {
	case o.Address == y.Address && o.Interface == y.Interface:
		at, value := spec.Child("peerAddress"), y.Address.String()
		if y.Interface != "" {
			at, value = spec.Child("interface"), y.Interface
		}
		e := field.Duplicate(at, value)
		e.Detail = "a node has one session with a peer, and this one is that of " + who + ", also if the ports differ: remove one of the two, or let nodeSelectors part them"
		return e
	case o.MyASN != y.MyASN:
		return field.Invalid(spec.Child("myASN"), y.MyASN, fmt.Sprintf("a node has one AS number, and it is %d by %s: write that here and %d in localASN, or let nodeSelectors part the two", o.MyASN, who, y.MyASN))
	case o.RouterID.IsValid() && y.RouterID.IsValid() && o.RouterID != y.RouterID:
		return field.Invalid(spec.Child("routerID"), y.RouterID.String(), fmt.Sprintf("a node has one router ID, and it is %s by %s: write that here, or let nodeSelectors part the two", o.RouterID, who))
	default:
		return nil
	}
}
