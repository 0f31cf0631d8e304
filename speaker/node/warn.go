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
	eventNodeExcluded       = "nodeExcluded"
	eventNodeIncluded       = "nodeIncluded"
	eventKubeProxyUnhealthy = "kubeProxyUnhealthy"
	eventKubeProxyHealthy   = "kubeProxyHealthy"
)

// warn tells users when something keeps this node from announcing anything, and when no node may announce an address of
// which it is for this one to speak: once, for as long as it lasts. What a sibling on this node has told is not told again.
func (r *reporter) warn(x *result) {
	if !x.joined {
		return
	}
	if x.desired.Excluded != r.excluded {
		r.excluded = x.desired.Excluded
		r.warnOfNode(x.sibling)
	}
	for _, w := range x.desired.Why {
		if w.Reason != announce.NoNode {
			continue
		}
		if begins := r.warned.note(line{w.Service, w.Address, w.Reason}, struct{}{}); !begins || x.sibling {
			continue
		}
		r.Log.Info("announcement", obs.KeyService, w.Service, obs.KeyAddress, w.Address.String(), obs.KeyReason, string(w.Reason))
		if ref := r.inputs.reference(w.Service); ref != nil {
			r.Recorder.Event(ref, corev1.EventTypeWarning, eventAnnounceFailed, w.Message)
		}
	}
	r.warned.end()
}

// warnOfNode tells of a change of what keeps this node from announcing.
func (r *reporter) warnOfNode(sibling bool) {
	r.Log.Info("exclusion of this node has changed", obs.KeyReason, r.excluded)
	if sibling {
		return
	}
	ref := r.nodeReference()
	if r.excluded != "" {
		r.Recorder.Eventf(ref, corev1.EventTypeWarning, eventNodeExcluded, "this node announces no address of a Service, because it %s", r.excluded)
	} else {
		r.Recorder.Event(ref, corev1.EventTypeNormal, eventNodeIncluded, "this node announces addresses of Services again")
	}
}

// nodeReference is what an event about this node refers to. `kubectl describe node` looks for events by the name as the UID, as
// the kubelet writes them.
func (n *Node) nodeReference() *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: n.Name, UID: types.UID(n.Name)}
}

// tellDelivery tells the other speakers whether kube-proxy on this node delivers, and users when that has changed.
func (n *Node) tellDelivery(view members.View) {
	if delivers, told := view.Delivers[n.Name]; told && !delivers && view.Sibling {
		n.KubeProxy.Believe()
	}
	delivers, last := n.KubeProxy.Delivers()
	n.Members.SetDelivers(delivers)
	n.Metrics.kubeProxy.Set(map[bool]float64{true: 1}[delivers])
	if n.broken == !delivers || !delivers && last == "" { // it has not been asked yet
		return
	}
	n.broken = !delivers
	switch {
	case view.Sibling: // which tells the same
	case n.broken:
		n.Recorder.Eventf(n.nodeReference(), corev1.EventTypeWarning, eventKubeProxyUnhealthy,
			"kube-proxy on this node is not healthy, other nodes announce addresses of Services where they can: %s", last)
	default:
		n.Recorder.Event(n.nodeReference(), corev1.EventTypeNormal, eventKubeProxyHealthy, "kube-proxy on this node is healthy again")
	}
}
