package bgp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// bgpPort is where speakers listen once they are told to.
const bgpPort = 179

// TestRoutersThatCall has the speakers listen: for a router that opens all connections, and for one that opens them while the
// speakers do so too. Of two connections one stays, for good; and nobody else is let in.
func TestRoutersThatCall(t *testing.T) {
	n := install(t)
	n.listen()
	for name, passive := range map[string]bool{"the router alone": true, "both ends": false} {
		t.Run(name, func(t *testing.T) {
			n := install(t)
			n.startRouter(lab.FRR, n.gateway("timers connect 1"))
			ns := n.expose(func(p *v1beta2.BGPPeerSpec) { p.PassiveMode = passive })
			n.told(ns, "edge", n.Nodes())
			before := n.livesByNode()
			opened, err := n.sessionsInFRR(func(x frrSession) bool { return x.PortForeign == bgpPort })
			n.must(err)
			if passive && opened != len(n.Nodes()) {
				t.Errorf("the router has opened %d connections, and is to open all", opened)
			}
			n.bothAnswer(n.Nodes())
			for _, node := range n.Nodes() {
				n.refused(node)
			}
			time.Sleep(3 * time.Second) // three times as long as the router waits before it tries again
			t.Logf("the router has opened %d of %d connections; a stranger is refused", opened, len(n.Nodes()))
			n.sameLives(before)
		})
	}
}

// listen has the speakers listen until the test ends.
func (n *network) listen() {
	n.t.Helper()
	n.listenAt(n.within(), bgpPort)
	n.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
		defer cancel()
		n.listenAt(ctx, 0)
	})
}

func (n *network) listenAt(ctx context.Context, port int32) {
	n.t.Helper()
	m := &v1beta1.MetalLB{}
	n.must(n.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "metallb"}, m))
	m.Spec.BGP = &v1beta1.BGPConfig{ListenPort: port}
	n.must(n.Update(ctx, m), n.WaitAvailable(ctx, namespace))
}

// livesByNode are how often FRR has had a session with each node, and lost it.
func (n *network) livesByNode() map[string]string {
	n.t.Helper()
	out := map[string]string{}
	for _, node := range n.Nodes() {
		out[node] = n.established(node)
	}
	return out
}

// sameLives checks that no session has ended since, but for those of some nodes.
func (n *network) sameLives(before map[string]string, but ...string) {
	n.t.Helper()
	now := n.livesByNode()
	for node, life := range before {
		if (now[node] != life || life == "") && !slices.Contains(but, node) {
			n.t.Errorf("the session with %s was the %q, and is the %q", node, life, now[node])
		}
	}
}

// refused checks that a node says nothing to a machine that is no peer, and hangs up.
func (n *network) refused(node string) {
	n.t.Helper()
	c, err := n.Dial(n.within(), lab.Client, "tcp", netip.AddrPortFrom(n.address(node), bgpPort).String())
	if errors.Is(err, syscall.ECONNRESET) {
		return // sooner than it is noticed here that there was a connection
	}
	n.must(err)
	defer c.Close()
	n.must(c.SetDeadline(time.Now().Add(patience)))
	if said, err := io.ReadAll(c); len(said) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		n.t.Errorf("%s says %q to a stranger, %v", node, said, err)
	}
}

