package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"
)

// around are three nodes of one LAN behind one gateway, each with a subnet of its own for pods.
func around() []Node {
	var out []Node
	for i := range 3 {
		out = append(out, Node{
			Name: fmt.Sprintf("node-%d", 3-i), Labels: labels.Set{"zone": "a"},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(13 - i)}), netip.MustParseAddr(fmt.Sprintf("fe80::%d%%eth0", i+1))},
			Subnets:   []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 1}), 24), netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("198.51.100.7/32")},
			Gateways:  []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1")},
		})
	}
	return out
}

func TestSurroundings(t *testing.T) {
	const l2, bgp = "L2Advertisement", "BGPAdvertisement"
	for name, tt := range map[string]struct {
		addresses string
		by        []string
		want      []string // without "W IPAddressPool p: spec."
	}{
		"beside everything":         {"192.0.2.100/31", []string{l2}, nil},
		"the address of a node":     {"192.0.2.100/31, 192.0.2.12/32", []string{l2}, []string{`addresses[1]: Invalid value: "192.0.2.12/32": contains 192.0.2.12, an address of node node-2: no Service may have that; write addresses that nothing else has`}},
		"the addresses of nodes":    {"192.0.2.10-192.0.2.20", []string{l2}, []string{`addresses[0]: Invalid value: "192.0.2.10-192.0.2.20": contains 192.0.2.11, an address of node node-1 (and 2 more): no Service may have that; write addresses that nothing else has`}},
		"the gateway":               {"192.0.2.1-192.0.2.9", []string{l2}, []string{`addresses[0]: Invalid value: "192.0.2.1-192.0.2.9": contains 192.0.2.1, the gateway of node node-1 and 2 others: no Service may have that; write addresses that nothing else has`}},
		"the LAN, by BGP":           {"192.0.2.100/31", []string{bgp}, []string{`addresses[0]: Invalid value: "192.0.2.100/31": overlaps 192.0.2.0/24, the subnet of node node-1 and 2 others, and is announced by BGP only: hosts of that subnet ask by ARP or NDP and get no answer; create an L2Advertisement for the pool too, or write addresses outside of the subnet`}},
		"the LAN, by both":          {"192.0.2.100/31", []string{bgp, l2}, nil},
		"around a subnet":           {"10.244.0.0/16", []string{bgp}, []string{`addresses[0]: Invalid value: "10.244.0.0/16": overlaps 10.244.0.0/24, the subnet of node node-3, and is announced by BGP only: hosts of that subnet ask by ARP or NDP and get no answer; create an L2Advertisement for the pool too, or write addresses outside of the subnet`}},
		"the end of a subnet":       {"10.244.1.255-10.244.9.9", []string{bgp}, []string{`addresses[0]: Invalid value: "10.244.1.255-10.244.9.9": overlaps 10.244.1.0/24, the subnet of node node-2, and is announced by BGP only: hosts of that subnet ask by ARP or NDP and get no answer; create an L2Advertisement for the pool too, or write addresses outside of the subnet`}},
		"a subnet of one, by BGP":   {"198.51.100.0/24", []string{bgp}, nil},
		"an entry that is not used": {"192.0.2.100/31, 192.0.2.100/30, 192.0.2.12/32", []string{l2}, []string{`addresses[2]: Invalid value: "192.0.2.12/32": contains 192.0.2.12, an address of node node-2: no Service may have that; write addresses that nothing else has`}},
	} {
		t.Run(name, func(t *testing.T) {
			docs := join(object(kindIPAddressPool, "p", "addresses: ["+tt.addresses+"]"), object(kindBGPPeer, "r", "myASN: 1, peerASN: 2, peerAddress: 203.0.113.1"))
			for _, kind := range tt.by {
				docs = join(docs, object(kind, "all", ""))
			}
			in := decode(t, docs)
			in.Nodes = around()
			_, problems := Compile(in)
			var want, got []string
			for _, w := range tt.want {
				want = append(want, "W IPAddressPool p: spec."+w)
			}
			for _, line := range lines(problems) {
				if line[0] == 'W' {
					got = append(got, line)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPoolsThatNobodyHears has pools without advertisements, and advertisements without pools or peers.
func TestPoolsThatNobodyHears(t *testing.T) {
	const (
		pool, six = "kind: IPAddressPool\nmetadata: {name: p}\nspec: {addresses: [192.0.2.0/24]}", "kind: IPAddressPool\nmetadata: {name: six}\nspec: {addresses: [2001:db8::/64]}"
		peer      = "kind: BGPPeer\nmetadata: {name: r}\nspec: {myASN: 1, peerASN: 2, peerAddress: 203.0.113.1}"
		noPeer    = "a BGPPeer: there is none, and this pool is announced by BGP only, so its addresses are given to Services but no router is told. Create a BGPPeer for each router"
	)
	for name, tt := range map[string]struct {
		docs string
		want []string
	}{
		"a pool alone": {pool, []string{
			"W IPAddressPool p: spec.addresses: Required value: an L2Advertisement or BGPAdvertisement for this pool: without one its addresses are given to Services but nobody answers for them. Create one with p in spec.ipAddressPools",
		}},
		"by BGP, to nobody": {join(pool, object(kindBGPAdvertisement, "b", "")), []string{
			"W BGPAdvertisement b: spec.peers: Required value: a BGPPeer: there is none, so no router is told. Create a BGPPeer for each router",
			"W IPAddressPool p: spec.addresses: Required value: " + noPeer,
		}},
		"by BGP and on the LAN, to no router": {join(pool, object(kindBGPAdvertisement, "b", ""), object(kindL2Advertisement, "l", "")), []string{
			"W BGPAdvertisement b: spec.peers: Required value: a BGPPeer: there is none, so no router is told. Create a BGPPeer for each router",
		}},
		"an AddressPool of protocol bgp, to nobody": {object(kindAddressPool, "p", "protocol: bgp, addresses: [192.0.2.0/24]"), []string{"W AddressPool p: spec.addresses: Required value: " + noPeer}},
		"an AddressPool of protocol bgp":            {join(peer, object(kindAddressPool, "p", "protocol: bgp, addresses: [192.0.2.0/24]")), []string{}},
		"by BGP":                                    {join(peer, pool, object(kindBGPAdvertisement, "b", "")), []string{}},
		"by an advertisement that waits, which says so itself": {join(peer, pool, object(kindBGPAdvertisement, "b", "communities: [x]")), []string{
			`W BGPAdvertisement b: spec.communities[0]: Not found: "x": no Community has an alias of this name, so that nothing is announced by this until it is there: add the alias to a Community`,
		}},
		"advertisements without a pool": {join(peer, object(kindBGPAdvertisement, "b", ""), object(kindL2Advertisement, "l", "")), []string{
			"W BGPAdvertisement b: spec.ipAddressPools: Required value: an IPAddressPool: there is none, so nothing is announced. Create one",
			"W L2Advertisement l: spec.ipAddressPools: Required value: an IPAddressPool: there is none, so nothing is announced. Create one",
		}},
		"an L2Advertisement of labels that nothing has": {join(pool, object(kindL2Advertisement, "l", "ipAddressPools: [p], ipAddressPoolSelectors: [{matchLabels: {zone: x}}], nodeSelectors: [{matchLabels: {zone: x}}]")), []string{
			`W L2Advertisement l: spec.nodeSelectors: Invalid value: "zone=x": no node has such labels, so nothing is announced by this: write labels that nodes have, as kubectl get nodes --show-labels prints them`,
			`W L2Advertisement l: spec.ipAddressPoolSelectors: Invalid value: "zone=x": no pool has such labels, so nothing is announced by this: write labels that pools have, or names in ipAddressPools`,
		}},
		"a pool that avoids all it has": {join(object(kindIPAddressPool, "p", "addresses: [192.0.2.255-192.0.3.0, 192.0.4.0/32], avoidBuggyIPs: true"), object(kindL2Advertisement, "l", "")), []string{
			"W IPAddressPool p: spec.avoidBuggyIPs: Invalid value: true: every address of the pool ends in .0 or .255, so none is left: write other addresses, or set this to false",
		}},
		"a pool that avoids some":         {join(object(kindIPAddressPool, "p", "addresses: [192.0.2.255-192.0.3.1], avoidBuggyIPs: true"), object(kindL2Advertisement, "l", "")), []string{}},
		"a pool that avoids what is IPv4": {join(object(kindIPAddressPool, "p", "addresses: [192.0.2.0/32, '2001:db8::/128'], avoidBuggyIPs: true"), object(kindL2Advertisement, "l", "")), []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			in := decode(t, tt.docs)
			in.Nodes = []Node{{Name: "n", Labels: labels.Set{"zone": "a"}}}
			for i := range in.BGPPeers {
				in.BGPPeers[i].Spec.Address = fmt.Sprintf("203.0.113.%d", i)
				if len(in.BFDProfiles) > 0 {
					in.BGPPeers[i].Spec.BFDProfile = "echo"
				}
			}
			_, problems := Compile(in)
			if diff := cmp.Diff(tt.want, lines(problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOneNode compiles for a node: what is elsewhere cannot break it, and is not complained about there.
func TestOneNode(t *testing.T) {
	const elsewhere = "nodeSelectors: [{matchLabels: {zone: b}}]"
	in := decode(t, join(scene,
		object(kindBGPPeer, "broken", "myASN: 1, peerASN: 2, peerAddress: 203.0.113.1, vrf: a/b, "+elsewhere),
		object(kindBGPPeer, "good", "myASN: 64512, peerASN: 2, peerAddress: 203.0.113.1, "+elsewhere),
		object(kindBGPAdvertisement, "broken", "ipAddressPools: [lan], aggregationLength: 3, "+elsewhere),
		object(kindBGPAdvertisement, "good", "localPref: 9, ipAddressPools: [lan], "+elsewhere),
		object(kindIPAddressPool, "far", "addresses: [198.18.0.0/24]"),
		object(kindBGPAdvertisement, "far", "ipAddressPools: [far], "+elsewhere)))
	in.Nodes = []Node{{Name: "node-a", Labels: labels.Set{"zone": "a"}}, {Name: "node-b", Labels: labels.Set{"zone": "b"}}}
	for node, want := range map[string]string{
		"node-a": "1 peers, far lan@bgp/32/128/0[64512:7 65535:666 large:64512:1:2] old@old/24/128/10[65535:666]@old/32/128/20 six@bgp/32/128/0[64512:7 65535:666 large:64512:1:2], 0 problems",
		"node-b": "1 peers, far@far/32/128/0 lan@bgp/32/128/0[64512:7 65535:666 large:64512:1:2] old@old/24/128/10[65535:666]@old/32/128/20 six@bgp/32/128/0[64512:7 65535:666 large:64512:1:2], 4 problems",
		"node-x": "1 peers, far lan@bgp/32/128/0[64512:7 65535:666 large:64512:1:2] old@old/24/128/10[65535:666]@old/32/128/20 six@bgp/32/128/0[64512:7 65535:666 large:64512:1:2], 0 problems",
	} {
		in.Node = node
		c, problems := Compile(in)
		if got := fmt.Sprintf("%d peers, %s, %d problems", len(c.Peers), announced(c), len(problems)); got != want {
			t.Errorf("%s:\n%s\nnot\n%s\n%s", node, got, want, strings.Join(lines(problems), "\n"))
		}
	}
}
