package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/api/v1beta1"
)

// born makes the metadata of an object that is that many minutes old at some fixed time; 0 is one not yet created.
func born(name string, age int, kv ...string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Name: name, Namespace: "metallb-system"}
	if age > 0 {
		m.CreationTimestamp = metav1.NewTime(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Duration(age) * time.Minute))
	}
	if len(kv) > 0 {
		m.Labels = map[string]string{kv[0]: kv[1]}
	}
	return m
}

func ipPool(name string, age int, addresses ...string) v1beta1.IPAddressPool {
	return v1beta1.IPAddressPool{ObjectMeta: born(name, age), Spec: v1beta1.IPAddressPoolSpec{Addresses: addresses}}
}

func legacyPool(name string, age int, protocol v1beta1.AddressPoolProtocol, addresses ...string) v1beta1.AddressPool {
	return v1beta1.AddressPool{ObjectMeta: born(name, age), Spec: v1beta1.AddressPoolSpec{Protocol: protocol, Addresses: addresses}}
}

func advertisement(name string, pools ...string) v1beta1.L2Advertisement {
	return v1beta1.L2Advertisement{ObjectMeta: born(name, 1), Spec: v1beta1.L2AdvertisementSpec{IPAddressPools: pools}}
}

// summary writes a Config in short: pool=addresses(@advertisements).
func summary(c *Config) string {
	var out []string
	for _, p := range c.Pools {
		text := p.Name + "="
		for i, r := range p.Addresses {
			text += strings.Repeat(",", min(i, 1)) + r.String()
		}
		if p.Incomplete {
			text += "+?"
		}
		for _, adv := range p.L2 {
			text += "@" + adv.Name
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// texts writes problems in short: kind/name severity field. Whole texts are in TestProblemsSayWhatToDo.
func texts(problems []Problem) []string {
	out := []string{}
	for _, p := range problems {
		for _, e := range p.Errors {
			out = append(out, fmt.Sprintf("%s/%s %s %s", p.Source.Kind, p.Source.Name, p.Severity, e.Field))
		}
	}
	return out
}

var compileTests = map[string]struct {
	in       Input
	want     string
	problems []string
}{
	"nothing at all": {problems: []string{}},
	"a pool and its advertisement": {
		in:   Input{IPAddressPools: []v1beta1.IPAddressPool{ipPool("a", 1, "192.0.2.0/24", "2001:db8::/64")}, L2Advertisements: []v1beta1.L2Advertisement{advertisement("l2", "a")}},
		want: "a=192.0.2.0/24,2001:db8::/64@l2", problems: []string{},
	},
	"an advertisement without names and selectors is for all IPAddressPools, and leaves AddressPools alone": {
		in: Input{
			IPAddressPools:   []v1beta1.IPAddressPool{ipPool("a", 1, "192.0.2.1/32"), ipPool("b", 1, "192.0.2.2/32")},
			AddressPools:     []v1beta1.AddressPool{legacyPool("c", 1, "bgp", "192.0.2.3/32"), legacyPool("d", 1, "layer2", "192.0.2.4/32")},
			L2Advertisements: []v1beta1.L2Advertisement{advertisement("l2")},
		},
		want:     "a=192.0.2.1/32@l2 b=192.0.2.2/32@l2 c=192.0.2.3/32 d=192.0.2.4/32@d",
		problems: []string{"AddressPool/c Warning spec.addresses"},
	},
	"an advertisement that names a pool and selects it is attached once": {
		in: Input{
			IPAddressPools: []v1beta1.IPAddressPool{{ObjectMeta: born("a", 1, "zone", "x"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.0.2.1/32"}}}},
			L2Advertisements: []v1beta1.L2Advertisement{{ObjectMeta: born("l2", 1), Spec: v1beta1.L2AdvertisementSpec{
				IPAddressPools:         []string{"a"},
				IPAddressPoolSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"zone": "x"}}},
			}}},
		},
		want: "a=192.0.2.1/32@l2", problems: []string{},
	},
	"an advertisement selects pools by label": {
		in: Input{
			IPAddressPools: []v1beta1.IPAddressPool{
				{ObjectMeta: born("a", 1, "zone", "x"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.0.2.1/32"}}},
				{ObjectMeta: born("b", 1, "zone", "y"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.0.2.2/32"}}},
			},
			L2Advertisements: []v1beta1.L2Advertisement{{ObjectMeta: born("l2", 1), Spec: v1beta1.L2AdvertisementSpec{
				IPAddressPoolSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"zone": "y"}}},
			}}},
		},
		want: "a=192.0.2.1/32 b=192.0.2.2/32@l2", problems: []string{"IPAddressPool/a Warning spec.addresses"},
	},
	"an invalid pool selector selects nothing, not everything": {
		in: Input{
			IPAddressPools: []v1beta1.IPAddressPool{ipPool("a", 1, "192.0.2.1/32")},
			L2Advertisements: []v1beta1.L2Advertisement{{ObjectMeta: born("l2", 1), Spec: v1beta1.L2AdvertisementSpec{
				IPAddressPoolSelectors: []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: "Like"}}}},
			}}},
		},
		want:     "a=192.0.2.1/32",
		problems: []string{"IPAddressPool/a Warning spec.addresses", "L2Advertisement/l2 Error spec.ipAddressPoolSelectors[0].matchExpressions[0].operator"},
	},
	"an advertisement of an unknown pool is a warning, whatever else it names still counts": {
		in: Input{
			IPAddressPools:   []v1beta1.IPAddressPool{ipPool("a", 1, "192.0.2.1/32")},
			L2Advertisements: []v1beta1.L2Advertisement{advertisement("l2", "b", "a", "a")},
		},
		want:     "a=192.0.2.1/32@l2",
		problems: []string{"L2Advertisement/l2 Error spec.ipAddressPools[2]", "L2Advertisement/l2 Warning spec.ipAddressPools[0]"},
	},
	"of several entries the bad ones are dropped": {
		in:   Input{IPAddressPools: []v1beta1.IPAddressPool{ipPool("a", 1, "192.0.2.9-192.0.2.1", "192.0.2.16/30", "192.0.2.17/32", "bad", "192.0.2.20-2001:db8::1", "127.0.0.1/32", "ff02::1/128")}, L2Advertisements: []v1beta1.L2Advertisement{advertisement("l2", "a")}},
		want: "a=192.0.2.16/30+?@l2",
		problems: []string{
			"IPAddressPool/a Error spec.addresses[0]", "IPAddressPool/a Error spec.addresses[2]", "IPAddressPool/a Error spec.addresses[3]",
			"IPAddressPool/a Error spec.addresses[4]", "IPAddressPool/a Error spec.addresses[5]", "IPAddressPool/a Error spec.addresses[6]",
		},
	},
	"a pool without addresses": {
		in:   Input{IPAddressPools: []v1beta1.IPAddressPool{ipPool("a", 1)}, L2Advertisements: []v1beta1.L2Advertisement{advertisement("l2", "a")}},
		want: "a=+?@l2", problems: []string{"IPAddressPool/a Error spec.addresses"},
	},
	"of two pools that overlap the younger loses the entry, also if it is an AddressPool or IPv4-mapped": {
		in: Input{
			IPAddressPools: []v1beta1.IPAddressPool{ipPool("young", 1, "192.0.2.0/24", "198.51.100.1/32"), ipPool("old", 9, "::ffff:192.0.2.128/121")},
			AddressPools:   []v1beta1.AddressPool{legacyPool("youngest", 0, "layer2", "192.0.2.200-192.0.2.220", "203.0.113.1/32")},
		},
		want:     "old=192.0.2.128/25 young=198.51.100.1/32+? youngest=203.0.113.1/32+?@youngest",
		problems: []string{"AddressPool/youngest Error spec.addresses[0]", "IPAddressPool/old Warning spec.addresses", "IPAddressPool/young Error spec.addresses[0]", "IPAddressPool/young Warning spec.addresses"},
	},
	"of two pools of the same age that overlap the first by name stays": {
		in:       Input{IPAddressPools: []v1beta1.IPAddressPool{ipPool("b", 3, "192.0.2.0/24"), ipPool("a", 3, "192.0.2.7/32")}, L2Advertisements: []v1beta1.L2Advertisement{advertisement("l2")}},
		want:     "a=192.0.2.7/32@l2 b=+?@l2",
		problems: []string{"IPAddressPool/b Error spec.addresses[0]"},
	},
	"an AddressPool is found by spec.name": {
		in: Input{AddressPools: []v1beta1.AddressPool{{ObjectMeta: born("addresspool-sample1", 1), Spec: v1beta1.AddressPoolSpec{
			Name: "default", Protocol: "layer2", Addresses: []string{"172.18.0.100-172.18.0.255"}}}}},
		want: "default=172.18.0.100-172.18.0.255@addresspool-sample1", problems: []string{},
	},
	"a name may be used once: the younger pool is dropped": {
		in: Input{
			IPAddressPools: []v1beta1.IPAddressPool{ipPool("default", 2, "192.0.2.1/32")},
			AddressPools: []v1beta1.AddressPool{
				{ObjectMeta: born("sample", 1), Spec: v1beta1.AddressPoolSpec{Name: "default", Protocol: "layer2", Addresses: []string{"192.0.2.2/32"}}},
				legacyPool("default", 2, "layer2", "192.0.2.3/32"),
			},
			L2Advertisements: []v1beta1.L2Advertisement{advertisement("l2")},
		},
		want:     "default=192.0.2.1/32+?@l2",
		problems: []string{"AddressPool/default Error metadata.name", "AddressPool/sample Error spec.name"},
	},
	"an AddressPool of an unknown protocol, and one with advertisements of the wrong one": {
		in: Input{AddressPools: []v1beta1.AddressPool{
			legacyPool("a", 1, "rip", "192.0.2.1/32"),
			{ObjectMeta: born("b", 1), Spec: v1beta1.AddressPoolSpec{Protocol: "layer2", Addresses: []string{"192.0.2.2/32"}, BGPAdvertisements: []v1beta1.LegacyBGPAdvertisement{{}}}},
		}},
		want:     "a=192.0.2.1/32 b=192.0.2.2/32@b",
		problems: []string{"AddressPool/a Error spec.protocol", "AddressPool/b Error spec.bgpAdvertisements"},
	},
	"an advertisement may name an AddressPool": {
		in:   Input{AddressPools: []v1beta1.AddressPool{legacyPool("a", 1, "bgp", "192.0.2.1/32")}, L2Advertisements: []v1beta1.L2Advertisement{advertisement("l2", "a")}},
		want: "a=192.0.2.1/32@l2", problems: []string{},
	},
	"empty and repeated names, selectors that say the same, weights out of range": {
		in: Input{
			IPAddressPools: []v1beta1.IPAddressPool{{ObjectMeta: born("a", 1), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.0.2.1/32"}, ServiceAllocation: &v1beta1.ServiceAllocation{
				Namespaces:       []string{"x", "", "x"},
				ServiceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"k": "v"}}, {MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "k", Operator: "In", Values: []string{"v"}}}}, {MatchLabels: map[string]string{"k": "bad value"}}},
			}}}},
			L2Advertisements: []v1beta1.L2Advertisement{{ObjectMeta: born("l2", 1), Spec: v1beta1.L2AdvertisementSpec{
				Interfaces:             []string{""},
				PreferredNodeSelectors: []v1beta1.PreferredNodeSelector{{Weight: 0}, {Weight: 101}, {Weight: 100}},
			}}},
		},
		want: "a=192.0.2.1/32@l2",
		problems: []string{
			"IPAddressPool/a Error spec.serviceAllocation.namespaces[1]", "IPAddressPool/a Error spec.serviceAllocation.namespaces[2]",
			"IPAddressPool/a Error spec.serviceAllocation.serviceSelectors[2].matchLabels",
			"L2Advertisement/l2 Error spec.interfaces[0]",
			"L2Advertisement/l2 Error spec.preferredNodeSelectors[0].weight", "L2Advertisement/l2 Error spec.preferredNodeSelectors[1].weight",
		},
	},
}

