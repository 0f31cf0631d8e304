package bgp

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/test/lab"
)

var three = []string{"node1", "node2", "node3"}

func intOrString(n int) intstr.IntOrString { return intstr.FromInt32(int32(n)) }

func duration(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

// matrixObjects are what rows refer to by name.
var matrixObjects = []client.Object{
	&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "matrix", Labels: label}, Type: corev1.SecretTypeBasicAuth,
		StringData: map[string]string{"password": "from-a-Secret"},
	},
	&v1beta1.Community{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "matrix", Labels: label},
		Spec:       v1beta1.CommunitySpec{Communities: []v1beta1.CommunityAlias{{Name: "alias", Value: "64512:3"}, {Name: "wide", Value: "large:64512:1:3"}}},
	},
}

// sessionRows are the ways to have a session.
var sessionRows = []row{
	{name: "eBGP", nodes: three},
	{name: "iBGP", router: neighbour{as: 64512, nodes: 64512}, routes: []route{{localPref: 100}}},
	{name: "AS numbers of four octets", router: neighbour{as: 4200000002, nodes: 4200000001}},
	{name: "iBGP with an AS number of four octets", router: neighbour{as: 4200000001, nodes: 4200000001}},
	{
		name: "a router that knows AS numbers of two octets only", only: lab.BIRD, router: neighbour{nodes: 64512, twoOctets: true},
	},
	{
		name: "any AS number but ours",
		peer: func(_ *instance, p *v1beta2.BGPPeerSpec) { p.ASN, p.DynamicASN = 0, v1beta2.DynamicASNExternal },
	},
	{
		name: "our AS number, whatever it is", router: neighbour{as: 64512, nodes: 64512},
		peer: func(_ *instance, p *v1beta2.BGPPeerSpec) { p.ASN, p.DynamicASN = 0, v1beta2.DynamicASNInternal },
	},
	{
		name: "another AS number towards one peer", router: neighbour{nodes: 64999},
		peer: func(_ *instance, p *v1beta2.BGPPeerSpec) { p.MyASN, p.LocalASN = 64512, 64999 },
	},
	{
		name: "a router ID",
		peer: func(_ *instance, p *v1beta2.BGPPeerSpec) { p.RouterID = "10.9.8.7" },
		session: func(s seen) error {
			if s.routerID != "10.9.8.7" {
				return fmt.Errorf("router ID %s", s.routerID)
			}
			return nil
		},
	},
	{
		name: "the node's address is the router ID",
		session: func(s seen) error {
			if s.routerID != "172.30.0.11" {
				return fmt.Errorf("router ID %s", s.routerID)
			}
			return nil
		},
	},
	{
		name: "a source address", router: neighbour{second: true},
		peer: func(in *instance, p *v1beta2.BGPPeerSpec) { p.SrcAddress = in.of("node1").String() },
	},
	{name: "a port", peer: func(_ *instance, p *v1beta2.BGPPeerSpec) { p.Port = otherPort }},
	{name: "both families on a session", router: neighbour{both: true}},
	{name: "more than one hop", router: neighbour{hops: true}},
	{name: "a password", router: neighbour{password: "pass-word"}},
	{
		name: "a password from a Secret", router: neighbour{password: "from-a-Secret"},
		peer: func(_ *instance, p *v1beta2.BGPPeerSpec) {
			p.Password, p.PasswordSecret = "", corev1.SecretReference{Name: "matrix"}
		},
	},
	{
		name: "hold time and keepalives",
		peer: func(_ *instance, p *v1beta2.BGPPeerSpec) {
			p.HoldTime, p.KeepaliveTime = duration(9*time.Second), duration(time.Second)
		},
		session: wantTimes(9, 3),
	},
	{
		name: "a session that never expires", peer: func(_ *instance, p *v1beta2.BGPPeerSpec) { p.HoldTime = duration(0) },
		session: wantTimes(0, 0),
	},
	{
		name: "TTL security", router: neighbour{gtsm: true},
		peer: func(_ *instance, p *v1beta2.BGPPeerSpec) { p.TTLSecurityHops = 1 },
	},
	{name: "the hold time of all defaults", session: wantTimes(90, 0)},
	{
		name: "nodes by their labels", nodes: []string{"node2", "node3"},
		peer: func(_ *instance, p *v1beta2.BGPPeerSpec) { p.NodeSelectors = append(on("node2"), on("node3")...) },
	},
	{
		name:    "graceful restart",
		peer:    func(_ *instance, p *v1beta2.BGPPeerSpec) { p.EnableGracefulRestart = true },
		session: wantGraceful(true),
	},
	{name: "no graceful restart", session: wantGraceful(false)},
}

func wantTimes(hold, keepalives int) func(seen) error {
	return func(s seen) error {
		if s.holdTime != hold || s.keepalives >= 0 && s.keepalives < keepalives {
			return fmt.Errorf("hold time %d, %d keepalives", s.holdTime, s.keepalives)
		}
		return nil
	}
}

