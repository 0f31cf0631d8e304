package node

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/bgp/bgptest"
	"metallb.io/operator/internal/l2/l2test"
)

func TestParting(t *testing.T) {
	var p parting
	told := announce.BGP{Peers: []announce.BGPPeer{{Wanted: bgp.Wanted{Paths: make([]bgp.Path, 1)}}}}
	if p.follow(announce.BGP{}); p.may {
		t.Error("there is nothing to part from")
	}
	if p.follow(told); !p.may || p.over() != nil {
		t.Errorf("%+v: it could part, and does not yet", p)
	}
	told.Parting = true
	p.follow(told)
	timer := p.over()
	p.follow(told)
	if timer == nil || p.over() != timer {
		t.Error("the time begins once")
	}
	select {
	case <-timer:
	case <-time.After(time.Minute):
		t.Fatal("the time does not end")
	}
	p.end()
	if p.follow(announce.BGP{}); p.may || p.over() != nil {
		t.Errorf("%+v: it has parted", p)
	}
	p.follow(told)
	if told.Parting = false; p.over() == nil {
		t.Error("it parts again")
	}
	if p.follow(told); !p.may || p.over() != nil {
		t.Errorf("%+v: it stays", p)
	}
}

// TestRoutersAreAskedToUseOthersFirst has FRR write down what it hears of a node that is cordoned, excluded, and whose speaker
// ends.
func TestRoutersAreAskedToUseOthersFirst(t *testing.T) {
	l2test.Require(t, "/usr/lib/frr/bgpd", "vtysh")
	c := newCluster(t, 2)
	l2test.IP(t, "addr add 192.0.2.201/24 dev lan0")
	f := bgptest.StartFRR(t, c.lan, strings.Join([]string{
		"router bgp 64513", " bgp router-id 192.0.2.254", " no bgp ebgp-requires-policy", " neighbor 192.0.2.201 remote-as 64512", "",
	}, "\n"))
	f.Record(t)
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: c.namespace} }
	c.create(&v1beta2.BGPPeer{ObjectMeta: meta("router"), Spec: v1beta2.BGPPeerSpec{
		MyASN: 64512, ASN: 64513, Address: "192.0.2.254", NodeSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"zone": "0"}}},
	}})
	c.create(&v1beta1.IPAddressPool{ObjectMeta: meta("routed"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"203.0.113.0/24"}}})
	c.create(&v1beta1.BGPAdvertisement{ObjectMeta: meta("exact"), Spec: v1beta1.BGPAdvertisementSpec{IPAddressPools: []string{"routed"}}})
	s, other := c.start(0, ""), c.start(1, "")
	c.ready(s, other)
	c.service("web", "203.0.113.7", 0)
	has := func(what string, want bool) {
		t.Helper()
		l2test.Eventually(t, time.Minute, what, func() bool { return f.Routes(t, "ipv4")["203.0.113.7/32"].Valid == want })
	}
	communities := func(what, want string) {
		t.Helper()
		l2test.Eventually(t, time.Minute, what, func() bool {
			plain, _ := f.Communities(t, "ipv4", "203.0.113.7/32")
			return plain == want
		})
	}
	// heard is what the router has heard while something was done, until the route was gone.
	heard := func(what string, do func()) string {
		t.Helper()
		before := len(f.Recorded(t))
		do()
		has(what, false)
		return f.Recorded(t)[before:]
	}
	const asked = "graceful-shutdown"
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: c.node(0)}}
	has("the router has the route", true)
	communities("nothing is asked", "")

	change(c, node, func(n *corev1.Node) { n.Spec.Unschedulable = true })
	communities("the node is cordoned", asked)
	change(c, node, func(n *corev1.Node) { n.Spec.Unschedulable = false })
	communities("it is not any more", "")

	text := heard("the node is excluded", func() {
		change(c, node, func(n *corev1.Node) { n.Labels[announce.ExcludeLabel] = "" })
	})
	if first, last := strings.Index(text, asked), strings.LastIndex(text, "withdrawn"); first < 0 || last < first {
		t.Errorf("heard: %s", text)
	}
	change(c, node, func(n *corev1.Node) { delete(n.Labels, announce.ExcludeLabel) })
	has("it announces again", true)
	communities("nothing is asked", "")

	if text := heard("the speaker ends", s.stop); !strings.Contains(text, asked) {
		t.Errorf("heard: %s", text)
	}
}
