package config

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/internal/ipam"
)

// announced writes the BGP side of a Config in short: pool@advertisement/length4/length6/localPref[communities].
func announced(c *Config) string {
	var out []string
	for _, p := range c.Pools {
		text := p.Name
		for _, a := range p.BGP {
			text += fmt.Sprintf("@%s/%d/%d/%d", a.Name, a.Length4, a.Length6, a.LocalPref)
			if a.MED.Set || a.Prepend > 0 {
				text += fmt.Sprintf("+%s+%d", a.MED, a.Prepend)
			}
			if len(a.Communities) > 0 {
				text += fmt.Sprint(a.Communities)
			}
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestBGPAdvertisementsOfTheScene(t *testing.T) {
	c, _ := Compile(decode(t, scene))
	want := "lan@bgp/32/128/0[64512:7 65535:666 large:64512:1:2] old@old/24/128/10[65535:666]@old/32/128/20 six@bgp/32/128/0[64512:7 65535:666 large:64512:1:2]"
	if got := announced(c); got != want {
		t.Errorf("is\n%s\nnot\n%s", got, want)
	}
	if p := c.Pools[0].BGP[0].Peers; len(p) != 1 || p[0] != "router" {
		t.Errorf("peers are %v", p)
	}
}

// TestBGPAdvertisementsThatAreWrong adds advertisements x, y, ... to the scene, without its own. The pool lan holds a /24 and
// a range whose largest prefix is a /28; six holds a /64.
func TestBGPAdvertisementsThatAreWrong(t *testing.T) {
	const atLAN = "peers: [router], ipAddressPools: [lan], "
	x := func(text string) string { return "BGPAdvertisement x: spec." + text }
	for name, tt := range map[string]struct {
		specs []string
		// want is what is announced of the IPAddressPools; problems are those without the scene's.
		want     string
		problems []string
	}{
		"for all pools, to all peers": {[]string{""}, "lan@x/32/128/0 six@x/32/128/0", []string{}},
		"lengths that fit":            {[]string{"aggregationLength: 28, aggregationLengthV6: 64"}, "lan@x/28/64/0 six@x/28/64/0", nil},
		"lengths out of range": {[]string{"aggregationLength: 33, aggregationLengthV6: 0"}, "lan six", []string{
			"E " + x("aggregationLength: Invalid value: 33: write a number from 1 to 32; unset it is 32, a route for each address"),
			"E " + x("aggregationLengthV6: Invalid value: 0: write a number from 1 to 128; unset it is 128, a route for each address"),
		}},
		"a length that a pool is too small for": {[]string{"aggregationLength: 27, aggregationLengthV6: 63"}, "lan six", []string{
			"E " + x("aggregationLength: Invalid value: 27: a prefix of this length would hold more than 192.0.3.16-192.0.3.40 of IPAddressPool lan: write a number from 28 to 32"),
			"E " + x("aggregationLengthV6: Invalid value: 63: a prefix of this length would hold more than 2001:db8::/64 of IPAddressPool six: write a number from 64 to 128"),
		}},
		"a length for the other family counts for nothing": {[]string{"ipAddressPools: [six], aggregationLength: 1"}, "lan six@x/1/128/0", nil},
		"some Services of a prefix": {[]string{"aggregationLength: 28, serviceSelectors: [{matchLabels: {a: b}}]"}, "lan six", []string{
			"E " + x("serviceSelectors: Forbidden: select some Services, but a prefix that is shorter than an address is announced for all that have an address in it: remove the selectors, or write aggregationLength: 32 and aggregationLengthV6: 128"),
		}},
		"things said twice": {[]string{"ipAddressPools: [lan, lan], peers: [router, router], communities: [wide, wide], ipAddressPoolSelectors: [{matchLabels: {zone: b}}, {matchLabels: {zone: b}}], serviceSelectors: [{}, {}], nodeSelectors: [{}, {}]"}, "lan@x/32/128/0[large:64512:1:2] six@x/32/128/0[large:64512:1:2]", []string{
			`E ` + x(`communities[1]: Duplicate value: "wide": is in the list already: remove one of the two`), `E ` + x(`nodeSelectors[1]: Duplicate value: "<none>": is in the list already: remove one of the two`), `E ` + x(`serviceSelectors[1]: Duplicate value: "<none>": is in the list already: remove one of the two`),
			`E ` + x(`peers[1]: Duplicate value: "router": is in the list already: remove one of the two`), `E ` + x(`ipAddressPools[1]: Duplicate value: "lan": is in the list already: remove one of the two`), `E ` + x(`ipAddressPoolSelectors[1]: Duplicate value: "zone=b": is in the list already: remove one of the two`),
		}},
		"an alias and what it stands for is one community": {[]string{atLAN + "communities: [wide, 'large:64512:1:2']"}, "lan@x/32/128/0[large:64512:1:2] six", nil},
		"a community that is none": {[]string{atLAN + "communities: ['64512:65536', '']"}, "lan six", []string{
			`E ` + x(`communities[0]: Invalid value: "64512:65536": has the part "65536", which is not a number from 0 to 65535: write for instance 64512:100`),
			`E ` + x(`communities[1]: Required value: write a community or the alias of one, or remove the entry`),
		}},
		"an unknown alias": {[]string{atLAN + "communities: [wdie]"}, "lan six", []string{
			`W ` + x(`communities[0]: Not found: "wdie": no Community has an alias of this name, so that nothing is announced by this until it is there: write one of blackhole, wide, or add the alias to a Community`),
		}},
		"too many communities": {[]string{atLAN + "communities: [" + many(64, "1:%d") + "," + many(63, "large:1:1:%d") + "]"}, "lan six", []string{
			"E " + x("communities: Too many: 64: a route can carry 63 communities: remove some"),
		}},
		"too many large communities":    {[]string{atLAN + "communities: [" + many(64, "large:1:1:%d") + "]"}, "lan six", []string{"E " + x("communities: Too many: 64: a route can carry 63 large communities: remove some")}},
		"as many communities as can be": {[]string{atLAN + "communities: [" + many(63, "1:%d") + "]"}, "", nil},
		"an unknown pool": {[]string{"ipAddressPools: [lna, lan]"}, "lan@x/32/128/0 six", []string{
			`W ` + x(`ipAddressPools[0]: Not found: "lna": there is no pool of this name, so nothing of it is announced: write one of lan, old, six, or create the pool`),
		}},
		"labels of no pool": {[]string{"ipAddressPoolSelectors: [{matchLabels: {zone: c}}]"}, "lan six", []string{
			`W ` + x(`ipAddressPoolSelectors: Invalid value: "zone=c": no pool has such labels, so nothing is announced by this: write labels that pools have, or names in ipAddressPools`),
		}},
		"an unknown peer": {[]string{"ipAddressPools: [lan], peers: [ruoter]"}, "lan@x/32/128/0 six", []string{
			`W ` + x(`peers[0]: Not found: "ruoter": there is no BGPPeer of this name, so it is not told: write one of router, second, or create the BGPPeer`),
		}},
		"labels of no node": {[]string{atLAN + "nodeSelectors: [{matchLabels: {zone: c}}]"}, "lan@x/32/128/0 six", []string{
			`W ` + x(`nodeSelectors: Invalid value: "zone=c": no node has such labels, so nothing is announced by this: write labels that nodes have, as kubectl get nodes --show-labels prints them`),
		}},
		"the same twice": {[]string{atLAN, "ipAddressPools: [lan], peers: [router]"}, "lan@x/32/128/0@y/32/128/0 six", []string{
			"W BGPAdvertisement y: spec: Duplicate value: says the same as BGPAdvertisement x, which is older: delete one of the two",
		}},
		"two preferences": {[]string{atLAN + "localPref: 100", atLAN + "localPref: 200"}, "lan@x/32/128/100 six", []string{
			"E BGPAdvertisement y: spec.localPref: Invalid value: 200: BGPAdvertisement x, which is older, announces the same prefixes of IPAddressPool lan with 100: write the same here, or give the two different peers, nodes or aggregation lengths",
		}},
		"a MED of 0 is one, and a longer path": {[]string{atLAN + "med: 0, asPathPrepend: 10"}, "lan@x/32/128/0+0+10 six", nil},
		"a path that is too long": {[]string{atLAN + "asPathPrepend: 11"}, "lan six", []string{
			"E " + x("asPathPrepend: Invalid value: 11: write how many times more than once the AS number of the nodes is to be in the path, from 0 to 10"),
		}},
		"a MED and none, paths of two lengths": {[]string{atLAN + "med: 0, asPathPrepend: 1", atLAN + "asPathPrepend: 2"}, "lan@x/32/128/0+0+1 six", []string{
			"E BGPAdvertisement y: spec.med: Invalid value: BGPAdvertisement x, which is older, announces the same prefixes of IPAddressPool lan with 0: write the same here, or give the two different peers, nodes or aggregation lengths",
			"E BGPAdvertisement y: spec.asPathPrepend: Invalid value: 2: BGPAdvertisement x, which is older, announces the same prefixes of IPAddressPool lan with 1: write the same here, or give the two different peers, nodes or aggregation lengths",
		}},
		"a preference and none": {[]string{atLAN, "localPref: 200"}, "lan@x/32/128/0 six@y/32/128/200", []string{
			"E BGPAdvertisement y: spec.localPref: Invalid value: 200: BGPAdvertisement x, which is older, announces the same prefixes of IPAddressPool lan with none: write the same here, or give the two different peers, nodes or aggregation lengths",
		}},
		"two preferences for different lengths": {[]string{atLAN + "localPref: 100", atLAN + "localPref: 200, aggregationLength: 28"}, "lan@x/32/128/100@y/28/128/200 six", nil},
		"two preferences, lengths that differ in a family the pool has not": {[]string{atLAN + "localPref: 100", atLAN + "localPref: 200, aggregationLengthV6: 64"}, "lan@x/32/128/100 six", []string{
			"E BGPAdvertisement y: spec.localPref: Invalid value: 200: BGPAdvertisement x, which is older, announces the same prefixes of IPAddressPool lan with 100: write the same here, or give the two different peers, nodes or aggregation lengths",
		}},
		"two preferences for different peers":     {[]string{"localPref: 100, peers: [router]", "localPref: 200, peers: [second]"}, "lan@x/32/128/100@y/32/128/200 six@x/32/128/100@y/32/128/200", nil},
		"two preferences from different nodes":    {[]string{"localPref: 100, nodeSelectors: [{matchLabels: {zone: a}}]", "localPref: 200, nodeSelectors: [{matchLabels: {zone: b}}]"}, "lan@x/32/128/100@y/32/128/200 six@x/32/128/100@y/32/128/200", nil},
		"two preferences for different Services":  {[]string{"localPref: 100, serviceSelectors: [{matchLabels: {a: b}}]", "localPref: 200"}, "lan@x/32/128/100@y/32/128/200 six@x/32/128/100@y/32/128/200", nil},
		"of three the one that fits stays":        {[]string{atLAN + "localPref: 100", atLAN + "localPref: 200", atLAN + "localPref: 100, communities: [wide]"}, "lan@x/32/128/100@z/32/128/100[large:64512:1:2] six", []string{"E BGPAdvertisement y: spec.localPref: Invalid value: 200: BGPAdvertisement x, which is older, announces the same prefixes of IPAddressPool lan with 100: write the same here, or give the two different peers, nodes or aggregation lengths"}},
		"one that is wrong is nobody's obstacle":  {[]string{atLAN + "localPref: 100, communities: [wdie]", atLAN + "localPref: 200"}, "lan@y/32/128/200 six", []string{`W ` + x(`communities[0]: Not found: "wdie": no Community has an alias of this name, so that nothing is announced by this until it is there: write one of blackhole, wide, or add the alias to a Community`)}},
		"a node selector that is none, no node":   {[]string{atLAN + "nodeSelectors: [{matchLabels: {'a b': c}}]"}, "lan@x/32/128/0 six", []string{"E " + x(`nodeSelectors[0].matchLabels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`)}},
		"a pool selector that is none, no pool":   {[]string{"ipAddressPoolSelectors: [{matchExpressions: [{key: a, operator: In}]}]"}, "lan six", []string{"E " + x("ipAddressPoolSelectors[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'")}},
		"an entry that is empty does not open up": {[]string{"ipAddressPools: ['']"}, "lan six", []string{"E " + x("ipAddressPools[0]: Required value: write the name of a pool, or remove the entry")}},
	} {
		t.Run(name, func(t *testing.T) {
			docs := scene[:strings.LastIndex(scene, "\n---\n")] + "\n---\n" + object(kindBGPPeer, "second", "myASN: 64512, peerASN: 64513, peerAddress: 203.0.113.2")
			for i, spec := range tt.specs {
				docs = join(docs, object(kindBGPAdvertisement, string(rune('x'+i)), strings.TrimSuffix(strings.TrimSpace(spec), ",")))
			}
			in := decode(t, docs)
			in.Nodes = []Node{{Name: "node-a", Labels: labels.Set{"zone": "a"}}, {Name: "node-b", Labels: labels.Set{"zone": "b"}}}
			c, problems := Compile(in)
			got := strings.Replace(announced(c), " old@old/24/128/10[65535:666]@old/32/128/20", "", 1)
			if tt.want != "" && got != tt.want {
				t.Errorf("is\n%s\nnot\n%s", got, tt.want)
			}
			var of []string
			for _, line := range lines(problems) {
				if strings.HasPrefix(line[2:], kindBGPAdvertisement+" ") {
					of = append(of, line)
				}
			}
			if diff := cmp.Diff(strings.Join(tt.problems, "\n"), strings.Join(of, "\n")); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func many(n int, format string) string {
	out := make([]string, n)
	for i := range out {
		out[i] = "'" + fmt.Sprintf(format, i) + "'"
	}
	return strings.Join(out, ", ")
}

func TestAddressPoolsThatAreWrong(t *testing.T) {
	for name, tt := range map[string]struct {
		advertisements, want string
		problems             []string
	}{
		"none is one of all defaults": {"", "p@p/32/128/0", nil},
		"a length that the pool is too small for": {"{aggregationLength: 23}, {aggregationLength: 24, localPref: 7}", "p@p/24/128/7", []string{
			"E AddressPool p: spec.bgpAdvertisements[0].aggregationLength: Invalid value: 23: a prefix of this length would hold more than 192.0.2.0/24 of AddressPool p: write a number from 24 to 32",
		}},
		"a length out of range, and all else is dropped": {"{aggregationLengthV6: 129}", "p", []string{
			"E AddressPool p: spec.bgpAdvertisements[0].aggregationLengthV6: Invalid value: 129: write a number from 1 to 128; unset it is 128, a route for each address",
		}},
		"the same twice": {"{localPref: 7, communities: ['1:1', '1:2']}, {aggregationLength: 32, localPref: 7, communities: ['1:2', '1:1']}", "p@p/32/128/7[1:1 1:2]", []string{
			"E AddressPool p: spec.bgpAdvertisements[1]: Duplicate value: an entry above says the same: remove this one",
		}},
		"two preferences": {"{localPref: 7}, {localPref: 8}", "p@p/32/128/7", []string{
			"E AddressPool p: spec.bgpAdvertisements[1].localPref: Invalid value: 8: an entry above announces the same prefixes of AddressPool p with 7: write the same here, or give the two different peers, nodes or aggregation lengths",
		}},
		"an unknown alias": {"{communities: [home]}", "p", []string{
			`W AddressPool p: spec.bgpAdvertisements[0].communities[0]: Not found: "home": no Community has an alias of this name, so that nothing is announced by this until it is there: add the alias to a Community`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			in := decode(t, join(
				object(kindBGPPeer, "router", "myASN: 1, peerASN: 2, peerAddress: 203.0.113.1"),
				object(kindAddressPool, "p", "protocol: bgp, addresses: [192.0.2.0/24], bgpAdvertisements: ["+tt.advertisements+"]")))
			c, problems := Compile(in)
			if got := announced(c); got != tt.want {
				t.Errorf("is %s, not %s", got, tt.want)
			}
			if diff := cmp.Diff(strings.Join(tt.problems, "\n"), strings.Join(lines(problems), "\n")); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCommunitiesThatAreWrong(t *testing.T) {
	in := decode(t, join(
		object(kindCommunity, "old", "communities: [{name: a, value: '1:1'}, {name: b, value: '1:2'}, {name: a, value: '1:3'}]"),
		object(kindCommunity, "new", "communities: [{name: b, value: '1:4'}, {name: '1:5', value: '1:5'}, {name: '', value: '1:6'}, {name: c, value: '1'}, {name: d, value: 'large:1:2:4294967296'}, {name: c, value: '1:7'}]"),
		object(kindBGPPeer, "router", "myASN: 1, peerASN: 2, peerAddress: 203.0.113.1"),
		object(kindIPAddressPool, "p", "addresses: [192.0.2.0/24]"),
		object(kindBGPAdvertisement, "x", "communities: [a, b, c]")))
	c, problems := Compile(in)
	want := []string{
		`E Community new: spec.communities[0].name: Duplicate value: "b": Community old, which is older, has this name already: give this one another, or remove it`,
		`E Community new: spec.communities[1].name: Invalid value: "1:5": reads like a community itself, which a BGPAdvertisement may write without an alias: choose a name without a colon`,
		`E Community new: spec.communities[2].name: Required value: write the name by which BGPAdvertisements find the community`,
		`E Community new: spec.communities[3].value: Invalid value: "1": is not a community: write two numbers, as in 64512:100 (RFC 1997), or three after large:, as in large:64512:1:2 (RFC 8092)`,
		`E Community new: spec.communities[4].value: Invalid value: "large:1:2:4294967296": has the part "4294967296", which is not a number from 0 to 4294967295: write for instance large:64512:1:2`,
		`E Community old: spec.communities[2].name: Duplicate value: "a": an entry above has this name already: give this one another, or remove it`,
	}
	if diff := cmp.Diff(want, lines(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if got := announced(c); got != "p@x/32/128/0[1:1 1:2 1:7]" {
		t.Errorf("is %s", got)
	}
}

// TestWidestPrefix compares shortest with a search through all prefixes that have an end of the range in them.
func TestWidestPrefix(t *testing.T) {
	oracle := func(from, to netip.Addr) int {
		for n := range from.BitLen() {
			for p := netip.PrefixFrom(from, n).Masked(); p.IsValid() && !to.Less(p.Addr()); {
				if !p.Addr().Less(from) && !to.Less(last(p)) {
					return n
				}
				next := last(p).Next()
				if !next.IsValid() {
					break
				}
				p = netip.PrefixFrom(next, n)
			}
		}
		return from.BitLen()
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		var from, to netip.Addr
		if r.IntN(2) == 0 {
			from = netip.AddrFrom4([4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.IntN(2)) * 255, byte(r.Uint32())})
		} else {
			from = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(r.Uint32()), 15: byte(r.Uint32())})
		}
		to = from
		for range r.IntN(600) {
			if next := to.Next(); next.IsValid() {
				to = next
			}
		}
		if got, want := shortest(from, to), oracle(from, to); got != want {
			t.Fatalf("%s-%s: %d, should be %d", from, to, got, want)
		}
	}
	for text, want := range map[string]int{"10.0.0.0/8": 8, "10.0.0.1-10.0.0.1": 32, "10.0.0.255-10.0.1.0": 32, "192.0.3.16-192.0.3.40": 28, "2001:db8::/33": 33, "128.0.0.0-223.255.255.255": 2} {
		p, err := ipam.ParseRange(text)
		if got := shortest(p.From(), p.To()); err != nil || got != want {
			t.Errorf("%s: %d, should be %d (%v)", text, got, want, err)
		}
	}
}
