package node

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/speaker/sessions"
)

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
	sessionMetric("bgp", "pending_prefixes_total", "Prefixes that the peer is to be told of, or of what has changed about them, and has not been.", prometheus.GaugeValue, pendingPrefixes),
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
	sessionMetric("bfd", "echo_packet_input", "BFD echo packets received: none, echo is not used.", prometheus.CounterValue, none),
	sessionMetric("bfd", "echo_packet_output", "BFD echo packets sent: none, echo is not used.", prometheus.CounterValue, none),
	sessionMetric("bfd", "session_up_events", "How often the BFD session came up.", prometheus.CounterValue,
		func(o *sessions.Observed) float64 { return float64(o.BFD.Ups) }),
	sessionMetric("bfd", "session_down_events", "How often the BFD session went down.", prometheus.CounterValue,
		func(o *sessions.Observed) float64 { return float64(o.BFD.Downs) }),
	sessionMetric("bfd", "zebra_notifications", "How often BGP was told that the BFD session is Up, or is not any more.", prometheus.CounterValue,
		func(o *sessions.Observed) float64 { return float64(o.BFD.Ups + o.BFD.Downs) }),
}

func none(*sessions.Observed) float64 { return 0 }

func announcedPrefixes(o *sessions.Observed) float64 {
	n := 0
	for _, p := range o.Paths {
		if o.Session.Carries(p.Prefix.Addr()) {
			n++
		}
	}
	return float64(n)
}

// pendingPrefixes are those that the session does not have yet, or not so, and those that it does not carry.
func pendingPrefixes(o *sessions.Observed) float64 {
	late, _ := bgp.Diff(o.Paths, o.Planned)
	n := 0
	for _, p := range o.Planned {
		due := len(late) > 0 && late[0].Prefix == p.Prefix
		if due {
			late = late[1:]
		}
		if due || !o.Session.Carries(p.Prefix.Addr()) {
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
		peer := o.Place()
		if o.Interface == "" {
			peer = fmt.Sprintf("%s:%d", o.Address, o.Port)
		}
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
