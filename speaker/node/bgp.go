package node

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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

// routers tells routers what is planned for them. While an older speaker runs on this node, its sessions are the ones: a
// router takes one connection from an address.
func (n *Node) routers(d announce.BGP, sibling bool) {
	n.planned = d
	n.BGP.Sync(n.sessions(d))
	observed := n.BGP.Observed()
	if n.config != nil {
		n.sessionStates.set(sessionStates(n.Name, d, observed))
	}
	n.reportRoutes(d, observed, sibling)
}

// sessions are those that run of what is planned.
func (n *Node) sessions(d announce.BGP) (out []sessions.Peer) {
	if n.inputs.kin().older {
		return nil
	}
	for i := range d.Peers {
		if p := &d.Peers[i]; p.Refused == "" {
			out = append(out, sessions.Peer{Wanted: p.Wanted, BFD: watched(p)})
		}
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
	now, statuses := map[line]bool{}, map[string]*v1beta1.ServiceBGPStatusStatus{}
	for _, w := range d.Why {
		l := line{w.Service, w.Address, w.Reason}
		if w.Reason == announce.Announced {
			told := hearing(w.Routes, observed)
			if len(told) == 0 {
				continue
			}
			addPeers(statuses, n.Name, w.Service, told)
		} else if w.Reason != announce.Conflict {
			continue
		}
		now[l] = true
		if !n.told[l] {
			n.beginRoute(l, w, sibling)
		}
	}
	for l := range n.told {
		if !now[l] && l.reason == announce.Announced {
			n.Metrics.announced.DeleteLabelValues(l.service, protocolBGP, n.Name, l.address.String())
			n.Log.Info("announces no more", obs.KeyService, l.service, obs.KeyAddress, l.address.String(), "protocol", protocolBGP)
		}
	}
	n.told = now
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

// hearing names the peers that one of the routes is in the Adj-RIB-Out of.
func hearing(routes []announce.BGPRoute, observed []sessions.Observed) (out []string) {
	for i := range observed {
		o := &observed[i]
		for _, r := range routes {
			if _, wanted := slices.BinarySearch(r.Peers, o.Name); wanted && o.Hears(r.Prefix) {
				out = append(out, o.Name)
				break
			}
		}
	}
	return out
}

// addPeers adds peers that are told of an address of a Service.
func addPeers(statuses map[string]*v1beta1.ServiceBGPStatusStatus, node, service string, peers []string) {
	x, ok := statuses[service]
	if !ok {
		key := splitName(service)
		x = &v1beta1.ServiceBGPStatusStatus{Node: node, ServiceNamespace: key.Namespace, ServiceName: key.Name}
		statuses[service] = x
	}
	x.Peers = append(x.Peers, peers...)
	slices.Sort(x.Peers)
	x.Peers = slices.Compact(x.Peers)
}

// sessionStates are what this node's BGPSessionStates are to say, by name of the peer.
func sessionStates(node string, d announce.BGP, observed []sessions.Observed) map[string]*v1beta1.BGPSessionStateStatus {
	out := map[string]*v1beta1.BGPSessionStateStatus{}
	for _, p := range d.Peers {
		if p.Refused != "" {
			out[p.Name] = &v1beta1.BGPSessionStateStatus{Node: node, Peer: p.Name, BGPStatus: string(bgp.Idle), BFDStatus: noBFD, LastError: p.Refused}
		}
	}
	for i := range observed {
		o := &observed[i]
		s := &v1beta1.BGPSessionStateStatus{
			Node: node, Peer: o.Address.String(), VRF: o.Device, BGPStatus: string(o.Session.State), BFDStatus: noBFD, LastError: o.Session.Error,
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

var serviceBGPStatus = reports[*v1beta1.ServiceBGPStatus, v1beta1.ServiceBGPStatusStatus]{
	kind:   "ServiceBGPStatus",
	prefix: "bgp",
	empty:  func() *v1beta1.ServiceBGPStatus { return &v1beta1.ServiceBGPStatus{} },
	list:   func() client.ObjectList { return &v1beta1.ServiceBGPStatusList{} },
	status: func(o *v1beta1.ServiceBGPStatus) *v1beta1.ServiceBGPStatusStatus { return &o.Status },
	labels: func(s *v1beta1.ServiceBGPStatusStatus) map[string]string {
		return serviceLabels(s.Node, s.ServiceNamespace, s.ServiceName)
	},
}

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

// metric is one number that is known of each session.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*sessions.Observed) float64
}

func sessionMetric(system, name, help string, kind prometheus.ValueType, value func(*sessions.Observed) float64) metric {
	return metric{prometheus.NewDesc(prometheus.BuildFQName("metallb", system, name), help, []string{"peer", "vrf"}, nil), kind, value}
}

func counted(name, help string, count func(sent, received bgp.Messages) uint64) metric {
	return sessionMetric("bgp", name, help, prometheus.CounterValue, func(o *sessions.Observed) float64 {
		return float64(count(o.Session.Sent, o.Session.Received))
	})
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

var sessionMetrics = []metric{
	sessionMetric("bgp", "session_up", "1 while the BGP session is Established.", prometheus.GaugeValue,
		func(o *sessions.Observed) float64 { return one(o.Session.State == bgp.Established) }),
	sessionMetric("bgp", "announced_prefixes_total", "Prefixes that the peer is told of.", prometheus.GaugeValue, announcedPrefixes),
	counted("updates_total", "UPDATE messages sent.", func(s, _ bgp.Messages) uint64 { return s.Updates }),
	counted("updates_total_received", "UPDATE messages received; their routes are dropped.", func(_, r bgp.Messages) uint64 { return r.Updates }),
	counted("opens_sent", "OPEN messages sent.", func(s, _ bgp.Messages) uint64 { return s.Opens }),
	counted("opens_received", "OPEN messages received.", func(_, r bgp.Messages) uint64 { return r.Opens }),
	counted("notifications_sent", "NOTIFICATION messages sent.", func(s, _ bgp.Messages) uint64 { return s.Notifications }),
	counted("keepalives_sent", "KEEPALIVE messages sent.", func(s, _ bgp.Messages) uint64 { return s.Keepalives }),
	counted("keepalives_received", "KEEPALIVE messages received.", func(_, r bgp.Messages) uint64 { return r.Keepalives }),
	counted("route_refresh_sent", "ROUTE-REFRESH messages sent.", func(s, _ bgp.Messages) uint64 { return s.RouteRefreshes }),
	counted("total_sent", "Messages sent.", func(s, _ bgp.Messages) uint64 { return s.Total() }),
	counted("total_received", "Messages received.", func(_, r bgp.Messages) uint64 { return r.Total() }),
}

var pathMetrics = []metric{
	sessionMetric("bfd", "session_up", "1 while the BFD session is Up.", prometheus.GaugeValue,
		func(o *sessions.Observed) float64 { return one(o.BFD.State == bfd.Up) }),
	sessionMetric("bfd", "control_packet_input", "BFD control packets received.", prometheus.CounterValue,
		func(o *sessions.Observed) float64 { return float64(o.BFD.Received) }),
	sessionMetric("bfd", "control_packet_output", "BFD control packets sent.", prometheus.CounterValue,
		func(o *sessions.Observed) float64 { return float64(o.BFD.Sent) }),
	sessionMetric("bfd", "session_up_events", "How often the BFD session came up.", prometheus.CounterValue,
		func(o *sessions.Observed) float64 { return float64(o.BFD.Ups) }),
	sessionMetric("bfd", "session_down_events", "How often the BFD session went down.", prometheus.CounterValue,
		func(o *sessions.Observed) float64 { return float64(o.BFD.Downs) }),
}

func announcedPrefixes(o *sessions.Observed) float64 {
	n := 0
	for _, p := range o.Paths {
		if o.Session.Carries(p.Prefix.Addr()) {
			n++
		}
	}
	return float64(n)
}

// bgpMetrics are those of the sessions, as they are when somebody asks.
type bgpMetrics struct {
	from atomic.Pointer[BGP]
}

func (m *bgpMetrics) follow(b BGP) { m.from.Store(&b) }

// Describe implements prometheus.Collector.
func (m *bgpMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, x := range slices.Concat(sessionMetrics, pathMetrics) {
		out <- x.desc
	}
}

// Collect implements prometheus.Collector.
func (m *bgpMetrics) Collect(out chan<- prometheus.Metric) {
	from := m.from.Load()
	if from == nil {
		return
	}
	for _, x := range (*from).Observed() {
		o := &x
		peer := fmt.Sprintf("%s:%d", o.Address, o.Port)
		send := func(all []metric) {
			for _, x := range all {
				out <- prometheus.MustNewConstMetric(x.desc, x.kind, x.value(o), peer, o.Device)
			}
		}
		send(sessionMetrics)
		if o.BFD != nil {
			send(pathMetrics)
		}
	}
}
