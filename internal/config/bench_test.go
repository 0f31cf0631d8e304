package config

import (
	"fmt"
	"net/netip"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
)

// large is a configuration of 1000 pools with an advertisement of each kind, 100 peers and 500 nodes.
func large() Input {
	zone := func(i int) []metav1.LabelSelector {
		return []metav1.LabelSelector{{MatchLabels: map[string]string{"zone": fmt.Sprint(i % 10)}}}
	}
	in := Input{
		BFDProfiles: []v1beta1.BFDProfile{{ObjectMeta: born("fast", 1)}},
		Communities: []v1beta1.Community{{ObjectMeta: born("names", 1), Spec: v1beta1.CommunitySpec{Communities: []v1beta1.CommunityAlias{{Name: "here", Value: "64512:1"}}}}},
	}
	for i := range 500 {
		in.Nodes = append(in.Nodes, Node{
			Name: fmt.Sprintf("node-%d", i), Labels: labels.Set{"zone": fmt.Sprint(i % 10), "kubernetes.io/hostname": fmt.Sprintf("node-%d", i)},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{172, 16, byte(i / 250), byte(i%250 + 1)}), netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%x", i+1))},
			Subnets:   []netip.Prefix{netip.MustParsePrefix("172.16.0.0/22"), netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244 + byte(i/256), byte(i), 0}), 24)},
			Gateways:  []netip.Addr{netip.MustParseAddr("172.16.3.254")},
		})
	}
	for i := range 1000 {
		name := fmt.Sprintf("pool-%d", i)
		pool := ipPool(name, i+1, fmt.Sprintf("192.%d.%d.0-192.%d.%d.200", i/250, i%250, i/250, i%250), fmt.Sprintf("2001:db8:%x::/64", i+16))
		in.IPAddressPools = append(in.IPAddressPools, pool)
		in.L2Advertisements = append(in.L2Advertisements, v1beta1.L2Advertisement{ObjectMeta: born(name, 1), Spec: v1beta1.L2AdvertisementSpec{IPAddressPools: []string{name}, NodeSelectors: zone(i)}})
		in.BGPAdvertisements = append(in.BGPAdvertisements, v1beta1.BGPAdvertisement{ObjectMeta: born(name, 1), Spec: v1beta1.BGPAdvertisementSpec{
			IPAddressPools: []string{name}, NodeSelectors: zone(i), Communities: []string{"here", "64512:2"}, Peers: []string{fmt.Sprintf("peer-%d", i%100)},
		}})
	}
	for i := range 100 {
		in.BGPPeers = append(in.BGPPeers, v1beta2.BGPPeer{ObjectMeta: born(fmt.Sprintf("peer-%d", i), i+1), Spec: v1beta2.BGPPeerSpec{
			MyASN: 64512, ASN: 64513, Address: fmt.Sprintf("198.51.100.%d", i), NodeSelectors: zone(i), BFDProfile: "fast",
		}})
	}
	return in
}

func BenchmarkCompile(b *testing.B) {
	in := large()
	if _, problems := Compile(in); len(problems) > 0 {
		b.Fatalf("problems: %v", problems[0])
	}
	for b.Loop() {
		Compile(in)
	}
}

// BenchmarkCompileAllOnAll has advertisements without names, each of which is for every pool.
func BenchmarkCompileAllOnAll(b *testing.B) {
	in := large()
	in.BGPAdvertisements = nil
	for i := range 50 {
		length := int32(30 - i%5)
		in.BGPAdvertisements = append(in.BGPAdvertisements, v1beta1.BGPAdvertisement{ObjectMeta: born(fmt.Sprint(i), 1), Spec: v1beta1.BGPAdvertisementSpec{
			AggregationLength: &length, LocalPref: uint32(i), Peers: []string{fmt.Sprintf("peer-%d", i)},
		}})
	}
	for b.Loop() {
		Compile(in)
	}
}
