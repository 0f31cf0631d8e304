package config

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"
)

// jumble is the resources of the tests above and many more that are wrong or in one another's way, all at once.
func jumble(t *testing.T) Input {
	t.Helper()
	const inA, inB = "nodeSelectors: [{matchLabels: {zone: a}}]", "nodeSelectors: [{matchLabels: {zone: b}}]"
	all := decode(t, join(scene,
		object(kindCommunity, "more", "communities: [{name: wide, value: '1:1'}, {name: home, value: '1:2'}, {name: home, value: '1:3'}]"),
		object(kindCommunity, "twin", "communities: [{name: home, value: '1:4'}, {name: 'a:b', value: x}]"),
		object(kindBFDProfile, "echo", "echoMode: true, receiveInterval: 1"),
		object(kindBGPPeer, "twin", "myASN: 64512, peerASN: 64513, peerAddress: 203.0.113.1, "+inA),
		object(kindBGPPeer, "other", "myASN: 1, peerASN: 64513, peerAddress: 203.0.113.2, "+inB),
		object(kindBGPPeer, "third", "myASN: 1, peerASN: 64513, peerAddress: 203.0.113.2, routerID: 10.0.0.1"),
		object(kindBGPPeer, "fourth", "myASN: 64512, peerASN: 64513, peerAddress: '2001:db8::1', bfdProfile: echo, routerID: 10.0.0.1"),
		object(kindBGPPeer, "fifth", "myASN: 64512, peerASN: 64513, peerAddress: 203.0.113.5, bfdProfile: echo, routerID: 10.0.0.2, "+inA+", passwordSecret: {name: x}"),
		object(kindBGPPeer, "none", "holdTime: 1s"),
		object(kindBGPAdvertisement, "a", "localPref: 1, communities: [home, wide], "+inA),
		object(kindBGPAdvertisement, "b", "localPref: 2, peers: [router, x]"),
		object(kindBGPAdvertisement, "c", "localPref: 2, peers: [x, router]"),
		object(kindBGPAdvertisement, "d", "localPref: 3, aggregationLength: 24, peers: [twin], "+inB),
		object(kindBGPAdvertisement, "e", "localPref: 4, aggregationLengthV6: 0"),
		object(kindBGPAdvertisement, "f", "ipAddressPoolSelectors: [{matchLabels: {zone: a, 'b c': '?'}}, {matchLabels: {zone: b}}]"),
		object(kindAddressPool, "older", "protocol: bgp, addresses: [198.51.100.0/26], bgpAdvertisements: [{aggregationLength: 24}, {localPref: 5}, {localPref: 6}]")))
	all.Nodes = []Node{{Name: "n1", Labels: labels.Set{"zone": "a"}}, {Name: "n2", Labels: labels.Set{"zone": "b"}, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
	all.Secrets = map[string]Secret{}
	var rest Input
	for _, name := range slices.Sorted(maps.Keys(compileTests)) {
		tt := compileTests[name]
		rest.IPAddressPools = append(rest.IPAddressPools, tt.in.IPAddressPools...)
		rest.AddressPools = append(rest.AddressPools, tt.in.AddressPools...)
		rest.L2Advertisements = append(rest.L2Advertisements, tt.in.L2Advertisements...)
	}
	// A namespace has each name once per kind.
	for i, p := range rest.IPAddressPools {
		p.Name += fmt.Sprint(i)
		all.IPAddressPools = append(all.IPAddressPools, p)
	}
	for i, p := range rest.AddressPools {
		p.Name += fmt.Sprint(i)
		all.AddressPools = append(all.AddressPools, p)
	}
	for i, a := range rest.L2Advertisements {
		a.Name += fmt.Sprint(i)
		all.L2Advertisements = append(all.L2Advertisements, a)
	}
	return all
}

func shuffle(in *Input, seed uint64) {
	r := rand.New(rand.NewPCG(1, seed))
	mix(r, in.IPAddressPools)
	mix(r, in.AddressPools)
	mix(r, in.L2Advertisements)
	mix(r, in.BGPAdvertisements)
	mix(r, in.BGPPeers)
	mix(r, in.BFDProfiles)
	mix(r, in.Communities)
	mix(r, in.Nodes)
}

func mix[T any](r *rand.Rand, list []T) {
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
}

// whole writes all of a Config and of its problems.
func whole(in Input) string {
	c, problems := Compile(in)
	out := fmt.Sprintf("%+v\n", c.Pools)
	for _, p := range c.Peers {
		out += fmt.Sprintf("%+v %+v\n", p, p.BFD != nil)
	}
	return out + strings.Join(lines(problems), "\n")
}

func TestCompileIgnoresOrder(t *testing.T) {
	all := jumble(t)
	for _, node := range []string{"", "n1", "n2", "n3"} {
		all.Node = node
		want := pointers.ReplaceAllString(whole(all), "@")
		for seed := range uint64(25) {
			shuffle(&all, seed)
			if got := pointers.ReplaceAllString(whole(all), "@"); got != want {
				t.Fatalf("for node %q, in one order and in another:\n%s", node, cmp.Diff(want, got))
			}
		}
	}
}

// pointers are what differs between two prints of the same.
var pointers = regexp.MustCompile("0x[0-9a-f]{6,}")

// TestCompileOfTheRestHasNoError: once what has an error is taken away, nothing else gets one.
func TestCompileOfTheRestHasNoError(t *testing.T) {
	for seed := range uint64(10) {
		all := jumble(t)
		shuffle(&all, seed)
		_, problems := Compile(all)
		wrong := map[Source]bool{}
		for _, p := range problems {
			wrong[p.Source] = wrong[p.Source] || p.Severity == Error
		}
		var rest Input
		rest.Nodes, rest.Secrets = all.Nodes, all.Secrets
		for _, s := range sources(&all) {
			if !wrong[s] {
				rest = keep(rest, &all, s)
			}
		}
		_, problems = Compile(rest)
		for _, p := range problems {
			if p.Severity == Error {
				t.Errorf("%v", p)
			}
		}
		if len(rest.BGPPeers) == 0 || len(rest.BGPAdvertisements) == 0 || len(rest.IPAddressPools) == 0 {
			t.Error("there is no rest")
		}
	}
}
