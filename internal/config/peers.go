package config

import "k8s.io/apimachinery/pkg/util/validation/field"

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

// clash says why the younger of two peers in one VRF of a node cannot be had beside the older: a router takes one session
// from an address. AS numbers and router IDs may differ, as each session has a server of its own.
func (c *compiler) clash(older, younger *peerDraft) *field.Error {
	o, y := older.peer, younger.peer
	if o.Address != y.Address || o.Interface != y.Interface {
		return nil
	}
	at, value := field.NewPath("spec", "peerAddress"), y.Address.String()
	if y.Interface != "" {
		at, value = field.NewPath("spec", "interface"), y.Interface
	}
	e := field.Duplicate(at, value)
	e.Detail = "a node has one session with a peer, and this one is that of " + c.before(older.source, younger.source) + ", also if the ports differ: remove one of the two, or let nodeSelectors part them"
	return e
}
