package node

import (
	"context"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bgp"
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
func (r *reporter) reportRouters(ctx context.Context, x *result) {
	observed := r.BGP.Observed()
	if x.configured {
		r.sessionStates.set(sessionStates(r.Name, observed))
	}
	r.tellSessions(ctx, observed, time.Now())
	r.reportRoutes(x, observed)
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

// routes is what has been reported of routes.
type routes struct {
	observed []sessions.Observed
	of       map[string]*saying // by Service
	report   int                // number of the last one
}

// saying is what has been said of a Service.
type saying struct {
	why    []announce.BGPWhy
	lines  []line
	report int
}

// reportRoutes tells what has changed: metrics for all, events for users, a ServiceBGPStatus for each Service. There may be thousands
// of Services, of which one or two have something new.
func (r *reporter) reportRoutes(x *result, observed []sessions.Observed) {
	if !x.configured {
		return
	}
	moved, all := movedPrefixes(r.routes.observed, observed)
	if r.routes.of == nil {
		r.routes.of = map[string]*saying{}
	}
	r.routes.observed = observed
	r.routes.report++
	statuses, there := bgpStatuses{}, 0
	for why := x.desired.BGP.Why; len(why) > 0; there++ {
		service, n := why[0].Service, 1
		for n < len(why) && why[n].Service == service {
			n++
		}
		s := r.routes.of[service]
		if s == nil {
			s = &saying{}
			r.routes.of[service] = s
		}
		if all || !slices.EqualFunc(s.why, why[:n], sameWhy) || slices.ContainsFunc(why[:n], func(w announce.BGPWhy) bool { return touches(moved, w) }) {
			s.why = slices.Clone(why[:n]) // a part of the plan would keep all of it
			r.reportRoutesOf(service, s, observed, statuses, x.sibling)
		}
		s.report, why = r.routes.report, why[n:]
	}
	if len(r.routes.of) > there {
		for service, s := range r.routes.of {
			if s.report != r.routes.report {
				s.why = nil
				r.reportRoutesOf(service, s, observed, statuses, x.sibling)
				delete(r.routes.of, service)
			}
		}
	}
	r.bgpStatuses.change(statuses)
}

// reportRoutesOf reports on a Service of which something is new, with its status.
func (r *reporter) reportRoutesOf(service string, s *saying, observed []sessions.Observed, statuses bgpStatuses, sibling bool) {
	before := s.lines
	s.lines, statuses[service] = nil, nil
	for _, w := range s.why {
		switch w.Reason {
		case announce.Announced:
			told := hearing(w.Routes, observed)
			if len(told) == 0 {
				continue
			}
			statuses.add(r.Name, service, told)
		case announce.Conflict:
			statuses.fail(r.Name, w)
		default:
			continue
		}
		l := line{service, w.Address, w.Reason}
		if !slices.Contains(before, l) && !slices.Contains(s.lines, l) {
			r.beginRoute(l, w, sibling)
		}
		s.lines = append(s.lines, l)
	}
	for _, l := range before {
		if l.reason == announce.Announced && !slices.Contains(s.lines, l) {
			r.Metrics.announced.DeleteLabelValues(l.service, protocolBGP, r.Name, l.address.String())
			r.Log.Info("announces no more", obs.KeyService, l.service, obs.KeyAddress, l.address.String(), "protocol", protocolBGP)
		}
	}
}

// movedPrefixes are those of which peers may know something else than before; all: it may be any.
func movedPrefixes(before, now []sessions.Observed) (moved map[netip.Prefix]bool, all bool) {
	if len(before) != len(now) {
		return nil, true
	}
	moved = map[netip.Prefix]bool{}
	for i := range now {
		x, y := &before[i], &now[i]
		if x.Name != y.Name || x.Session.State != y.Session.State || x.Session.IPv4 != y.Session.IPv4 || x.Session.IPv6 != y.Session.IPv6 {
			return nil, true
		}
		if sameSlice(x.Paths, y.Paths) {
			continue
		}
		changed, gone := bgp.Diff(x.Paths, y.Paths)
		for _, p := range changed {
			moved[p.Prefix] = true
		}
		for _, p := range gone {
			moved[p] = true
		}
	}
	return moved, false
}

func sameWhy(a, b announce.BGPWhy) bool {
	return a.Service == b.Service && a.Address == b.Address && a.Reason == b.Reason && a.Message == b.Message && sameSlice(a.Routes, b.Routes)
}

func touches(prefixes map[netip.Prefix]bool, w announce.BGPWhy) bool {
	return len(prefixes) > 0 && slices.ContainsFunc(w.Routes, func(r announce.BGPRoute) bool { return prefixes[r.Prefix] })
}

// beginRoute reports one line for the first time.
func (r *reporter) beginRoute(l line, w announce.BGPWhy, sibling bool) {
	r.Log.Info("announcement", obs.KeyService, l.service, obs.KeyAddress, l.address.String(), obs.KeyReason, string(l.reason), "protocol", protocolBGP)
	ref := r.inputs.reference(l.service)
	if l.reason == announce.Announced {
		r.Metrics.announced.WithLabelValues(l.service, protocolBGP, r.Name, l.address.String()).Set(1)
		if ref != nil && !sibling {
			r.Recorder.Eventf(ref, corev1.EventTypeNormal, eventNodeAssigned, "node %s announces %s by %s", r.Name, l.address, protocolBGP)
		}
	} else if ref != nil {
		r.Recorder.Event(ref, corev1.EventTypeWarning, eventAnnounceFailed, w.Message)
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