func TestCompile(t *testing.T) {
	for name, tt := range compileTests {
		t.Run(name, func(t *testing.T) {
			got, problems := Compile(tt.in)
			if s := summary(got); s != tt.want {
				t.Errorf("Config is\n%s\nnot\n%s", s, tt.want)
			}
			if diff := cmp.Diff(tt.problems, texts(problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			for _, p := range problems {
				for _, e := range p.Errors {
					if e.Detail == "" && !strings.Contains(e.Error(), "Duplicate") {
						t.Errorf("no advice in %q", e.Error())
					}
				}
			}
		})
	}
}

func TestProblemsSayWhatToDo(t *testing.T) {
	for name, tt := range map[string]struct {
		in   Input
		want string
	}{
		"ends swapped": {
			Input{IPAddressPools: []v1beta1.IPAddressPool{ipPool("a", 1, "192.0.2.20-192.0.2.10")}},
			`IPAddressPool a: spec.addresses[0]: Invalid value: "192.0.2.20-192.0.2.10": has its ends swapped: write 192.0.2.10-192.0.2.20`,
		},
		"single address": {
			Input{IPAddressPools: []v1beta1.IPAddressPool{ipPool("a", 1, "2001:db8::1")}},
			`IPAddressPool a: spec.addresses[0]: Invalid value: "2001:db8::1": is a single address: write 2001:db8::1/128`,
		},
		"overlap": {
			Input{IPAddressPools: []v1beta1.IPAddressPool{ipPool("a", 2, "192.0.2.0/24"), ipPool("b", 1, "192.0.2.5-192.0.2.9")}},
			`IPAddressPool b: spec.addresses[0]: Invalid value: "192.0.2.5-192.0.2.9": overlaps 192.0.2.0/24 of IPAddressPool a, which is older: write addresses that no other pool has`,
		},
		"overlap within the pool": {
			Input{IPAddressPools: []v1beta1.IPAddressPool{ipPool("a", 2, "192.0.2.0/24", "192.0.2.7/32")}},
			`IPAddressPool a: spec.addresses[1]: Invalid value: "192.0.2.7/32": overlaps 192.0.2.0/24 of the same pool: remove one of the two entries, or narrow it`,
		},
		"unknown pool": {
			Input{IPAddressPools: []v1beta1.IPAddressPool{ipPool("first", 2, "192.0.2.0/24")}, L2Advertisements: []v1beta1.L2Advertisement{advertisement("l2", "frist", "first")}},
			`L2Advertisement l2: spec.ipAddressPools[0]: Not found: "frist": there is no pool of this name, so nothing of it is announced: write one of first, or create the pool`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := Compile(tt.in)
			for _, p := range problems {
				if p.Error() == tt.want {
					return
				}
			}
			t.Errorf("no problem reads\n%s\nbut\n%v", tt.want, problems)
		})
	}
}

func TestAutoAssign(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		name              string
		current, misspelt *bool
		want              bool
	}{
		{"unset in both spellings", nil, nil, true},
		{"autoAssign: false", &no, nil, false},
		{"auto-assign: false", nil, &no, false},
		{"auto-assign: false beside the defaulted autoAssign: true", &yes, &no, false},
		{"autoAssign: false beside auto-assign: true", &no, &yes, false},
		{"true in both", &yes, &yes, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := legacyPool("a", 1, "layer2", "192.0.2.1/32")
			p.Spec.AutoAssign, p.Spec.AutoAssignLegacy = tt.current, tt.misspelt
			got, _ := Compile(Input{AddressPools: []v1beta1.AddressPool{p}})
			if got.Pools[0].AutoAssign != tt.want {
				t.Errorf("AutoAssign is %v", got.Pools[0].AutoAssign)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	match := func(k, v string) []metav1.LabelSelector {
		return []metav1.LabelSelector{{MatchLabels: map[string]string{k: v}}}
	}
	bad := []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: "Like"}}}}
	for name, tt := range map[string]struct {
		in   *v1beta1.ServiceAllocation
		want string
	}{
		"no allocation":                               {nil, ""},
		"only a priority":                             {&v1beta1.ServiceAllocation{Priority: 5}, ""},
		"its namespace":                               {&v1beta1.ServiceAllocation{Namespaces: []string{"other", "shop"}}, ""},
		"another namespace":                           {&v1beta1.ServiceAllocation{Namespaces: []string{"other"}}, "is for namespaces other only"},
		"its namespace by label":                      {&v1beta1.ServiceAllocation{Namespaces: []string{"other"}, NamespaceSelectors: match("team", "a")}, ""},
		"a namespace selector that matches nothing":   {&v1beta1.ServiceAllocation{NamespaceSelectors: match("team", "b")}, "is for namespaces with labels team=b only"},
		"an invalid namespace selector opens nothing": {&v1beta1.ServiceAllocation{NamespaceSelectors: bad}, "is for namespaces with labels of no kind (the selector is invalid) only"},
		"an empty namespace selector is everything":   {&v1beta1.ServiceAllocation{NamespaceSelectors: []metav1.LabelSelector{{}}}, ""},
		"its label":                                   {&v1beta1.ServiceAllocation{ServiceSelectors: match("app", "web")}, ""},
		"another label":                               {&v1beta1.ServiceAllocation{ServiceSelectors: match("app", "db")}, "is for Services with labels app=db only"},
		"its namespace, another label":                {&v1beta1.ServiceAllocation{Namespaces: []string{"shop"}, ServiceSelectors: match("app", "db")}, "is for Services with labels app=db only"},
	} {
		t.Run(name, func(t *testing.T) {
			p := ipPool("a", 1, "192.0.2.1/32")
			p.Spec.ServiceAllocation = tt.in
			cfg, _ := Compile(Input{IPAddressPools: []v1beta1.IPAddressPool{p}})
			got := cfg.Pools[0].Allocation.Refuses("shop", labels.Set{"team": "a"}, labels.Set{"app": "web"})
			if got != tt.want {
				t.Errorf("refuses because it %q, should be %q", got, tt.want)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	cfg, _ := Compile(Input{IPAddressPools: []v1beta1.IPAddressPool{ipPool("good", 2, "192.0.2.0/30"), ipPool("bad", 1, "192.0.2.8/30", "192.0.2.20-192.0.2.10")}})
	for _, tt := range []struct{ addr, recorded, want string }{
		{"192.0.2.1", "", "good"},
		{"192.0.2.1", "bad", "good"},
		{"::ffff:192.0.2.9", "", "bad"},
		{"192.0.2.15", "bad", "bad"}, // perhaps of the entry that is dropped
		{"192.0.2.15", "good", ""},
		{"192.0.2.15", "", ""},
		{"2001:db8::1", "", ""},
	} {
		p, ok := cfg.PoolFor(netip.MustParseAddr(tt.addr), tt.recorded)
		if ok != (tt.want != "") || ok && p.Name != tt.want {
			t.Errorf("%s recorded as of %q is of %v, should be of %q", tt.addr, tt.recorded, p, tt.want)
		}
	}
}
