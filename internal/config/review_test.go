package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// verdict writes a Verdict out, "E" for errors and "W" for warnings.
func verdict(v Verdict) []string {
	out := []string{}
	for _, e := range v.Errors {
		out = append(out, "E "+e.Error())
	}
	for _, w := range v.Warnings {
		out = append(out, "W "+w)
	}
	return out
}

// put replaces or adds the resource of a YAML document in others, and drop removes one.
func put(docs, doc string) string {
	kind, name := head(doc)
	return join(drop(docs, kind, name), doc)
}

func drop(docs, kind, name string) string {
	all := strings.Split(docs, "\n---\n")
	return join(slices.DeleteFunc(all, func(d string) bool {
		k, n := head(d)
		return k == kind && n == name
	})...)
}

func head(doc string) (kind, name string) {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(doc, "kind: "), "\nmetadata: {name: ")
	return kind, strings.Trim(rest[:strings.IndexAny(rest, ",}")], `"`)
}

func TestReview(t *testing.T) {
	long := func(kind, name, spec string) string { return object(kind, name, spec) }
	for name, tt := range map[string]struct {
		with    string // beside the scene
		change  string // a resource, or "kind name" of one that is deleted
		verdict []string
	}{
		"a pool that is fine, announced by nothing yet": {"", long(kindIPAddressPool, "new", "addresses: [198.18.0.0/24]"), []string{
			"W spec.addresses: Required value: an L2Advertisement or BGPAdvertisement for this pool: without one its addresses are given to Services but nobody answers for them. Create one with new in spec.ipAddressPools",
		}},
		"a pool that is in the way of an older one": {"", long(kindAddressPool, "new", "protocol: layer2, addresses: [192.0.2.9/32]"), []string{
			`E spec.addresses[0]: Invalid value: "192.0.2.9/32": overlaps 192.0.2.0/24 of IPAddressPool lan, which is there already: write addresses that no other pool has`,
		}},
		"an older pool that gets in the way of a younger one": {"", long(kindIPAddressPool, "lan", "addresses: [198.51.0.0/16]"), []string{
			`E spec.addresses[0]: Invalid value: "198.51.0.0/16": overlaps 198.51.100.0/24 of AddressPool old, which is there already: write addresses that no other pool has`,
		}},
		"all errors at once": {"", long(kindIPAddressPool, "new", "addresses: [x, 192.0.2.9/32], serviceAllocation: {namespaces: [a, a]}"), []string{
			`E spec.serviceAllocation.namespaces[1]: Duplicate value: "a": is in the list already: remove one of the two`,
			`E spec.addresses[0]: Invalid value: "x": is neither a prefix nor a range: write for instance 192.0.2.0/24 or 192.0.2.10-192.0.2.20`,
			`E spec.addresses[1]: Invalid value: "192.0.2.9/32": overlaps 192.0.2.0/24 of IPAddressPool lan, which is there already: write addresses that no other pool has`,
			"W spec.addresses: Required value: an L2Advertisement or BGPAdvertisement for this pool: without one its addresses are given to Services but nobody answers for them. Create one with new in spec.ipAddressPools",
		}},
		"a pool that an advertisement names is deleted": {"", "IPAddressPool lan", []string{
			`W BGPAdvertisement bgp: spec.ipAddressPools[0]: Not found: "lan": there is no pool of this name, so nothing of it is announced: write one of old, six, or create the pool`,
			`W L2Advertisement l2: spec.ipAddressPools[0]: Not found: "lan": there is no pool of this name, so nothing of it is announced: write one of old, six, or create the pool`,
		}},
		"a pool becomes too small for an advertisement": {long(kindBGPAdvertisement, "wide", "ipAddressPools: [six], aggregationLengthV6: 64"), long(kindIPAddressPool, "six", "addresses: ['2001:db8::/65']"), []string{
			"E spec: Forbidden: would break BGPAdvertisement wide: spec.aggregationLengthV6: Invalid value: 64: a prefix of this length would hold more than 2001:db8::/65 of IPAddressPool six: write a number from 65 to 128",
		}},
		"a pool that another advertisement is too wide for already": {long(kindBGPAdvertisement, "wide", "ipAddressPools: [lan], aggregationLength: 8"), long(kindIPAddressPool, "lan", "addresses: [192.0.2.0/25]"), []string{}},
		"a second pool that an advertisement is too wide for": {long(kindBGPAdvertisement, "wide", "aggregationLength: 24"), long(kindIPAddressPool, "new", "addresses: [198.18.0.0/25]"), []string{
			"E spec: Forbidden: would break BGPAdvertisement wide: spec.aggregationLength: Invalid value: 24: a prefix of this length would hold more than 198.18.0.0/25 of IPAddressPool new: write a number from 25 to 32",
		}},
		"the last advertisement of a pool is deleted": {"", "BGPAdvertisement bgp", []string{
			"W IPAddressPool six: spec.addresses: Required value: an L2Advertisement or BGPAdvertisement for this pool: without one its addresses are given to Services but nobody answers for them. Create one with six in spec.ipAddressPools",
		}},
		"a peer that an advertisement names is deleted": {"", "BGPPeer router", []string{
			"W AddressPool old: spec.addresses: Required value: a BGPPeer: there is none, and this pool is announced by BGP only, so its addresses are given to Services but no router is told. Create a BGPPeer for each router",
			`W BGPAdvertisement bgp: spec.peers[0]: Not found: "router": there is no BGPPeer of this name, so it is not told: create the BGPPeer`,
			"W IPAddressPool six: spec.addresses: Required value: a BGPPeer: there is none, and this pool is announced by BGP only, so its addresses are given to Services but no router is told. Create a BGPPeer for each router",
		}},
		"a BFD profile in use is deleted": {"", "BFDProfile fast", []string{"E metadata.name: Forbidden: is in use by BGPPeer router (spec.bfdProfile): change that first"}},
		"a BFD profile that nobody uses":  {long(kindBFDProfile, "slow", ""), "BFDProfile slow", []string{}},
		"a BFD profile starts to echo":    {long(kindBGPPeer, "six", "myASN: 64512, peerASN: 2, peerAddress: '2001:db8:1::1', bfdProfile: fast"), long(kindBFDProfile, "fast", "echoMode: true"), []string{"E spec.echoMode: Forbidden: " + noEcho}},
		"a Community in use is deleted": {"", "Community names", []string{
			`E metadata.name: Forbidden: the alias "blackhole" is in use by AddressPool old (spec.bgpAdvertisements[0].communities[0]): change that first`,
			`E metadata.name: Forbidden: the alias "wide" is in use by BGPAdvertisement bgp (spec.communities[0]): change that first`,
			`E metadata.name: Forbidden: the alias "blackhole" is in use by BGPAdvertisement bgp (spec.communities[2]): change that first`,
		}},
		"an alias in use is removed":  {"", long(kindCommunity, "names", "communities: [{name: blackhole, value: '1:1'}]"), []string{`E spec.communities: Forbidden: the alias "wide" is in use by BGPAdvertisement bgp (spec.communities[0]): change that first`}},
		"an alias gets another value": {"", long(kindCommunity, "names", "communities: [{name: blackhole, value: '1:1'}, {name: wide, value: '1:2'}]"), []string{}},
		"an alias that another has":   {"", long(kindCommunity, "more", "communities: [{name: wide, value: '1:2'}]"), []string{`E spec.communities[0].name: Duplicate value: "wide": Community names, which is there already, has this name already: give this one another, or remove it`}},
		"an advertisement before its community, pool and peer": {"", long(kindBGPAdvertisement, "early", "ipAddressPools: [later], communities: [later], peers: [later]"), []string{
			`W spec.communities[0]: Not found: "later": no Community has an alias of this name, so that nothing is announced by this until it is there: write one of blackhole, wide, or add the alias to a Community`,
			`W spec.peers[0]: Not found: "later": there is no BGPPeer of this name, so it is not told: write one of router, or create the BGPPeer`,
			`W spec.ipAddressPools[0]: Not found: "later": there is no pool of this name, so nothing of it is announced: write one of lan, old, six, or create the pool`,
		}},
		"a peer of another AS number":              {"", long(kindBGPPeer, "second", "myASN: 1, peerASN: 2, peerAddress: 203.0.113.2"), []string{}},
		"a peer whose Secret nobody may read here": {"", long(kindBGPPeer, "second", "myASN: 64512, peerASN: 2, peerAddress: 203.0.113.2, passwordSecret: {name: pw}"), []string{}},
		"an L2Advertisement, updated":              {"", long(kindL2Advertisement, "l2", "ipAddressPools: [lan], preferredNodeSelectors: [{weight: 0, preference: {}}]"), []string{"E spec.preferredNodeSelectors[0].weight: Invalid value: 0: write a number from 1 to 100"}},
		"another's old mistake is not mine":        {long(kindIPAddressPool, "broken", "addresses: [x]"), long(kindL2Advertisement, "more", "ipAddressPools: [broken, lan]"), []string{}},
		"one mistake of two is put right": {long(kindIPAddressPool, "broken", "addresses: [x, z]"), long(kindIPAddressPool, "broken", "addresses: [198.18.0.0/24, z]"), []string{
			`E spec.addresses[1]: Invalid value: "z": is neither a prefix nor a range: write for instance 192.0.2.0/24 or 192.0.2.10-192.0.2.20`,
			"W spec.addresses: Required value: an L2Advertisement or BGPAdvertisement for this pool: without one its addresses are given to Services but nobody answers for them. Create one with broken in spec.ipAddressPools",
		}},
		"a resource that is not there at all": {"", "BGPPeer nobody", []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			before := scene
			if tt.with != "" {
				before = join(scene, tt.with)
			}
			after, subject := "", Source{}
			if strings.HasPrefix(tt.change, "kind: ") {
				after = put(before, tt.change)
				subject.Kind, subject.Name = head(tt.change)
			} else {
				subject.Kind, subject.Name, _ = strings.Cut(tt.change, " ")
				after = drop(before, subject.Kind, subject.Name)
			}
			v := Review(decode(t, before), decode(t, after), subject)
			if diff := cmp.Diff(tt.verdict, verdict(v)); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReviewOfNoChange: whatever is wrong with a resource, who touches neither its specification nor its labels is not to
// answer for it; but for the labels of a pool.
func TestReviewOfNoChange(t *testing.T) {
	before, after := decode(t, join(scene, object(kindIPAddressPool, "broken", "addresses: [x]"))), decode(t, join(scene, object(kindIPAddressPool, "broken", "addresses: [x]")))
	for i := range after.IPAddressPools {
		after.IPAddressPools[i].Annotations = map[string]string{"a": "b"}
		after.IPAddressPools[i].Finalizers = []string{"example.com/f"}
	}
	for _, s := range sources(&after) {
		if v := Review(before, after, s); len(v.Errors)+len(v.Warnings) > 0 {
			t.Errorf("%v: %v", s, verdict(v))
		}
	}
	after.IPAddressPools[2].Labels = map[string]string{"zone": "c"}
	if v := Review(before, after, Source{kindIPAddressPool, "broken"}); len(v.Errors) == 0 {
		t.Errorf("with another label: %v", verdict(v))
	}
}

// sources names all resources of an Input.
func sources(in *Input) []Source {
	var out []Source
	note := func(kind string, m *metav1.ObjectMeta) { out = append(out, Source{kind, m.Name}) }
	for i := range in.IPAddressPools {
		note(kindIPAddressPool, &in.IPAddressPools[i].ObjectMeta)
	}
	for i := range in.AddressPools {
		note(kindAddressPool, &in.AddressPools[i].ObjectMeta)
	}
	for i := range in.L2Advertisements {
		note(kindL2Advertisement, &in.L2Advertisements[i].ObjectMeta)
	}
	for i := range in.BGPAdvertisements {
		note(kindBGPAdvertisement, &in.BGPAdvertisements[i].ObjectMeta)
	}
	for i := range in.BGPPeers {
		note(kindBGPPeer, &in.BGPPeers[i].ObjectMeta)
	}
	for i := range in.BFDProfiles {
		note(kindBFDProfile, &in.BFDProfiles[i].ObjectMeta)
	}
	for i := range in.Communities {
		note(kindCommunity, &in.Communities[i].ObjectMeta)
	}
	return out
}

// TestReviewAdmitsNothingThatCompileDrops: a configuration made of changes that were all admitted, in any order, has no
// error, and no pair of resources of which one had to give way.
func TestReviewAdmitsNothingThatCompileDrops(t *testing.T) {
	for seed := range uint64(12) {
		all := jumble(t)
		shuffle(&all, seed)
		var stored Input
		refused := 0
		for i, s := range sources(&all) {
			next := with(stored, &all, s, i)
			if v := Review(stored, next, s); len(v.Errors) > 0 {
				refused++
				continue
			}
			stored = next
		}
		_, problems := Compile(stored)
		for _, p := range problems {
			if p.Severity == Error {
				t.Errorf("seed %d: admitted, though %v", seed, p)
			}
		}
		if refused == 0 {
			t.Error("nothing was refused")
		}
	}
}

// with returns the Input and one resource more, created after all others.
func with(in Input, of *Input, s Source, place int) Input {
	young := metav1.NewTime(time.Date(2025, 2, 1, 0, place, 0, 0, time.UTC))
	return copyOne(in, of, s, func(o metav1.Object) { o.SetCreationTimestamp(young) })
}

// keep returns the Input and one resource more, as it is.
func keep(in Input, of *Input, s Source) Input { return copyOne(in, of, s, func(metav1.Object) {}) }

func copyOne(in Input, of *Input, s Source, change func(metav1.Object)) Input {
	in.IPAddressPools = appendOne(in.IPAddressPools, of.IPAddressPools, s, kindIPAddressPool, change)
	in.AddressPools = appendOne(in.AddressPools, of.AddressPools, s, kindAddressPool, change)
	in.L2Advertisements = appendOne(in.L2Advertisements, of.L2Advertisements, s, kindL2Advertisement, change)
	in.BGPAdvertisements = appendOne(in.BGPAdvertisements, of.BGPAdvertisements, s, kindBGPAdvertisement, change)
	in.BGPPeers = appendOne(in.BGPPeers, of.BGPPeers, s, kindBGPPeer, change)
	in.BFDProfiles = appendOne(in.BFDProfiles, of.BFDProfiles, s, kindBFDProfile, change)
	in.Communities = appendOne(in.Communities, of.Communities, s, kindCommunity, change)
	return in
}

func appendOne[T any, P interface {
	*T
	metav1.Object
}](to, from []T, s Source, kind string, change func(metav1.Object)) []T {
	for i := range from {
		if o := from[i]; s.Kind == kind && P(&from[i]).GetName() == s.Name {
			change(P(&o))
			return append(slices.Clone(to), o)
		}
	}
	return to
}

// TestReviewHoldsNoPassword: not even where the password is what is wrong.
func TestReviewHoldsNoPassword(t *testing.T) {
	const secret = "s3cr3t-T0ken"
	change := object(kindBGPPeer, "router", "myASN: 64512, peerASN: 1, peerAddress: 203.0.113.1, passwordSecret: {name: x}, password: "+strings.Repeat(secret, 9))
	v := Review(decode(t, scene), decode(t, put(scene, change)), Source{kindBGPPeer, "router"})
	if len(v.Errors) != 2 || strings.Contains(fmt.Sprintf("%+v %#v %v", v.Errors, *v.Errors[0], v.Warnings), secret) {
		t.Error("the password can be read, or the errors are not two")
	}
}
