package bgp

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

var away = flag.Duration("away", 10*time.Second, "how long the API server is away")

// TestTheAPIServerIsAway takes the API server away from everybody: sessions stay, traffic goes on, and a session that the router
// ends meanwhile is opened again with its routes. When it is back, what is new is heard of.
func TestTheAPIServerIsAway(t *testing.T) {
	n := install(t)
	n.startRouter(lab.FRR, n.gateway())
	ns := n.expose(nil)
	to := netip.AddrPortFrom(edge4, 80)
	n.answered(to, n.Nodes())
	before := n.livesByNode()
	const ended = "node3"

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	n.must(n.PowerOff(lab.ControlPlane))
	t.Cleanup(func() {
		if !n.On(lab.ControlPlane) {
			n.must(n.PowerOn(context.Background(), lab.ControlPlane))
		}
	})
	gone := time.Now()
	stream := make(chan []product.Request, 1)
	go func() { stream <- n.Stream(ctx, lab.Remote, "tcp", to, 20*time.Millisecond) }()
	time.Sleep(*away / 2)
	n.vtysh("clear bgp " + n.address(ended).String())
	cleared := time.Now()
	n.must(product.Until(n.within(), "the session to be the second", func() (bool, error) {
		now := n.established(ended)
		return strings.Contains(now, "established 2; dropped 1"), fmt.Errorf("it is the %q", now)
	}))
	n.everywhere()
	again := time.Since(cleared)
	time.Sleep(*away - time.Since(gone))
	n.everywhere()
	n.sameLives(before, ended)
	stop()
	fared := product.How(<-stream)
	n.must(n.PowerOn(n.within(), lab.ControlPlane))
	back := time.Now()
	n.must(product.Until(n.within(), "a Service to be deleted", func() (bool, error) { // connections of before are broken
		err := n.DeleteAllOf(n.within(), &corev1.Service{}, client.InNamespace(ns))
		return err == nil, err
	}))
	n.over(0)
	withdrawn := time.Since(back)
	n.must(n.Recovered(n.within(), namespace, back))
	t.Logf("the API server was away for %s: %s; a session that the router ended had its routes again after %s; a Service that was deleted when it was back was withdrawn %s after that, and all nodes were heard of and configuration was admitted after %s",
		*away, fared, again.Round(10*time.Millisecond), withdrawn.Round(10*time.Millisecond), time.Since(back).Round(10*time.Millisecond))
	if err := fared.Check(); err != nil {
		t.Errorf("%v:\n%s", err, fared.Failures())
	}
	n.sameLives(before, ended)
}
