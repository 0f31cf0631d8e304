package node

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"metallb.io/operator/internal/l2/l2test"
)

// kubeProxies are the health endpoints of three nodes.
func kubeProxies(t *testing.T, c *cluster) (ill []*atomic.Bool) {
	t.Helper()
	for i := range 3 {
		is := &atomic.Bool{}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if is.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		t.Cleanup(s.Close)
		c.kubeProxy[i] = s.URL + "/healthz"
		ill = append(ill, is)
	}
	return ill
}

func TestANodeThatDoesNotDeliverIsTheLastChoice(t *testing.T) {
	c := newCluster(t, 3)
	ill := kubeProxies(t, c)
	all := []*speaker{c.start(0, "a"), c.start(1, "a"), c.start(2, "a")}
	c.ready(all...)
	const address = "192.0.2.33"
	c.service("web", address, 0)
	first := owner(t, c, address)
	l2test.Eventually(t, 10*time.Second, "kube-proxy has been healthy", func() bool { return all[first].gauge(t, "metallb_speaker_kube_proxy_healthy") == 1 })
	time.Sleep(1500 * time.Millisecond) // and has said so once
	all[first].events()

	second := c.move("kube-proxy says that it is not healthy", address, first, func() { ill[first].Store(true) })
	if got := all[first].gauge(t, "metallb_speaker_kube_proxy_healthy"); got != 0 {
		t.Errorf("the metric is %v", got)
	}
	if e := all[first].events(); len(e) != 1 || !strings.HasPrefix(e[0], "Warning kubeProxyUnhealthy ") || !strings.Contains(e[0], "503") {
		t.Errorf("events %q", e)
	}
	c.move("the next too", address, second, func() { ill[second].Store(true) })
	for _, is := range ill {
		is.Store(true)
	}
	c.eventually("no kube-proxy is healthy", address, first)
	for _, is := range ill {
		is.Store(false)
	}
	l2test.Eventually(t, 20*time.Second, "all are healthy", func() bool {
		for _, s := range all {
			if s.gauge(t, "metallb_speaker_kube_proxy_healthy") == 0 {
				return false
			}
		}
		return true
	})
	c.eventually("all are healthy", address, first)
	if e := all[first].events(); count(e, "Normal kubeProxyHealthy ") != 1 {
		t.Errorf("events %q", e)
	}
}

// gauge is the value of a metric without labels.
func (s *speaker) gauge(t *testing.T, name string) float64 {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