// TestUnnumbered has a node and a router without an address find one another, lose the link, and find one another again.
func TestUnnumbered(t *testing.T) {
	const node = "node1"
	n := install(t)
	n.startRouter(lab.FRR, fmt.Sprintf(`hostname router
log stdout
interface eth0
 ipv6 nd ra-lifetime 0
exit
router bgp %d
 bgp router-id %s
 no bgp ebgp-requires-policy
 neighbor eth0 interface remote-as external
 address-family ipv4 unicast
  neighbor eth0 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor eth0 activate
 exit-address-family
exit
`, lab.RouterAS, routerID))
	began := time.Now()
	ns := n.announce(func(p *v1beta2.BGPPeerSpec) {
		p.Address, p.ASN, p.DualStackAddressFamily = "", 0, false
		p.Interface, p.DynamicASN, p.NodeSelectors = "eth0", v1beta2.DynamicASNExternal, on(node)
	})
	n.over(1)
	found := time.Since(began)
	n.told(ns, "edge", []string{node})
	n.bothAnswer([]string{node})
	n.must(n.CutCable(node, lab.LAN, lab.CarrierLoss))
	t.Cleanup(func() { n.must(n.MendCable(node, lab.LAN)) })
	n.reported(node, "the session to end with the link", func(s v1beta1.BGPSessionStateStatus) bool { return s.BGPStatus != established })
	n.must(n.MendCable(node, lab.LAN))
	mended := time.Now()
	n.reported(node, "the session again", func(s v1beta1.BGPSessionStateStatus) bool { return s.BGPStatus == established })
	t.Logf("routes %s after the peer was written; Established again %s after the cable was mended", found.Round(10*time.Millisecond), time.Since(mended).Round(10*time.Millisecond))
	n.over(1)
	n.bothAnswer([]string{node})
}

// established is the state of a session that is up, in reports.
const established = "Established"

// reported waits until the report on a node's session with the router that all announce to is so, and returns it.
func (n *network) reported(node, what string, so func(v1beta1.BGPSessionStateStatus) bool) (state v1beta1.BGPSessionStateStatus) {
	n.t.Helper()
	n.must(product.Until(n.within(), what, func() (ok bool, err error) {
		state, err = n.sessionState(node, "edge")
		return err == nil && so(state), errors.Join(err, fmt.Errorf("%+v", state))
	}))
	return state
}

// sessionState is what is reported of a node's session with a BGPPeer.
func (n *network) sessionState(node, peer string) (v1beta1.BGPSessionStateStatus, error) {
	var list v1beta1.BGPSessionStateList
	err := n.List(n.within(), &list, client.InNamespace(namespace))
	for _, s := range list.Items {
		if s.Status.Node == node && s.Status.BGPPeer == peer {
			return s.Status, err
		}
	}
	return v1beta1.BGPSessionStateStatus{}, err
}

// TestTooManyRoutes has a router end the session with a node that sends more routes than it may: the report says why, the
// other nodes' sessions go on, and once there are fewer the session comes back as soon as the router takes it.
func TestTooManyRoutes(t *testing.T) {
	const node = "node1"
	n := install(t)
	at := n.address(node).String()
	active := "  neighbor " + at + " activate\n"
	n.startRouter(lab.FRR, strings.Replace(n.gateway(), active, active+"  neighbor "+at+" maximum-prefix 2\n", 1))
	ns := n.expose(nil)
	before := n.livesByNode()
	more := n.moreServices(ns, 3)
	state := n.reported(node, "the reason", func(s v1beta1.BGPSessionStateStatus) bool {
		return s.BGPStatus != established && strings.Contains(s.LastError, "maximum number of prefixes reached")
	})
	n.over(len(n.Nodes()) - 1)
	n.sameLives(before, node)
	for _, s := range more {
		n.must(n.Delete(n.within(), s))
	}
	n.must(product.Until(n.within(), "one route to be left", func() (bool, error) {
		routes, err := n.routes()
		return err == nil && len(routes) == 1, errors.Join(err, fmt.Errorf("of %v", routes))
	}))
	n.vtysh("clear bgp " + at) // what a router's administrator does
	n.everywhere()
	t.Logf("%q, and Established again after that", state.LastError)
	n.sameLives(before, node)
}

// moreServices makes Services with addresses of a pool of their own, which all nodes announce.
func (n *network) moreServices(ns string, count int) (all []client.Object) {
	n.t.Helper()
	n.make(
		&v1beta1.IPAddressPool{ObjectMeta: configured("more"), Spec: v1beta1.IPAddressPoolSpec{AutoAssign: ptr.To(false), Addresses: []string{"100.65.1.0/28"}}},
		&v1beta1.BGPAdvertisement{ObjectMeta: configured("more"), Spec: v1beta1.BGPAdvertisementSpec{IPAddressPools: []string{"more"}}})
	for i := range count {
		s := fromPool(ns, fmt.Sprintf("more-%d", i), "more")
		n.make(s)
		all = append(all, s)
	}
	return all
}
