package node

import (
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/obs"
)

// Component is the name that events come from.
const Component = "metallb-speaker"

// The reasons of the events, as users know them.
const (
	eventNodeAssigned   = "nodeAssigned"
	eventAnnounceFailed = "announceFailed"
)

const protocolLayer2 = "layer2"

// line is something reported about an address of a Service.
type line struct {
	service string
	address netip.Addr
	reason  announce.Reason
}

// notAnswered: planned for this node, and no responder answers for it.
const notAnswered announce.Reason = "NotAnswered"

// report tells what has changed: metrics for all, events for users, a ServiceL2Status for each Service. With a sibling on
// the node, which announces the same, an address has not come here just now.
func (r *reporter) report(x *result) {
	answered := map[netip.Addr]bool{}
	for _, e := range x.running {
		answered[e.Address] = true
	}
	statuses := l2Statuses{}
	for _, w := range x.desired.Why {
		l := line{w.Service, w.Address, w.Reason}
		switch {
		case w.Reason == announce.Announced && !answered[w.Address]:
			l.reason = notAnswered
		case w.Reason != announce.Announced && w.Reason != announce.NoInterface:
			continue
		}
		if l.reason == announce.Announced {
			statuses.add(r.Name, w)
		}
		if r.reported.note(l, struct{}{}) {
			r.begin(l, w, x.sibling)
		}
	}
	for l := range r.reported.end() {
		if l.reason == announce.Announced {
			r.Metrics.announced.DeleteLabelValues(l.service, protocolLayer2, r.Name, l.address.String())
			r.Log.Info("announces no more", obs.KeyService, l.service, obs.KeyAddress, l.address.String())
		}
	}
	r.problems(x, statuses)
	if why := x.desired.Why; x.configured && (len(why) == 0 || why[0].Reason != announce.NotJoined) {
		r.statuses.set(statuses)
	}
}

// begin reports one line for the first time.
func (r *reporter) begin(l line, w announce.Why, sibling bool) {
	r.Log.Info("announcement", obs.KeyService, l.service, obs.KeyAddress, l.address.String(), obs.KeyReason, string(l.reason))
	ref := r.inputs.reference(l.service)
	switch l.reason {
	case announce.Announced:
		r.Metrics.announced.WithLabelValues(l.service, protocolLayer2, r.Name, l.address.String()).Set(1)
		if ref != nil && !sibling {
			r.Recorder.Eventf(ref, corev1.EventTypeNormal, eventNodeAssigned, "node %s announces %s by %s", r.Name, l.address, protocolLayer2)
		}
	case announce.NoInterface:
		if ref != nil {
			r.Recorder.Event(ref, corev1.EventTypeWarning, eventAnnounceFailed, w.Message)
		}
	}
}

// Metrics are what a speaker counts.
type Metrics struct {
	kubernetes                      *obs.Client
	announced                       *prometheus.GaugeVec
	kubeProxy                       prometheus.Gauge
	requests, responses, gratuitous *prometheus.CounterVec
	conflicts                       *prometheus.GaugeVec
	repairs                         *prometheus.CounterVec
	bgp                             *bgpMetrics
}

// NewMetrics registers the metrics, under the names that users' dashboards have.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "metallb", Subsystem: "layer2", Name: name, Help: help}, []string{"ip"})
	}
	m := &Metrics{
		kubernetes: obs.NewClient(), bgp: &bgpMetrics{},
		announced: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "metallb", Subsystem: "speaker", Name: "announced",
			Help: "1 for each address of a Service that this node announces, by protocol.",
		}, []string{"service", "protocol", "node", "ip"}),
		kubeProxy: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "metallb", Subsystem: "speaker", Name: "kube_proxy_healthy",
			Help: "0 while kube-proxy on this node is known to deliver nothing, so that other nodes announce where they can; otherwise 1.",
		}),
		requests:   counter("requests_received", "Requests for the hardware address of an address announced here."),
		responses:  counter("responses_sent", "Answers sent to such requests."),
		gratuitous: counter("gratuitous_sent", "Gratuitous frames sent for an address announced here."),
		conflicts: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "metallb", Subsystem: "layer2", Name: "conflicts",
			Help: "Stations that have an address announced here too, by interface and reason, and interfaces on which its answers do not arrive.",
		}, []string{"ip", "interface", "reason"}),
		repairs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "metallb", Subsystem: "layer2", Name: "repairs_total",
			Help: "Times that an address was claimed anew against another machine (defend) or the sockets of an interface were opened anew (reopen).",
		}, []string{"action"}),
	}
	for _, c := range []prometheus.Collector{m.kubernetes, m.announced, m.kubeProxy, m.requests, m.responses, m.gratuitous, m.conflicts, m.repairs, m.bgp} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// RequestReceived counts a request; it and the next two make Metrics a l2.Meter.
func (m *Metrics) RequestReceived(a netip.Addr) { m.requests.WithLabelValues(a.String()).Inc() }

// ResponseSent counts an answer.
func (m *Metrics) ResponseSent(a netip.Addr) { m.responses.WithLabelValues(a.String()).Inc() }

// GratuitousSent counts a gratuitous frame.
func (m *Metrics) GratuitousSent(a netip.Addr) { m.gratuitous.WithLabelValues(a.String()).Inc() }
