package node

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/obs"
	"metallb.io/operator/speaker/members"
)

// The reasons of the events about a Node.
const (
	eventNodeExcluded = "nodeExcluded"
	eventNodeIncluded = "nodeIncluded"
)

// warn tells users when something keeps this node from announcing anything, and when no node may announce an address of
// which it is for this one to speak: once, for as long as it lasts. What a sibling on this node has told is not told again.
func (n *Node) warn(d announce.Desired, view members.View) {
	if !view.Joined {
		return
	}
	if d.Excluded != n.excluded {
		n.excluded = d.Excluded
		n.warnOfNode(view.Sibling)
	}
	now := map[line]bool{}
	for _, w := range d.Why {
		if w.Reason != announce.NoNode {
			continue
		}
		l := line{w.Service, w.Address, w.Reason}
		now[l] = true
		if n.warned[l] || view.Sibling {
			continue
		}
		n.Log.Info("announcement", obs.KeyService, w.Service, obs.KeyAddress, w.Address.String(), obs.KeyReason, string(w.Reason))
		if ref := n.inputs.reference(w.Service); ref != nil {
			n.Recorder.Event(ref, corev1.EventTypeWarning, eventAnnounceFailed, w.Message)
		}
	}
	n.warned = now
}

// warnOfNode tells of a change of what keeps this node from announcing.
func (n *Node) warnOfNode(sibling bool) {
	n.Log.Info("exclusion of this node has changed", obs.KeyReason, n.excluded)
	if sibling {
		return
	}
	// `kubectl describe node` looks for events by the name as the UID, as the kubelet writes them.
	ref := &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: n.Name, UID: types.UID(n.Name)}
	if n.excluded != "" {
		n.Recorder.Eventf(ref, corev1.EventTypeWarning, eventNodeExcluded, "this node announces no address of a Service, because it %s", n.excluded)
	} else {
		n.Recorder.Event(ref, corev1.EventTypeNormal, eventNodeIncluded, "this node announces addresses of Services again")
	}
}
