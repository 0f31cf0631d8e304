package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// The addresses of the Service edge, which all nodes announce to the router.
var edge4, edge6 = netip.MustParseAddr("100.65.0.1"), netip.MustParseAddr("fd00:65::1")

var edgePrefix = netip.PrefixFrom(edge4, 32).String()

// make creates objects until the test ends.
func (n *network) make(objects ...client.Object) {
	n.t.Helper()
	for _, o := range objects {
		n.must(n.Create(n.within(), o))
		n.t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := client.IgnoreNotFound(n.Delete(ctx, o)); err != nil {
				n.t.Error(err)
			}
		})
	}
}

func configured(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

// expose has all nodes announce a Service with a pod on each, of both families over one session over IPv4, until the test
// ends. The pods see who asks.
func (n *network) expose(edit func(*v1beta2.BGPPeerSpec)) (ns string) {
	n.t.Helper()
	ns = n.announce(edit)
	n.everywhere()
	return ns
}

// announce is expose without a look at the router.
func (n *network) announce(edit func(*v1beta2.BGPPeerSpec)) (ns string) {
	n.t.Helper()
	ns = n.apply("bgp/echo.yaml")
	peer := &v1beta2.BGPPeer{ObjectMeta: configured("edge"), Spec: v1beta2.BGPPeerSpec{
		MyASN: lab.NodeAS, ASN: lab.RouterAS, Address: n.address(lab.Router).String(), DualStackAddressFamily: true,
	}}
	if edit != nil {
		edit(&peer.Spec)
	}
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "edge"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
		IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyRequireDualStack), Selector: map[string]string{"app": "echo"},
		Ports: []corev1.ServicePort{{Port: 80, TargetPort: intOrString(33001)}},
	}}
	s.Annotations = map[string]string{"metallb.io/loadBalancerIPs": edge4.String() + "," + edge6.String()}
	n.make(
		&v1beta1.IPAddressPool{ObjectMeta: configured("edge"), Spec: v1beta1.IPAddressPoolSpec{
			AutoAssign: ptr.To(false), Addresses: []string{edge4.String() + "/32", edge6.String() + "/128"},
		}},
		peer, &v1beta1.BGPAdvertisement{ObjectMeta: configured("edge"), Spec: v1beta1.BGPAdvertisementSpec{IPAddressPools: []string{"edge"}}}, s)
	return ns
}

// everywhere waits until the router's kernel forwards the Service's addresses over all nodes.
func (n *network) everywhere() {
	n.t.Helper()
	n.over(len(n.Nodes()))
}

// over waits until the router's kernel forwards the Service's addresses over so many ways.
func (n *network) over(ways int) {
	n.t.Helper()
	for _, a := range []netip.Addr{edge4, edge6} {
		n.forwarded(a, ways)
	}
}

// forwarded waits until the router's kernel forwards an address over so many ways. It has them a moment after BGP.
func (n *network) forwarded(address netip.Addr, ways int) {
	n.t.Helper()
	n.must(product.Until(n.within(), "ways of the router's kernel", func() (bool, error) {
		now := n.kernel(address)
		return now == ways, fmt.Errorf("%d to %s, and %d are wanted", now, address, ways)
	}))
}

// bothAnswer asks the Service's addresses from behind the router until each of the nodes has answered.
func (n *network) bothAnswer(nodes []string) {
	n.t.Helper()
	for _, a := range []netip.Addr{edge4, edge6} {
		n.answered(netip.AddrPortFrom(a, 80), nodes)
	}
}

