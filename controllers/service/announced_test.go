package service

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/testenv"
)

// l2Status is what the speaker of a node said at a time: addresses, and after "on" interfaces. An address with a reason behind an
// exclamation mark has that problem.
func l2Status(node string, second int64, words string) v1beta1.ServiceL2Status {
	s := v1beta1.ServiceL2Status{ObjectMeta: metav1.ObjectMeta{Name: "l2-" + node, CreationTimestamp: metav1.Unix(second, 0)}}
	s.Status = v1beta1.ServiceL2StatusStatus{Node: node, ServiceNamespace: "shop", ServiceName: "web"}
	addresses, interfaces, _ := strings.Cut(words, " on ")
	for _, word := range strings.Fields(addresses) {
		address, reasons, _ := strings.Cut(word, "!")
		s.Status.Addresses = append(s.Status.Addresses, address)
		for reason := range strings.SplitSeq(reasons, "!") {
			if reason != "" {
				s.Status.Problems = append(s.Status.Problems, v1beta1.AddressProblem{Address: address, Reason: reason, Message: "something about " + address})
			}
		}
	}
	for _, name := range strings.Fields(interfaces) {
		s.Status.Interfaces = append(s.Status.Interfaces, v1beta1.InterfaceInfo{Name: name})
	}
	return s
}