func wantGraceful(want bool) func(seen) error {
	return func(s seen) error {
		if s.graceful != want {
			return fmt.Errorf("graceful restart: %v", s.graceful)
		}
		return nil
	}
}

type advertisements = []func(*v1beta1.BGPAdvertisementSpec)

func aggregate(a *v1beta1.BGPAdvertisementSpec) {
	a.AggregationLength, a.AggregationLengthV6 = ptr.To[int32](28), ptr.To[int32](124)
}

func communities(all ...string) func(*v1beta1.BGPAdvertisementSpec) {
	return func(a *v1beta1.BGPAdvertisementSpec) { a.Communities = all }
}

// without deletes a Service of a row.
func without(i int) func(*matrix, *instance) {
	return func(m *matrix, in *instance) {
		s := &corev1.Service{}
		s.Namespace, s.Name = m.ns, fmt.Sprintf("%s-%d", in.name, i)
		m.must(m.Delete(m.within(), s))
	}
}

// pathRows are the ways to announce something.
var pathRows = []row{
	{
		name: "an aggregate of several addresses", advertisements: advertisements{aggregate}, services: []service{{address: 1}, {address: 2}},
		routes: []route{{address: 1, short: true}},
		then: []change{
			{"it stays for the second", without(0), []route{{address: 1, short: true}}},
			{"it goes with the last", without(1), nil},
		},
	},
	{
		name: "an aggregate, and the addresses of one node", nodes: three,
		advertisements: advertisements{aggregate, func(a *v1beta1.BGPAdvertisementSpec) { a.NodeSelectors = on("node2") }},
		routes:         []route{{short: true}, {nodes: []string{"node2"}}},
	},
	{
		name: "LOCAL_PREF", router: neighbour{as: 64512, nodes: 64512},
		advertisements: advertisements{func(a *v1beta1.BGPAdvertisementSpec) { a.LocalPref = 217 }},
		routes:         []route{{localPref: 217}},
	},
	{
		name: "communities", advertisements: advertisements{communities("64512:7", "large:64512:1:2", "65535:65281")},
		routes: []route{{communities: []string{"64512:7", "large:64512:1:2", "no-export"}}},
	},
	{
		name: "aliases of communities", advertisements: advertisements{communities("alias", "wide")},
		routes: []route{{communities: []string{"64512:3", "large:64512:1:3"}}},
	},
	{
		name: "an advertisement of one node", nodes: three,
		advertisements: advertisements{func(a *v1beta1.BGPAdvertisementSpec) { a.NodeSelectors = on("node2") }},
		routes:         []route{{nodes: []string{"node2"}}},
	},
	{
		name: "an advertisement of some Services",
		advertisements: advertisements{func(a *v1beta1.BGPAdvertisementSpec) {
			a.ServiceSelectors = []metav1.LabelSelector{{MatchLabels: map[string]string{"public": "yes"}}}
		}},
		services: []service{{}, {address: 1, labels: map[string]string{"public": "yes"}}},
		routes:   []route{{address: 1}},
	},
	{
		name: "several advertisements are one", advertisements: advertisements{communities("64512:1"), communities("64512:2", "large:64512:1:2")},
		routes: []route{{communities: []string{"64512:1", "64512:2", "large:64512:1:2"}}},
	},
	{
		name: "nodes with a pod only", nodes: three, services: []service{{local: true}},
		routes: []route{{nodes: []string{"node2"}}},
	},
	{
		name: "an address that Services share", services: []service{{shared: true}, {shared: true, port: 1}},
		then: []change{
			{"it stays for the second", without(0), []route{{}}},
			{"it goes with the last", without(1), nil},
		},
	},
	{
		name:           "MED",
		advertisements: advertisements{func(a *v1beta1.BGPAdvertisementSpec) { a.MED = ptr.To[uint32](50) }},
		routes:         []route{{med: "50"}},
	},
	{
		name:           "a longer AS path",
		advertisements: advertisements{func(a *v1beta1.BGPAdvertisementSpec) { a.ASPathPrepend = 2 }},
		routes:         []route{{path: "64512 64512 64512"}},
	},
	{
		name: "a node that is drained", nodes: three,
		then: []change{
			{"it asks to be used last", cordon(true), []route{{nodes: three[:2]}, {nodes: three[2:], communities: []string{"graceful-shutdown"}}}},
			{"it is back", cordon(false), []route{{}}},
		},
	},
}

// cordon the third node, or take that back.
func cordon(set bool) func(*matrix, *instance) {
	return func(m *matrix, _ *instance) {
		do := func(ctx context.Context, set bool) error {
			command := "uncordon"
			if set {
				command = "cordon"
			}
			_, err := m.Kubectl(ctx, command, "node3")
			return err
		}
		m.must(do(m.within(), set))
		if set {
			m.t.Cleanup(func() {
				if err := do(context.Background(), false); err != nil {
					m.t.Error(err)
				}
			})
		}
	}
}