// gateway is the configuration of a router, FRR, that takes sessions with all nodes for both families, and forwards over all
// of them. What more there is to say of a node's session comes after its address.
func (n *network) gateway(more ...string) string {
	var out, active strings.Builder
	fmt.Fprintf(&out, "hostname router\nlog stdout\nbfd\n profile fast\n  receive-interval 100\n  transmit-interval 100\n  detect-multiplier 3\n exit\nexit\n"+
		"router bgp %d\n bgp router-id %s\n no bgp ebgp-requires-policy\n bgp bestpath as-path multipath-relax\n", lab.RouterAS, routerID)
	for _, node := range n.Nodes() {
		at := n.address(node)
		fmt.Fprintf(&out, " neighbor %s remote-as %d\n", at, lab.NodeAS)
		for _, m := range more {
			fmt.Fprintf(&out, " neighbor %s %s\n", at, m)
		}
		fmt.Fprintf(&active, "  neighbor %s activate\n", at)
	}
	for _, f := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(&out, " address-family %s unicast\n  maximum-paths 8\n%s exit-address-family\n", f, &active)
	}
	out.WriteString("exit\n")
	return out.String()
}

// TestSpread has a machine behind the router use a Service over IPv4 and IPv6: each node gets its share, and the pods see
// whose requests they are.
func TestSpread(t *testing.T) {
	n := install(t)
	n.startRouter(lab.FRR, n.gateway())
	n.expose(nil)
	for _, a := range []netip.Addr{edge4, edge6} {
		to := netip.AddrPortFrom(a, 80)
		n.answered(to, n.Nodes())
		const requests = 150
		share := map[string]int{}
		for range requests {
			answer, err := n.Answer(n.within(), lab.Remote, "tcp", to)
			n.must(err)
			share[said(answer)["node"]]++
		}
		t.Logf("%s: of %d connections each node got %v", a, requests, share)
		for _, node := range n.Nodes() {
			if share[node] < requests/10 {
				t.Errorf("%s got %d of %d connections", node, share[node], requests)
			}
		}
	}
}

// TestRollingUpdate rolls the speakers out anew, with graceful restart and without, while a machine behind the router opens
// connections all the while, and keeps one open.
func TestRollingUpdate(t *testing.T) {
	for name, graceful := range map[string]bool{"with graceful restart": true, "without graceful restart": false} {
		t.Run(name, func(t *testing.T) {
			n := install(t)
			n.startRouter(lab.FRR, n.gateway())
			n.expose(func(p *v1beta2.BGPPeerSpec) { p.EnableGracefulRestart = graceful })
			to := netip.AddrPortFrom(edge4, 80)
			n.answered(to, n.Nodes())

			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			stream := make(chan []product.Request, 1)
			go func() { stream <- n.Stream(ctx, lab.Remote, "tcp", to, 20*time.Millisecond) }()
			kept, err := n.Converse(ctx, lab.Remote, "tcp", to)
			n.must(err)
			for range *rollouts {
				n.rollOut()
				n.everywhere()
			}
			time.Sleep(time.Second) // what goes wrong at last is to be seen, too
			conversed := kept.Stop()
			stop()
			fared := product.How(<-stream)
			t.Logf("%d rollouts %s: %s; %s", *rollouts, name, fared, conversed)
			if !graceful {
				return // the routes of a node go, and come back: connections that hang on them are lost
			}
			if err := conversed.Check(); err != nil {
				t.Error(err)
			}
			if err := fared.Check(); *judged && fared.Unconnected > 0 || err != nil {
				t.Errorf("%d failed connects, %v:\n%s", fared.Unconnected, err, fared.Failures())
			}
		})
	}
}

func (n *network) rollOut() {
	n.t.Helper()
	ctx := product.Within(n.t, 3*time.Minute)
	for _, command := range []string{"restart", "status"} {
		_, err := n.Kubectl(ctx, "rollout", command, "-n", namespace, "daemonset/speaker")
		n.must(err)
	}
	n.must(product.Until(ctx, "the speakers before to be gone", func() (bool, error) {
		pods := &corev1.PodList{}
		err := n.List(ctx, pods, client.InNamespace(namespace), client.MatchingLabels{"component": "speaker"})
		return len(pods.Items) == len(n.Nodes()), err
	}))
}