func addrs(texts ...string) (out []netip.Addr) {
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

// brief is a condition in one line.
func brief(c *metav1.Condition) string {
	if c == nil {
		return "none"
	}
	return string(c.Status) + " " + c.Reason + ": " + c.Message
}

func TestTheConditionSaysWhoAnnounces(t *testing.T) {
	one, two := addrs("192.0.2.1"), addrs("192.0.2.1", "2001:db8::1")
	no := lack{announce.NoEndpoints, "No endpoint."}
	for name, tt := range map[string]struct {
		addresses []netip.Addr
		statuses  []v1beta1.ServiceL2Status
		lacks     map[netip.Addr]lack
		want      string
	}{
		"a node, on all interfaces": {one, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1")}, nil,
			"True Announced: Node n1 answers for 192.0.2.1 on all its network interfaces."},
		"a node, on some interfaces": {one, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1 on eth0 eth1")}, nil,
			"True Announced: Node n1 answers for 192.0.2.1 on eth0, eth1."},
		"a node for both addresses": {two, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1 2001:db8::1")}, nil,
			"True Announced: Node n1 answers for 192.0.2.1 and 2001:db8::1 on all its network interfaces."},
		"a node for each address": {two, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1"), l2Status("n2", 1, "2001:db8::1 on eth0")}, nil,
			"True Announced: Node n1 answers for 192.0.2.1 on all its network interfaces. Node n2 answers for 2001:db8::1 on eth0."},
		"the one that began last": {one, []v1beta1.ServiceL2Status{l2Status("n2", 2, "192.0.2.1"), l2Status("n1", 1, "192.0.2.1")}, nil,
			"True Announced: Node n2 answers for 192.0.2.1 on all its network interfaces."},
		"of two that began together always the same": {one, []v1beta1.ServiceL2Status{l2Status("n2", 1, "192.0.2.1"), l2Status("n1", 1, "192.0.2.1")}, nil,
			"True Announced: Node n2 answers for 192.0.2.1 on all its network interfaces."},
		"an address that the Service no longer has": {one, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.9")}, nil, "none"},
		"nobody yet": {one, nil, nil, "none"},
		"nobody":     {one, nil, map[netip.Addr]lack{one[0]: no}, "False NoEndpoints: No endpoint."},
		"nobody, for the same reason twice": {two, nil, map[netip.Addr]lack{two[0]: no, two[1]: no},
			"False NoEndpoints: No endpoint."},
		"one of two, and of the other nothing is known": {two, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1")}, nil, "none"},
		"one of two": {two, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1")}, map[netip.Addr]lack{two[1]: no},
			"False NoEndpoints: Node n1 answers for 192.0.2.1 on all its network interfaces. No endpoint."},
		"a node that is not heard": {one, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1!NotAnswered")}, nil,
			"False NotAnswered: Something about 192.0.2.1."},
		"of two addresses one is not heard": {two, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1!NotAnswered 2001:db8::1")}, nil,
			"False NotAnswered: Something about 192.0.2.1. Node n1 answers for 2001:db8::1 on all its network interfaces."},
		"one that somebody else has too is announced": {one, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1!ForeignHolder")}, nil,
			"True Announced: Node n1 answers for 192.0.2.1 on all its network interfaces."},
	} {
		t.Run(name, func(t *testing.T) {
			if got := brief(announced(tt.addresses, claims(tt.statuses), nil, tt.lacks)); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestTheConditionSaysWhoElseHasAnAddress(t *testing.T) {
	one, two := addrs("192.0.2.1"), addrs("192.0.2.1", "2001:db8::1")
	for name, tt := range map[string]struct {
		addresses []netip.Addr
		statuses  []v1beta1.ServiceL2Status
		want      string
	}{
		"nobody":                  {one, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1")}, "none"},
		"nothing is known":        {one, nil, "none"},
		"a stranger":              {one, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1!ForeignHolder")}, "True ForeignHolder: Something about 192.0.2.1."},
		"of one of two addresses": {two, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1 2001:db8::1!OtherNodeAnswers")}, "True OtherNodeAnswers: Something about 2001:db8::1."},
		"of both": {two, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1!ForeignHolder 2001:db8::1!OtherNodeAnswers")},
			"True ForeignHolder: Something about 192.0.2.1. Something about 2001:db8::1."},
		"an address that is not heard is another matter":         {one, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1!NotAnswered")}, "none"},
		"an address that the Service no longer has":              {one, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.9!ForeignHolder")}, "none"},
		"what a node said that has taken the address back since": {one, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1!ForeignHolder"), l2Status("n2", 2, "192.0.2.1")}, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := brief(conflict(tt.addresses, claims(tt.statuses))); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestWhatKeepsAnAddressFromBeingAnnounced(t *testing.T) {
	m := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	web := []metav1.LabelSelector{{MatchLabels: map[string]string{"app": "web"}}}
	mail := []metav1.LabelSelector{{MatchLabels: map[string]string{"app": "mail"}}}
	l2 := v1beta1.L2Advertisement{ObjectMeta: m("l2")}
	bgp := v1beta1.BGPAdvertisement{ObjectMeta: m("bgp")}
	peer := v1beta2.BGPPeer{ObjectMeta: m("router"), Spec: v1beta2.BGPPeerSpec{MyASN: 64512, ASN: 64513, Address: "198.51.100.1"}}
	for name, tt := range map[string]struct {
		l2    []v1beta1.L2Advertisement
		bgp   []v1beta1.BGPAdvertisement
		peers []v1beta2.BGPPeer
		why   announce.Reason // of a plan that knows more than the configuration
		pool  string
		want  string // "": it is not the configuration
	}{
		"nothing": {l2: []v1beta1.L2Advertisement{l2}},
		"an address in no pool": {l2: []v1beta1.L2Advertisement{l2}, pool: "203.0.113.0/28",
			want: "False NoPool: No pool contains 192.0.2.1: add it to an IPAddressPool, or delete the Service and create it again to get another address."},
		"no advertisement": {
			want: "False NoAdvertisement: No L2Advertisement is for the pool of 192.0.2.1 and this Service: create one, or check its ipAddressPools and serviceSelectors."},
		"an advertisement for other Services": {l2: []v1beta1.L2Advertisement{{ObjectMeta: m("l2"), Spec: v1beta1.L2AdvertisementSpec{ServiceSelectors: mail}}},
			want: "False NoAdvertisement: No L2Advertisement is for the pool of 192.0.2.1 and this Service: create one, or check its ipAddressPools and serviceSelectors."},
		"BGP only":                   {bgp: []v1beta1.BGPAdvertisement{bgp}, peers: []v1beta2.BGPPeer{peer}},
		"BGP only, for this Service": {bgp: []v1beta1.BGPAdvertisement{{ObjectMeta: m("bgp"), Spec: v1beta1.BGPAdvertisementSpec{ServiceSelectors: web}}}, peers: []v1beta2.BGPPeer{peer}},
		"BGP only, for other Services": {bgp: []v1beta1.BGPAdvertisement{{ObjectMeta: m("bgp"), Spec: v1beta1.BGPAdvertisementSpec{ServiceSelectors: mail}}}, peers: []v1beta2.BGPPeer{peer},
			want: "False NoAdvertisement: No L2Advertisement is for the pool of 192.0.2.1 and this Service: create one, or check its ipAddressPools and serviceSelectors."},
		"BGP only and no router": {bgp: []v1beta1.BGPAdvertisement{bgp},
			want: "False NoPeer: Pool p is announced by BGP only and there is no BGPPeer, so no router is told of 192.0.2.1: create a BGPPeer for each router."},
		"no node, and no BGP": {l2: []v1beta1.L2Advertisement{l2}, why: announce.NoNode, want: "False NoNode: The plan's words."},
		"no node, and BGP": {l2: []v1beta1.L2Advertisement{l2}, bgp: []v1beta1.BGPAdvertisement{bgp}, peers: []v1beta2.BGPPeer{peer}, why: announce.NoNode,
			want: "False NoNodeTells: No node with a speaker is selected by a BGPAdvertisement for 192.0.2.1: check its nodeSelectors. On the LAN nobody answers: The plan's words."},
		"no endpoint, and BGP": {l2: []v1beta1.L2Advertisement{l2}, bgp: []v1beta1.BGPAdvertisement{bgp}, peers: []v1beta2.BGPPeer{peer}, why: announce.NoEndpoints,
			want: "False NoEndpoints: The plan's words."},
		"a node that does not say so": {l2: []v1beta1.L2Advertisement{l2}, why: announce.OtherNode,
			want: "False NotReported: No node says that it announces 192.0.2.1, though node n1 could: see the events of this Service, which tell of missing network interfaces, and the logs of the speakers."},
	} {
		t.Run(name, func(t *testing.T) {
			pool := offlinePool("p", "192.0.2.0/28")
			if tt.pool != "" {
				pool = offlinePool("p", tt.pool)
			}
			cfg, _ := config.Compile(config.Input{IPAddressPools: []v1beta1.IPAddressPool{pool}, L2Advertisements: tt.l2, BGPAdvertisements: tt.bgp, BGPPeers: tt.peers})
			svc := announce.Service{Name: "shop/web", Labels: map[string]string{"app": "web"}, Addresses: addrs("192.0.2.1")}
			lacks := configured(svc, cfg)
			if tt.why != "" {
				if len(lacks) > 0 {
					t.Fatalf("the configuration alone says %+v", lacks)
				}
				w := announce.Why{Address: svc.Addresses[0], Owner: "n1", Reason: tt.why, Message: "the plan's words"}
				lacks[w.Address], _ = lackOf(w, &svc, cfg, &routers{config: cfg})
			}
			want := tt.want
			if want == "" {
				want = "none"
			}
			if d := cmp.Diff(want, brief(announced(svc.Addresses, nil, nil, lacks))); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestWhatDeadNodesLeave(t *testing.T) {
	for name, tt := range map[string]struct {
		statuses []v1beta1.ServiceL2Status
		nodes    map[string]bool
		want     string
	}{
		"nothing":                {[]v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1")}, map[string]bool{"n1": true}, ""},
		"of a node that is gone": {[]v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1")}, map[string]bool{"n2": true}, "l2-n1"},
		"of a silent node that another has followed": {
			[]v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1"), l2Status("n2", 2, "192.0.2.1")}, map[string]bool{"n1": false, "n2": true}, "l2-n1"},
		"of a silent node that another has followed for one address": {
			[]v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1 2001:db8::1"), l2Status("n2", 2, "192.0.2.1")}, map[string]bool{"n1": false, "n2": true}, ""},
		"of a silent node that may announce on": {[]v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1")}, map[string]bool{"n1": false, "n2": true}, ""},
		"of two silent nodes": {
			[]v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1"), l2Status("n2", 2, "192.0.2.1")}, map[string]bool{"n1": false, "n2": false}, ""},
		"of two nodes that are heard of": {
			[]v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1"), l2Status("n2", 2, "192.0.2.1")}, map[string]bool{"n1": true, "n2": true}, ""},
		"one that is not written yet": {[]v1beta1.ServiceL2Status{{}}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, s := range leftovers(l2Reports(tt.statuses), tt.nodes) {
				got = append(got, s.GetName())
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("got %q, want %q", text, tt.want)
			}
		})
	}
}

func TestEveryReasonIsInTheDocumentation(t *testing.T) {
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "why-not-announced.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []announce.Reason{
		announce.Announced, announce.NoPool, announce.HeldByNode, announce.NoAdvertisement, announce.NoEndpoints, announce.NoNode, announce.NoInterface,
		announce.Conflict, NotReported, NotAnswered, NoSpeaker, NoPeer, SessionDown, FamilyNotCarried, NoNodeTells,
	} {
		if !strings.Contains(string(text), "`"+string(reason)+"`") {
			t.Errorf("%s is not explained", reason)
		}
	}
}
