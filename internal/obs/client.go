package obs

import "github.com/prometheus/client_golang/prometheus"

// Client is what a process counts of its work with the API server, under the names that users' alerts have.
type Client struct {
	// Updates counts resources written, UpdateErrors writes that failed.
	Updates, UpdateErrors prometheus.Counter
	// ConfigLoaded is 1 once the configuration has been read, ConfigStale while something of it is invalid and not used.
	ConfigLoaded, ConfigStale prometheus.Gauge
}

// NewClient returns a Client that counts from 0. It is registered as a whole.
func NewClient() *Client {
	name := func(name string) string { return prometheus.BuildFQName("metallb", "k8s_client", name) }
	return &Client{
		Updates:      prometheus.NewCounter(prometheus.CounterOpts{Name: name("updates_total"), Help: "Number of Kubernetes objects written."}),
		UpdateErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: name("update_errors_total"), Help: "Number of writes of Kubernetes objects that failed."}),
		ConfigLoaded: prometheus.NewGauge(prometheus.GaugeOpts{Name: name("config_loaded_bool"), Help: "1 once the configuration has been read."}),
		ConfigStale:  prometheus.NewGauge(prometheus.GaugeOpts{Name: name("config_stale_bool"), Help: "1 while something of the configuration is invalid and not used."}),
	}
}

// SetStale notes whether something of the configuration that was read is not used.
func (c *Client) SetStale(stale bool) {
	if stale {
		c.ConfigStale.Set(1)
	} else {
		c.ConfigStale.Set(0)
	}
}

// Describe is of prometheus.Collector.
func (c *Client) Describe(out chan<- *prometheus.Desc) {
	for _, m := range c.all() {
		m.Describe(out)
	}
}

// Collect is of prometheus.Collector.
func (c *Client) Collect(out chan<- prometheus.Metric) {
	for _, m := range c.all() {
		m.Collect(out)
	}
}

func (c *Client) all() []prometheus.Collector {
	return []prometheus.Collector{c.Updates, c.UpdateErrors, c.ConfigLoaded, c.ConfigStale}
}
