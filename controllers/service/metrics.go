package service

import (
	"github.com/prometheus/client_golang/prometheus"

	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/ipam"
)

var (
	updates = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "metallb_k8s_client_updates_total", Help: "Number of Kubernetes objects written."})
	updateErrors = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "metallb_k8s_client_update_errors_total", Help: "Number of writes of Kubernetes objects that failed."})
	configLoaded = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "metallb_k8s_client_config_loaded_bool", Help: "1 once the configuration has been read."})
	configStale = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "metallb_k8s_client_config_stale_bool", Help: "1 while something of the configuration is invalid and not used."})
)

// usageMetric is one count of the addresses of each pool.
type usageMetric struct {
	*prometheus.Desc
	count func(size4, size6, used4, used6 float64) float64
}

func newUsageMetric(name, help string, count func(size4, size6, used4, used6 float64) float64) usageMetric {
	return usageMetric{prometheus.NewDesc(name, help, []string{"pool"}, nil), count}
}

var usageMetrics = []usageMetric{
	newUsageMetric("metallb_allocator_addresses_total", "Number of addresses of a pool.", func(s4, s6, _, _ float64) float64 { return s4 + s6 }),
	newUsageMetric("metallb_allocator_ipv4_addresses_total", "Number of IPv4 addresses of a pool.", func(s4, _, _, _ float64) float64 { return s4 }),
	newUsageMetric("metallb_allocator_ipv6_addresses_total", "Number of IPv6 addresses of a pool.", func(_, s6, _, _ float64) float64 { return s6 }),
	newUsageMetric("metallb_allocator_addresses_in_use_total", "Number of addresses of a pool that Services have.", func(_, _, u4, u6 float64) float64 { return u4 + u6 }),
	newUsageMetric("metallb_allocator_ipv4_addresses_in_use_total", "Number of IPv4 addresses of a pool that Services have.", func(_, _, u4, _ float64) float64 { return u4 }),
	newUsageMetric("metallb_allocator_ipv6_addresses_in_use_total", "Number of IPv6 addresses of a pool that Services have.", func(_, _, _, u6 float64) float64 { return u6 }),
}

// Describe is of prometheus.Collector.
func (r *Reconciler) Describe(out chan<- *prometheus.Desc) {
	for _, m := range usageMetrics {
		out <- m.Desc
	}
	for _, c := range []prometheus.Collector{updates, updateErrors, configLoaded, configStale} {
		c.Describe(out)
	}
}

// Collect is of prometheus.Collector. The counts of pools are taken when they are asked for.
func (r *Reconciler) Collect(out chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{updates, updateErrors, configLoaded, configStale} {
		c.Collect(out)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alloc == nil {
		return
	}
	for _, u := range r.alloc.Usage() {
		for _, m := range usageMetrics {
			value := m.count(float64(u.Size4), float64(u.Size6), float64(u.Used4), float64(u.Used6))
			out <- prometheus.MustNewConstMetric(m.Desc, prometheus.GaugeValue, value, u.Pool)
		}
	}
}

// Usage counts the addresses of every IPAddressPool that is in use, by its name; nil until the configuration has been
// read for the first time.
func (r *Reconciler) Usage() map[string]ipam.Usage {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alloc == nil {
		return nil
	}
	of := make(map[string]config.Source, len(r.config.Pools))
	for i := range r.config.Pools {
		of[r.config.Pools[i].Name] = r.config.Pools[i].Source
	}
	out := make(map[string]ipam.Usage, len(of))
	for _, u := range r.alloc.Usage() {
		if source := of[u.Pool]; source.Kind == "IPAddressPool" {
			out[source.Name] = u
		}
	}
	return out
}
