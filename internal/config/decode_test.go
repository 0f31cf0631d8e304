package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
)

// decode reads resources from YAML documents, each one minute younger than the one before it.
func decode(t testing.TB, text string) Input {
	t.Helper()
	var in Input
	for i, doc := range strings.Split(text, "\n---\n") {
		var head struct {
			metav1.TypeMeta
			metav1.ObjectMeta `json:"metadata"`
		}
		strict(t, doc, &head, yaml.Unmarshal)
		switch head.Kind {
		case "":
		case kindIPAddressPool:
			in.IPAddressPools = append(in.IPAddressPools, v1beta1.IPAddressPool{})
			read(t, doc, i, &in.IPAddressPools[len(in.IPAddressPools)-1])
		case kindAddressPool:
			in.AddressPools = append(in.AddressPools, v1beta1.AddressPool{})
			read(t, doc, i, &in.AddressPools[len(in.AddressPools)-1])
		case kindL2Advertisement:
			in.L2Advertisements = append(in.L2Advertisements, v1beta1.L2Advertisement{})
			read(t, doc, i, &in.L2Advertisements[len(in.L2Advertisements)-1])
		case kindBGPAdvertisement:
			in.BGPAdvertisements = append(in.BGPAdvertisements, v1beta1.BGPAdvertisement{})
			read(t, doc, i, &in.BGPAdvertisements[len(in.BGPAdvertisements)-1])
		case kindBGPPeer:
			in.BGPPeers = append(in.BGPPeers, v1beta2.BGPPeer{})
			read(t, doc, i, &in.BGPPeers[len(in.BGPPeers)-1])
		case kindBFDProfile:
			in.BFDProfiles = append(in.BFDProfiles, v1beta1.BFDProfile{})
			read(t, doc, i, &in.BFDProfiles[len(in.BFDProfiles)-1])
		case kindCommunity:
			in.Communities = append(in.Communities, v1beta1.Community{})
			read(t, doc, i, &in.Communities[len(in.Communities)-1])
		default:
			t.Fatalf("unknown kind in %s", doc)
		}
	}
	return in
}

func read(t testing.TB, doc string, place int, into metav1.Object) {
	t.Helper()
	strict(t, doc, into, yaml.UnmarshalStrict)
	into.SetNamespace("metallb-system")
	into.SetCreationTimestamp(metav1.NewTime(time.Date(2025, 1, 1, 0, place, 0, 0, time.UTC)))
}

func strict(t testing.TB, doc string, into any, unmarshal func([]byte, any, ...yaml.JSONOpt) error) {
	t.Helper()
	if err := unmarshal([]byte(doc), into); err != nil {
		t.Fatalf("%v in\n%s", err, doc)
	}
}

// object writes a resource of that kind, name and spec, the spec's lines as they are.
func object(kind, name, spec string) string {
	return fmt.Sprintf("kind: %s\nmetadata: {name: %q}\nspec: {%s}", kind, name, spec)
}

func join(docs ...string) string { return strings.Join(docs, "\n---\n") }

// lines writes problems out, "W" or "E" for the severity.
func lines(problems []Problem) []string {
	out := []string{}
	for _, p := range problems {
		for _, e := range p.Errors {
			out = append(out, fmt.Sprintf("%.1s %s %s: %s", p.Severity, p.Source.Kind, p.Source.Name, e.Error()))
		}
	}
	return out
}

// scene is a configuration without any problem, one resource of each kind, in which tests break one thing.
const scene = `kind: IPAddressPool
metadata: {name: lan, labels: {zone: a}}
spec: {addresses: [192.0.2.0/24, 192.0.3.16-192.0.3.40]}
---
kind: IPAddressPool
metadata: {name: six, labels: {zone: b}}
spec: {addresses: [2001:db8::/64]}
---
kind: AddressPool
metadata: {name: old}
spec: {protocol: bgp, addresses: [198.51.100.0/24], bgpAdvertisements: [{aggregationLength: 24, localPref: 10, communities: [blackhole]}, {localPref: 20}]}
---
kind: L2Advertisement
metadata: {name: l2}
spec: {ipAddressPools: [lan]}
---
kind: Community
metadata: {name: names}
spec: {communities: [{name: blackhole, value: "65535:666"}, {name: wide, value: "large:64512:1:2"}]}
---
kind: BFDProfile
metadata: {name: fast}
spec: {receiveInterval: 50}
---
kind: BGPPeer
metadata: {name: router}
spec: {myASN: 64512, peerASN: 64513, peerAddress: 203.0.113.1, bfdProfile: fast}
---
kind: BGPAdvertisement
metadata: {name: bgp}
spec: {ipAddressPools: [lan, six], communities: [wide, "64512:7", blackhole], peers: [router]}`

func TestTheSceneIsFine(t *testing.T) {
	c, problems := Compile(decode(t, scene))
	if len(problems) > 0 {
		t.Errorf("problems:\n%s", strings.Join(lines(problems), "\n"))
	}
	if len(c.Pools) != 3 || len(c.Peers) != 1 {
		t.Errorf("pools %v, peers %v", c.Pools, c.Peers)
	}
}
