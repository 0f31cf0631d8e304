package service

import (
	"github.com/prometheus/client_golang/prometheus"

	"metallb.io/operator/controllers/pool"
	"metallb.io/operator/internal/ipam"
	"metallb.io/operator/internal/obs"
)

// kubernetes counts this process's work with the API server.
var kubernetes = obs.NewClient()

// usageMetric is one count of the addresses of each pool.
type usageMetric struct {
	*prometheus.Desc
	count func(u *ipam.Usage) float64
}

func newUsageMetric(name, help string, count func(u *ipam.Usage) float64) usageMetric {
	return usageMetric{prometheus.NewDesc(name, help, []string{"pool"}, nil), count}
}

var usageMetrics = []usageMetric{
	newUsageMetric("metallb_allocator_addresses_total", "Number of addresses of a pool.", func(u *ipam.Usage) float64 { return float64(u.Size4) + float64(u.Size6) }),
	newUsageMetric("metallb_allocator_ipv4_addresses_total", "Number of IPv4 addresses of a pool.", func(u *ipam.Usage) float64 { return float64(u.Size4) }),
	newUsageMetric("metallb_allocator_ipv6_addresses_total", "Number of IPv6 addresses of a pool.", func(u *ipam.Usage) float64 { return float64(u.Size6) }),
	newUsageMetric("metallb_allocator_addresses_in_use_total", "Number of addresses of a pool that Services have.", func(u *ipam.Usage) float64 { return float64(u.Used4) + float64(u.Used6) }),
	newUsageMetric("metallb_allocator_ipv4_addresses_in_use_total", "Number of IPv4 addresses of a pool that Services have.", func(u *ipam.Usage) float64 { return float64(u.Used4) }),
	newUsageMetric("metallb_allocator_ipv6_addresses_in_use_total", "Number of IPv6 addresses of a pool that Services have.", func(u *ipam.Usage) float64 { return float64(u.Used6) }),
	newUsageMetric("metallb_allocator_services_allocated_total", "Number of Services that have addresses of a pool.", func(u *ipam.Usage) float64 { return float64(u.Services) }),
	newUsageMetric("metallb_allocator_addresses_reserved_total", "Number of addresses of a pool that nobody has and that are reserved for some.", func(u *ipam.Usage) float64 { return float64(u.Reserved4) + float64(u.Reserved6) }),
}

// Describe is of prometheus.Collector.
func (r *Reconciler) Describe(out chan<- *prometheus.Desc) {
	for _, m := range usageMetrics {
		out <- m.Desc
	}
	kubernetes.Describe(out)
}

// Collect is of prometheus.Collector. The counts of pools are taken when they are asked for.
func (r *Reconciler) Collect(out chan<- prometheus.Metric) {
	kubernetes.Collect(out)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alloc == nil {
		return
	}
	for _, u := range r.alloc.Usage() {
		for _, m := range usageMetrics {
			out <- prometheus.MustNewConstMetric(m.Desc, prometheus.GaugeValue, m.count(&u), u.Pool)
		}
	}
}

// Pools says how it is with every IPAddressPool that is in use, by its name; nil until the configuration has been read for
// the first time.
func (r *Reconciler) Pools() map[string]pool.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alloc == nil {
		return nil
	}
	usage := map[string]ipam.Usage{}
	for _, u := range r.alloc.Usage() {
		usage[u.Pool] = u
	}
	out := make(map[string]pool.State, len(r.config.Pools))
	for i := range r.config.Pools {
		if p := &r.config.Pools[i]; p.Source.Kind == "IPAddressPool" {
			out[p.Source.Name] = pool.State{Usage: usage[p.Name], Unadvertised: p.Unadvertised}
		}
	}
	return out
}
