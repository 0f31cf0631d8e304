package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// The setup of a user who runs IBM Aspera HSTS: the operator in a namespace of its own, the MetalLB resource in
// another, a pool in the oldest form of the API, and one Service with TCP and UDP ports.
func TestAsperaAnswersOverTCPAndUDP(t *testing.T) {
	p, ns, address := aspera(t)
	ctx := product.Within(t, 2*time.Minute)
	if first, last := netip.MustParseAddr("172.30.0.100"), netip.MustParseAddr("172.30.0.255"); address.Less(first) || last.Less(address) {
		t.Errorf("%s is not in the pool's range", address)
	}
	node, mac, err := p.Announcer(ctx, address)
	product.Must(t, err)
	t.Logf("%s is announced by %s, MAC %s", address, node, mac)

	for _, port := range []uint16{33001} {
		answer, err := p.Answer(ctx, lab.Client, "tcp", netip.AddrPortFrom(address, port))
		product.Must(t, err)
		answeredBy(t, answer, "tcp", "aspera-tcp-proxy")
	}
	for _, port := range []uint16{33001, 33002, 33003, 33004} {
		answer, err := p.Answer(ctx, lab.Client, "udp", netip.AddrPortFrom(address, port))
		product.Must(t, err)
		answeredBy(t, answer, "udp", "aspera-tcp-proxy")
	}

	t.Log(condition(t, p, ns, "aspera-tcp-proxy", "True"))
}

func answeredBy(t *testing.T, answer, network, deployment string) {
	t.Helper()
	t.Logf("%s", answer)
	if !strings.HasPrefix(answer, network+" ") || !strings.Contains(answer, deployment) {
		t.Errorf("answer %q is not that of a pod of %s over %s", answer, deployment, network)
	}
}

// The setup of a user whose Helm install lives in the namespace default, with one address for all: the first Service
// gets it, the second is told why it does not.
func TestAerosOneAddress(t *testing.T) {
	p := metallb(t, "default", "aeros/metallb.yaml")
	ctx := product.Within(t, 2*time.Minute)
	product.Must(t, p.Apply(ctx, "default", "aeros/pool.yaml"))
	t.Cleanup(func() {
		if _, err := p.Kubectl(ctx, "delete", "-f", p.File("aeros/pool.yaml")); err != nil {
			t.Error(err)
		}
	})
	ns := namespace(t, p)
	address := asperaService(t, p, ns)
	if address != netip.MustParseAddr("172.30.0.214") {
		t.Errorf("got %s, the pool has only 172.30.0.214", address)
	}
	_, _, err := p.Announcer(ctx, address)
	product.Must(t, err)
	answer, err := p.Answer(ctx, lab.Client, "tcp", netip.AddrPortFrom(address, 33001))
	product.Must(t, err)
	answeredBy(t, answer, "tcp", "aspera-tcp-proxy")

	_, err = p.Kubectl(ctx, "create", "service", "loadbalancer", "second", "-n", ns, "--tcp=80")
	product.Must(t, err)
	c := condition(t, p, ns, "second", "False")
	if !strings.Contains(c, "first-pool") {
		t.Errorf("the second Service's condition does not name the pool that is exhausted: %s", c)
	}
	t.Log(c)
	_, err = p.Kubectl(ctx, "delete", "service", "aspera-tcp-proxy", "-n", ns)
	product.Must(t, err)
	second, err := p.Address(ctx, ns, "second")
	product.Must(t, err)
	if second != address {
		t.Errorf("the second Service got %s after the first had left, want %s", second, address)
	}
}

// An IPv6 address is found by neighbour discovery: the client's kernel asks, a speaker answers.
func TestIPv6ServiceAnswers(t *testing.T) {
	p := metallb(t, "metallb-system", "aspera/metallb.yaml")
	ctx := product.Within(t, time.Minute)
	product.Must(t, p.Apply(ctx, "metallb-system", "ipv6/pool.yaml"))
	t.Cleanup(func() {
		if _, err := p.Kubectl(ctx, "delete", "-f", p.File("ipv6/pool.yaml")); err != nil {
			t.Error(err)
		}
	})
	ns := namespace(t, p)
	product.Must(t, p.Apply(ctx, ns, "aspera/backend.yaml", "ipv6/service.yaml"))
	product.Must(t, p.WaitRollout(ctx, ns, "aspera-tcp-proxy"))
	address, err := p.Address(ctx, ns, "over-ipv6")
	product.Must(t, err)
	for network, port := range map[string]uint16{"tcp": 33001, "udp": 33002} {
		answer, err := p.Answer(ctx, lab.Client, network, netip.AddrPortFrom(address, port))
		product.Must(t, err)
		answeredBy(t, answer, network, "aspera-tcp-proxy")
	}
	neighbours, err := p.Exec(ctx, lab.Client, "ip", "-6", "neigh", "show", address.String())
	product.Must(t, err)
	t.Logf("%s", neighbours.Stdout)
	if !strings.Contains(neighbours.Stdout, "lladdr 02:00:ac:1e:00:0") {
		t.Errorf("the client's neighbour entry for %s names no node: %q", address, neighbours.Stdout)
	}
}
