package node

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/obs"
	"metallb.io/operator/speaker/sessions"
)

// BGP runs this node's sessions, as package sessions does.
type BGP interface {
	Sync([]sessions.Peer)
	Observed() []sessions.Observed
	Changed() <-chan struct{}
}

const protocolBGP = "bgp"

// tellRouters tells routers what is planned for them, which waits for nothing. While an older speaker runs on this node, its
// sessions are the ones: a router takes one connection from an address.
func (n *Node) tellRouters(d announce.BGP) {
	n.planned = d
	n.BGP.Sync(n.sessions(d))
	n.parting.follow(d)
}

// reportRouters tells what came of it.
func (n *Node) reportRouters(ctx context.Context, d announce.BGP, sibling bool) {
	observed := n.BGP.Observed()
	if n.config != nil {
		n.sessionStates.set(sessionStates(n.Name, observed))
	}
	n.tellSessions(ctx, observed, time.Now())
	n.reportRoutes(d, observed, sibling)
}

// sessions are those that run of what is planned.
func (n *Node) sessions(d announce.BGP) (out []sessions.Peer) {
	if n.inputs.kin().older {
		return nil
	}
	for i := range d.Peers {
		p := &d.Peers[i]
		out = append(out, sessions.Peer{Wanted: p.Wanted, BFD: watched(p)})
	}
	return out
}

// watched is the BFD of a peer.
func watched(p *announce.BGPPeer) *sessions.BFD {
	if p.BFD == nil {
		return nil
	}
	return &sessions.BFD{
		Settings: bfd.Settings{
			Transmit: p.BFD.Transmit, Receive: p.BFD.Receive, Multiplier: uint8(p.BFD.Multiplier), Passive: p.BFD.Passive,
			ControlPlaneIndependent: p.GracefulRestart,
		},
		MinimumTTL: p.BFD.MinimumTTL,
	}
}

// reportRoutes tells what has changed: metrics for all, events for users, a ServiceBGPStatus for each Service.
func (n *Node) reportRoutes(d announce.BGP, observed []sessions.Observed, sibling bool) {
	statuses := bgpStatuses{}
	for _, w := range d.Why {
		switch w.Reason {
		case announce.Announced:
			told := hearing(w.Routes, observed)
			if len(told) == 0 {
				continue
			}
			statuses.add(n.Name, w.Service, told)
		case announce.Conflict:
			statuses.fail(n.Name, w)
		default:
			continue
		}
		if l := (line{w.Service, w.Address, w.Reason}); n.told.note(l, struct{}{}) {
			n.beginRoute(l, w, sibling)
		}
	}
	for l := range n.told.end() {
		if l.reason == announce.Announced {
			n.Metrics.announced.DeleteLabelValues(l.service, protocolBGP, n.Name, l.address.String())
			n.Log.Info("announces no more", obs.KeyService, l.service, obs.KeyAddress, l.address.String(), "protocol", protocolBGP)
		}
	}
	if n.config != nil {
		n.bgpStatuses.set(statuses)
	}
}

// beginRoute reports one line for the first time.
func (n *Node) beginRoute(l line, w announce.BGPWhy, sibling bool) {
	n.Log.Info("announcement", obs.KeyService, l.service, obs.KeyAddress, l.address.String(), obs.KeyReason, string(l.reason), "protocol", protocolBGP)
	ref := n.inputs.reference(l.service)
	if l.reason == announce.Announced {
		n.Metrics.announced.WithLabelValues(l.service, protocolBGP, n.Name, l.address.String()).Set(1)
		if ref != nil && !sibling {
			n.Recorder.Eventf(ref, corev1.EventTypeNormal, eventNodeAssigned, "node %s announces %s by %s", n.Name, l.address, protocolBGP)
		}
	} else if ref != nil {
		n.Recorder.Event(ref, corev1.EventTypeWarning, eventAnnounceFailed, w.Message)
	}
}

// hearing are the routes that are in the Adj-RIB-Out of peers, with the names of these.
func hearing(routes []announce.BGPRoute, observed []sessions.Observed) (out []announce.BGPRoute) {
	for _, r := range routes {
		var peers []string
		for i := range observed {
			o := &observed[i]
			if _, wanted := slices.BinarySearch(r.Peers, o.Name); wanted && o.Hears(r.Prefix) {
				peers = append(peers, o.Name)
			}
		}
		if len(peers) > 0 {
			out = append(out, announce.BGPRoute{Prefix: r.Prefix, Peers: peers})
		}
	}
	return out
}

// sessionStates are what this node's BGPSessionStates are to say, by name of the peer.
func sessionStates(node string, observed []sessions.Observed) map[string]*v1beta1.BGPSessionStateStatus {
	out := map[string]*v1beta1.BGPSessionStateStatus{}
	for i := range observed {
		o := &observed[i]
		s := &v1beta1.BGPSessionStateStatus{
			Node: node, Peer: o.Place(), BGPPeer: o.Name, VRF: o.Device, BGPStatus: string(o.Session.State), BFDStatus: noBFD, LastError: o.Session.Error,
		}
		if since := o.Session.Since; !since.IsZero() {
			s.Since = &metav1.Time{Time: since.Truncate(time.Second)}
		}
		if o.BFD != nil {
			s.BFDStatus = o.BFD.State.String()
		}
		out[o.Name] = s
	}
	return out
}

// noBFD is said of a session without.
const noBFD = "N/A"

var bgpSessionState = reports[*v1beta1.BGPSessionState, v1beta1.BGPSessionStateStatus]{
	kind:   "BGPSessionState",
	prefix: "session",
	empty:  func() *v1beta1.BGPSessionState { return &v1beta1.BGPSessionState{} },
	list:   func() client.ObjectList { return &v1beta1.BGPSessionStateList{} },
	status: func(o *v1beta1.BGPSessionState) *v1beta1.BGPSessionStateStatus { return &o.Status },
	labels: func(s *v1beta1.BGPSessionStateStatus) map[string]string {
		return map[string]string{v1beta1.LabelNode: s.Node}
	},
}
