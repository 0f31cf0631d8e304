package config

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/internal/bgp"
)

const second = time.Second

// TestPeerIsCompiled compares the whole Peer with what was written.
func TestPeerIsCompiled(t *testing.T) {
	base := func(change func(*Peer)) Peer {
		p := Peer{Name: "r", MyASN: 64512, ASN: 64513, Address: netip.MustParseAddr("203.0.113.1"), Port: 179, HoldTime: 90 * second, KeepaliveTime: 30 * second}
		change(&p)
		return p
	}
	for name, tt := range map[string]struct {
		spec string
		want Peer
	}{
		"the least that it takes": {"peerASN: 64513, peerAddress: 203.0.113.1", base(func(*Peer) {})},
		"everything": {
			"localASN: 64999, peerASN: 64513, peerAddress: 203.0.113.1, sourceAddress: 203.0.113.9, peerPort: 1790, holdTime: 30s, keepaliveTime: 5s, connectTime: 7s, routerID: 10.0.0.1, password: x, enableGracefulRestart: true, ebgpMultiHop: true, vrf: red, dualStackAddressFamily: true",
			base(func(p *Peer) {
				p.LocalASN, p.Source, p.Port, p.RouterID, p.Password = 64999, netip.MustParseAddr("203.0.113.9"), 1790, netip.MustParseAddr("10.0.0.1"), "x"
				p.HoldTime, p.KeepaliveTime, p.ConnectTime = 30*second, 5*second, 7*second
				p.GracefulRestart, p.MultiHop, p.VRF, p.DualStack = true, true, "red", true
			}),
		},
		"unnumbered, and any AS number but ours": {"dynamicASN: external, interface: eth0", base(func(p *Peer) { p.ASN, p.Dynamic, p.Address, p.Interface = 0, "external", netip.Addr{}, "eth0" })},
		"an IPv4-mapped address is an IPv4 one": {"peerASN: 64513, peerAddress: '::ffff:203.0.113.1', sourceAddress: 203.0.113.9", base(func(p *Peer) {
			p.Source = netip.MustParseAddr("203.0.113.9")
		})},
		"a hold time alone":                             {"peerASN: 64513, peerAddress: 203.0.113.1, holdTime: 30s", base(func(p *Peer) { p.HoldTime, p.KeepaliveTime = 30*second, 10*second })},
		"a keepalive time alone":                        {"peerASN: 64513, peerAddress: 203.0.113.1, keepaliveTime: 20s", base(func(p *Peer) { p.HoldTime, p.KeepaliveTime = 60*second, 20*second })},
		"a hold time of 0 alone":                        {"peerASN: 64513, peerAddress: 203.0.113.1, holdTime: 0s", base(func(p *Peer) { p.HoldTime, p.KeepaliveTime = 0, 0 })},
		"both 0":                                        {"peerASN: 64513, peerAddress: 203.0.113.1, holdTime: 0s, keepaliveTime: 0s", base(func(p *Peer) { p.HoldTime, p.KeepaliveTime = 0, 0 })},
		"a keepalive time of 0 that nobody wrote":       {"peerASN: 64513, peerAddress: 203.0.113.1, holdTime: 30s, keepaliveTime: 0s", base(func(p *Peer) { p.HoldTime, p.KeepaliveTime = 30*second, 10*second })},
		"a hold time is cut to seconds":                 {"peerASN: 64513, peerAddress: 203.0.113.1, holdTime: 3900ms", base(func(p *Peer) { p.HoldTime, p.KeepaliveTime = 3*second, 1*second })},
		"the longest hold time":                         {"peerASN: 64513, peerAddress: 203.0.113.1, holdTime: 65535s, keepaliveTime: 65535s", base(func(p *Peer) { p.HoldTime, p.KeepaliveTime = 65535*second, 65535*second })},
		"multihop where localASN makes the session one": {"localASN: 64999, peerASN: 64512, peerAddress: 203.0.113.1, ebgpMultiHop: true", base(func(p *Peer) { p.LocalASN, p.ASN, p.MultiHop = 64999, 64512, true })},
	} {
		t.Run(name, func(t *testing.T) {
			c, problems := Compile(decode(t, object(kindBGPPeer, "r", "myASN: 64512, "+tt.spec)))
			if len(problems) > 0 {
				t.Fatal(lines(problems))
			}
			if !reflect.DeepEqual(c.Peers[0], tt.want) {
				t.Errorf("is\n%+v\nnot\n%+v", c.Peers[0], tt.want)
			}
		})
	}
}

func TestBFDProfileIsCompiled(t *testing.T) {
	peer := object(kindBGPPeer, "r", "myASN: 64512, peerASN: 64513, peerAddress: 203.0.113.1, bfdProfile: p")
	defaults := BFDProfile{Name: "p", Receive: 300 * time.Millisecond, Transmit: 300 * time.Millisecond, Multiplier: 3, MinimumTTL: 254}
	for name, tt := range map[string]struct {
		spec string
		want BFDProfile
		bad  []string
	}{
		"nothing written": {"", defaults, []string{}},
		"everything": {
			"receiveInterval: 10, transmitInterval: 60000, echoInterval: 20, detectMultiplier: 2, passiveMode: true, minimumTtl: 1",
			BFDProfile{"p", 10 * time.Millisecond, time.Minute, 2, true, 1}, []string{},
		},
		"no echo":                               {"echoInterval: 20, echoMode: false", defaults, []string{}},
		"echo is refused, the rest of it stays": {"echoMode: true", defaults, []string{"E BFDProfile p: spec.echoMode: Forbidden: " + noEcho}},
		"out of range is as if it were not there": {
			"receiveInterval: 9, transmitInterval: 60001, echoInterval: 0, detectMultiplier: 1, minimumTtl: 255", defaults,
			[]string{
				`E BFDProfile p: spec.echoInterval: Invalid value: 0: write a number from 10 to 60000; unset it is 50`,
				`E BFDProfile p: spec.receiveInterval: Invalid value: 9: write a number from 10 to 60000; unset it is 300`,
				`E BFDProfile p: spec.transmitInterval: Invalid value: 60001: write a number from 10 to 60000; unset it is 300`,
				`E BFDProfile p: spec.detectMultiplier: Invalid value: 1: write a number from 2 to 255; unset it is 3`,
				`E BFDProfile p: spec.minimumTtl: Invalid value: 255: write a number from 1 to 254; unset it is 254`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, problems := Compile(decode(t, join(peer, object(kindBFDProfile, "p", tt.spec))))
			if diff := cmp.Diff(tt.want, *c.Peers[0].BFD); diff != "" {
				t.Errorf("profile (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.bad, lines(problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPeersThatAreWrong compiles one peer, or a few, and the scene's BFD profile.
func TestPeersThatAreWrong(t *testing.T) {
	const fine = "myASN: 64512, peerASN: 64513, peerAddress: 203.0.113.1"
	for name, tt := range map[string]struct {
		spec  string
		want  []string // without "BGPPeer r: spec."
		stays bool
	}{
		"nothing written": {"", []string{
			"E myASN: Required value: write the AS number of the nodes' end of the session, for instance 64512; 64512 to 65534 are for private use (RFC 6996)",
			"E peerASN: Required value: write the AS number of the peer, or dynamicASN: internal or external",
			"E peerAddress: Required value: write the address of the peer, or in interface the interface over which it is found",
		}, false},
		"both AS numbers":           {fine + ", dynamicASN: external", []string{"E dynamicASN: Forbidden: peerASN says already that the peer has the AS number 64513: remove one of the two"}, false},
		"an unknown dynamicASN":     {"myASN: 1, dynamicASN: any, peerAddress: 203.0.113.1", []string{`E dynamicASN: Unsupported value: "any": supported values: "internal", "external"`}, false},
		"localASN is myASN":         {fine + ", localASN: 64512", []string{"W localASN: Invalid value: 64512: is myASN already, so it has no effect: remove it"}, true},
		"address and interface":     {fine + ", interface: eth0", []string{"E interface: Forbidden: peerAddress says already where the peer is: remove one of the two"}, false},
		"multihop to our own AS":    {"myASN: 64512, peerASN: 64512, peerAddress: 203.0.113.1, ebgpMultiHop: true", []string{"E ebgpMultiHop: Invalid value: true: the peer has the same AS number as the nodes, and such a session (iBGP) may take any number of hops anyway: remove ebgpMultiHop, or put the AS numbers right"}, false},
		"multihop to localASN":      {fine + ", localASN: 64513, ebgpMultiHop: true", []string{"W ebgpMultiHop: Invalid value: true: has no effect: the peer has the AS number that the nodes show it, and such a session (iBGP) may take any number of hops anyway"}, true},
		"multihop to dynamic iBGP":  {"myASN: 64512, dynamicASN: internal, peerAddress: 203.0.113.1, ebgpMultiHop: true", []string{"W ebgpMultiHop: Invalid value: true: has no effect: the peer has the AS number that the nodes show it, and such a session (iBGP) may take any number of hops anyway"}, true},
		"an address that is none":   {"myASN: 1, peerASN: 2, peerAddress: router.example.com", []string{`E peerAddress: Invalid value: "router.example.com": is not an IP address: write one such as 192.0.2.1 or 2001:db8::1`}, false},
		"an address with a zone":    {"myASN: 1, peerASN: 2, peerAddress: fe80::1%eth0", []string{`E peerAddress: Invalid value: "fe80::1%eth0": has a zone, and interfaces are called differently on each node: write the address without it`}, false},
		"a multicast address":       {"myASN: 1, peerASN: 2, peerAddress: 224.0.0.5", []string{`E peerAddress: Invalid value: "224.0.0.5": is an address of many: write the one that is meant`}, false},
		"the broadcast address":     {"myASN: 1, peerASN: 2, peerAddress: 255.255.255.255", []string{`E peerAddress: Invalid value: "255.255.255.255": is an address of many: write the one that is meant`}, false},
		"the unspecified address":   {"myASN: 1, peerASN: 2, peerAddress: '::'", []string{`E peerAddress: Invalid value: "::": is the unspecified address: write the one that is meant`}, false},
		"a loopback address":        {"myASN: 1, peerASN: 2, peerAddress: 127.0.0.1", []string{`W peerAddress: Invalid value: "127.0.0.1": is a loopback address, where every node finds itself: write the address of the router, unless one runs on each node`}, true},
		"a link-local address":      {"myASN: 1, peerASN: 2, peerAddress: fe80::1", []string{`W peerAddress: Invalid value: "fe80::1": is a link-local address, which does not say over which interface: write that in interface and remove peerAddress`}, true},
		"a source of another sort":  {fine + ", sourceAddress: 2001:db8::1", []string{`E sourceAddress: Invalid value: "2001:db8::1": is not of the same family as peerAddress 203.0.113.1: write an IPv4 address`}, false},
		"a source that is none":     {fine + ", sourceAddress: eth0", []string{`E sourceAddress: Invalid value: "eth0": is not an IP address: write one such as 192.0.2.1 or 2001:db8::1`}, false},
		"a router ID of IPv6":       {fine + ", routerID: 2001:db8::1", []string{`E routerID: Invalid value: "2001:db8::1": is not an IPv4 address other than 0.0.0.0: write one that no other router has, or nothing to use an address of the node`}, false},
		"a router ID of zeros":      {fine + ", routerID: 0.0.0.0", []string{`E routerID: Invalid value: "0.0.0.0": is not an IPv4 address other than 0.0.0.0: write one that no other router has, or nothing to use an address of the node`}, false},
		"a router ID that is none":  {fine + ", routerID: me", []string{`E routerID: Invalid value: "me": is not an IPv4 address other than 0.0.0.0: write one that no other router has, or nothing to use an address of the node`}, false},
		"interface and source":      {"myASN: 1, peerASN: 2, interface: eth0, sourceAddress: 192.0.2.1", []string{`W sourceAddress: Invalid value: "192.0.2.1": has no effect: a session over an interface is between the link-local addresses of its two ends, so remove it`}, true},
		"interface and multihop":    {"myASN: 1, peerASN: 2, interface: eth0, ebgpMultiHop: true", []string{`W ebgpMultiHop: Invalid value: true: has no effect: what is found over an interface is on the same link, so remove it`}, true},
		"a long VRF":                {fine + ", vrf: sixteen-letters-", []string{`E vrf: Invalid value: "sixteen-letters-": is longer than the 15 characters that a Linux interface may have: write the name that ip link shows`}, false},
		"an interface with a blank": {"myASN: 1, peerASN: 2, interface: 'eth 0'", []string{`E interface: Invalid value: "eth 0": cannot be the name of a Linux interface: write the name that ip link shows, without blanks, slashes and colons`}, false},
		"an interface with a slash": {"myASN: 1, peerASN: 2, interface: eth/0", []string{`E interface: Invalid value: "eth/0": cannot be the name of a Linux interface: write the name that ip link shows, without blanks, slashes and colons`}, false},
		"a short hold time":         {fine + ", holdTime: 2900ms", []string{`E holdTime: Invalid value: "2.9s": write 3s to 65535s, or 0s for a session that never expires`}, false},
		"a hold time of next to 0":  {fine + ", holdTime: 1ms", []string{`E holdTime: Invalid value: "1ms": write 3s to 65535s, or 0s for a session that never expires`}, false},
		"a negative hold time":      {fine + ", holdTime: -90s", []string{`E holdTime: Invalid value: "-1m30s": write 3s to 65535s, or 0s for a session that never expires`}, false},
		"a long hold time":          {fine + ", holdTime: 65536s", []string{`E holdTime: Invalid value: "18h12m16s": write 3s to 65535s, or 0s for a session that never expires`}, false},
		"a negative keepalive time": {fine + ", keepaliveTime: -1s", []string{`E keepaliveTime: Invalid value: "-1s": is negative: write a third of the hold time, or nothing`}, false},
		"keepalives too rare":       {fine + ", holdTime: 9s, keepaliveTime: 10s", []string{`E keepaliveTime: Invalid value: "10s": is longer than the hold time of 9s: write at most that, better a third of it`}, false},
		"keepalives without hold":   {fine + ", holdTime: 0s, keepaliveTime: 10s", []string{`E keepaliveTime: Invalid value: "10s": the holdTime is 0s, for a session without keepalives: remove keepaliveTime, or write a holdTime of at least 3s`}, false},
		"keepalives too frequent":   {fine + ", keepaliveTime: 900ms", []string{`E keepaliveTime: Invalid value: "900ms": the hold time would be three times as long, and is from 3s to 65535s: write 1s to 21845s, or a holdTime as well`}, false},
		"next to no keepalives":     {fine + ", keepaliveTime: 1ms", []string{`E keepaliveTime: Invalid value: "1ms": the hold time would be three times as long, and is from 3s to 65535s: write 1s to 21845s, or a holdTime as well`}, false},
		"a fraction of a second":    {fine + ", connectTime: 1500ms", []string{`E connectTime: Invalid value: "1.5s": write whole seconds from 1s to 65535s`}, false},
		"no time to connect":        {fine + ", connectTime: 0s", []string{`E connectTime: Invalid value: "0s": write whole seconds from 1s to 65535s`}, false},
		"a selector said twice":     {fine + ", nodeSelectors: [{matchExpressions: [{key: a, operator: In, values: [b, c]}]}, {matchExpressions: [{key: a, operator: In, values: [c, b]}]}]", []string{`E nodeSelectors[1]: Duplicate value: "a in (b,c)": is in the list already: remove one of the two`}, true},
		"a value said twice":        {fine + ", nodeSelectors: [{matchExpressions: [{key: a, operator: In, values: [b, c, b]}]}]", []string{`E nodeSelectors[0].matchExpressions[0].values[2]: Duplicate value: "b": is in the list already: remove one of the two`}, true},
		"an expression said twice":  {fine + ", nodeSelectors: [{matchExpressions: [{key: a, operator: Exists}, {key: a, operator: Exists}]}]", []string{`E nodeSelectors[0].matchExpressions[1]: Duplicate value: "a Exists": is in the list already: remove one of the two`}, true},
		"a selector that is none":   {fine + ", nodeSelectors: [{matchExpressions: [{key: a, operator: Like}]}]", []string{`E nodeSelectors[0].matchExpressions[0].operator: Unsupported value: "Like": supported values: "In", "NotIn", "Exists", "DoesNotExist"`}, true},
		"an unknown BFD profile":    {fine + ", bfdProfile: fsat", []string{`W bfdProfile: Not found: "fsat": there is no BFDProfile of this name, so the session runs without BFD until it is there: write one of echo, fast, or create the BFDProfile`}, true},
		"TTL security and multihop": {fine + ", ebgpMultiHop: true, ttlSecurityHops: 2", []string{"E ttlSecurityHops: Forbidden: ebgpMultiHop takes packets from any number of hops away, and this only those from so many: remove ebgpMultiHop, and write here how many hops the peer is away"}, false},
		"TTL security over 255":     {fine + ", ttlSecurityHops: 255", []string{"E ttlSecurityHops: Invalid value: 255: write 1 for a peer on the same network, or how many hops it is away at most, up to 254"}, false},
		"TTL security":              {fine + ", ttlSecurityHops: 1", []string{}, true},
		"disableMP":                 {fine + ", disableMP: true", []string{"W disableMP: Invalid value: true: has no effect: remove it"}, true},
		"a namespace alone":         {fine + ", passwordSecret: {namespace: x}", []string{"W passwordSecret.name: Required value: the namespace alone has no effect: write the name of the Secret"}, true},
		"a Secret elsewhere":        {fine + ", passwordSecret: {namespace: x, name: y}", []string{`W passwordSecret.namespace: Invalid value: "x": has no effect: the Secret is read from the peer's own namespace metallb-system: put it there and remove this`}, true},
	} {
		t.Run(name, func(t *testing.T) {
			profiles := join(object(kindBFDProfile, "fast", ""), object(kindBFDProfile, "echo", ""))
			c, problems := Compile(decode(t, join(profiles, object(kindBGPPeer, "r", tt.spec))))
			want := []string{}
			for _, w := range tt.want {
				want = append(want, w[:2]+"BGPPeer r: spec."+w[2:])
			}
			if diff := cmp.Diff(want, lines(problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if got := len(c.Peers) == 1; got != tt.stays {
				t.Errorf("the peer stays: %v", got)
			}
			if tt.stays && c.Peers[0].BFD != nil && strings.Contains(fmt.Sprint(tt.want), "without BFD") {
				t.Error("BFD runs")
			}
		})
	}
}

func TestPasswords(t *testing.T) {
	const secret = "s3cr3t-T0ken"
	long := strings.Repeat(secret, 7)
	for name, tt := range map[string]struct {
		spec    string
		secrets map[string]Secret
		want    []string
		stays   bool
		is      bgp.Password
	}{
		"in the field":         {"password: " + secret, nil, []string{}, true, secret},
		"too long":             {"password: " + long, nil, []string{"E BGPPeer r: spec.password: Too long: a password of a BGP session has at most 80 bytes: choose a shorter one"}, false, ""},
		"in two places":        {"password: " + secret + ", passwordSecret: {name: pw}", nil, []string{"E BGPPeer r: spec.password: Forbidden: passwordSecret names a Secret with the password already: remove one of the two, better this one"}, false, ""},
		"in a Secret":          {"passwordSecret: {name: pw, namespace: metallb-system}", map[string]Secret{"pw": {secretType, secret}}, []string{}, true, secret},
		"in an unknown Secret": {"passwordSecret: {name: pw}", nil, []string{}, true, ""},
		"in a missing Secret": {"passwordSecret: {name: pw}", map[string]Secret{}, []string{
			`W BGPPeer r: spec.passwordSecret.name: Not found: "pw": there is no Secret of this name in the namespace of the peer, so no session is opened until it is there: create it with type kubernetes.io/basic-auth and the key password`,
		}, false, ""},
		"in a Secret of another type": {"passwordSecret: {name: pw}", map[string]Secret{"pw": {"Opaque", secret}}, []string{
			`E BGPPeer r: spec.passwordSecret.name: Invalid value: "pw": this Secret is of type Opaque, so no session is opened: create it anew with type kubernetes.io/basic-auth`,
		}, false, ""},
		"in a Secret without it": {"passwordSecret: {name: pw}", map[string]Secret{"pw": {secretType, ""}}, []string{
			`E BGPPeer r: spec.passwordSecret.name: Invalid value: "pw": this Secret has no password, so no session is opened: write one under the key password`,
		}, false, ""},
		"too long in a Secret": {"passwordSecret: {name: pw}", map[string]Secret{"pw": {secretType, bgp.Password(long)}}, []string{
			`E BGPPeer r: spec.passwordSecret.name: Too long: the password in this Secret is too long, so no session is opened: a password of a BGP session has at most 80 bytes: choose a shorter one`,
		}, false, ""},
		"in a Secret with a line break": {"passwordSecret: {name: pw}", map[string]Secret{"pw": {secretType, secret + "\n"}}, []string{
			`W BGPPeer r: spec.passwordSecret.name: Invalid value: "pw": the password in this Secret ends with a line break, which is part of it: unless the router has that too, write it without one (printf, or echo -n)`,
		}, true, secret + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			in := decode(t, object(kindBGPPeer, "r", "myASN: 64512, peerASN: 64513, peerAddress: 203.0.113.1, "+tt.spec))
			in.Secrets = tt.secrets
			c, problems := Compile(in)
			if diff := cmp.Diff(tt.want, lines(problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if got := len(c.Peers) == 1; got != tt.stays || got && c.Peers[0].Password != tt.is {
				t.Errorf("the peer stays: %v, with the right password: %v", got, got && c.Peers[0].Password == tt.is)
			}
			js, err := json.Marshal([]any{problems, c.Peers})
			if dump := fmt.Sprintf("%s %+v %#v", js, c.Peers, problems); err != nil || strings.Contains(dump, secret) {
				t.Errorf("a password can be read (error %v)", err)
			}
		})
	}
}

// TestPeersOfOneNode compiles peers a, b, ..., a being the oldest, for all nodes, for one of zone a and for one of zone b.
func TestPeersOfOneNode(t *testing.T) {
	const one, two = "myASN: 64512, peerASN: 64513, peerAddress: 203.0.113.1", "myASN: 64512, peerASN: 64513, peerAddress: 203.0.113.2"
	const inA, inB = ", nodeSelectors: [{matchLabels: {zone: a}}]", ", nodeSelectors: [{matchLabels: {zone: b}}]"
	for name, tt := range map[string]struct {
		specs []string
		// peers of the Configs for all nodes, for a, for b, for a node that is not known; "/" parts them
		want     string
		problems []string
	}{
		"two routers":                              {[]string{one, two}, "a b/a b/a b/a b", []string{}},
		"one in each zone":                         {[]string{one + inA, one + inB}, "a b/a/b/", []string{}},
		"an AS number in each zone":                {[]string{one + inA, "myASN: 1, peerASN: 64513, peerAddress: 203.0.113.2" + inB}, "a b/a/b/", []string{}},
		"a router ID in each VRF":                  {[]string{one + ", routerID: 10.0.0.1, vrf: red", two + ", routerID: 10.0.0.2"}, "a b/a b/a b/a b", []string{}},
		"one router ID, and one left open":         {[]string{one, two + ", routerID: 10.0.0.2"}, "a b/a b/a b/a b", []string{}},
		"the same address in two VRFs":             {[]string{one, one + ", vrf: red"}, "a b/a b/a b/a b", []string{}},
		"selectors of no node":                     {[]string{one + ", nodeSelectors: [{matchLabels: {zone: c}}]", one + ", nodeSelectors: [{matchLabels: {zone: c}}]"}, "a b///", []string{`W BGPPeer a: spec.nodeSelectors: Invalid value: "zone=c": no node has such labels, so no session is opened: write labels that nodes have, as kubectl get nodes --show-labels prints them`, `W BGPPeer b: spec.nodeSelectors: Invalid value: "zone=c": no node has such labels, so no session is opened: write labels that nodes have, as kubectl get nodes --show-labels prints them`}},
		"the same peer twice, by other ports":      {[]string{one, one + ", peerPort: 1179"}, "a/a/a/a", []string{`E BGPPeer b: spec.peerAddress: Duplicate value: "203.0.113.1": a node has one session with a peer, and this one is that of BGPPeer a, which is older, also if the ports differ: remove one of the two, or let nodeSelectors part them`}},
		"the same interface twice":                 {[]string{"myASN: 1, peerASN: 2, interface: eth0", "myASN: 1, dynamicASN: external, interface: eth0"}, "a/a/a/a", []string{`E BGPPeer b: spec.interface: Duplicate value: "eth0": a node has one session with a peer, and this one is that of BGPPeer a, which is older, also if the ports differ: remove one of the two, or let nodeSelectors part them`}},
		"the same address, mapped":                 {[]string{one, "myASN: 64512, peerASN: 64513, peerAddress: '::ffff:203.0.113.1'"}, "a/a/a/a", []string{`E BGPPeer b: spec.peerAddress: Duplicate value: "203.0.113.1": a node has one session with a peer, and this one is that of BGPPeer a, which is older, also if the ports differ: remove one of the two, or let nodeSelectors part them`}},
		"two AS numbers":                           {[]string{one, "myASN: 64999, peerASN: 64513, peerAddress: 203.0.113.2"}, "a b/a b/a b/a b", []string{}},
		"two router IDs":                           {[]string{one + ", routerID: 10.0.0.1", two + ", routerID: 10.0.0.2"}, "a b/a b/a b/a b", []string{}},
		"on a node of zone a only":                 {[]string{one + inA, one}, "a/a/b/b", []string{`E BGPPeer b: spec.peerAddress: Duplicate value: "203.0.113.1": a node has one session with a peer, and this one is that of BGPPeer a, which is older, also if the ports differ: remove one of the two, or let nodeSelectors part them`}},
		"one that is dropped is nobody's obstacle": {[]string{one, one + ", peerPort: 1179", two}, "a c/a c/a c/a c", []string{`E BGPPeer b: spec.peerAddress: Duplicate value: "203.0.113.1": a node has one session with a peer, and this one is that of BGPPeer a, which is older, also if the ports differ: remove one of the two, or let nodeSelectors part them`}},
	} {
		t.Run(name, func(t *testing.T) {
			var docs []string
			for i, spec := range tt.specs {
				docs = append(docs, object(kindBGPPeer, string(rune('a'+i)), spec))
			}
			in := decode(t, join(docs...))
			in.Nodes = []Node{{Name: "node-a", Labels: labels.Set{"zone": "a"}}, {Name: "node-b", Labels: labels.Set{"zone": "b"}}}
			var got []string
			for _, node := range []string{"", "node-a", "node-b", "node-x"} {
				in.Node = node
				c, problems := Compile(in)
				var names []string
				for _, p := range c.Peers {
					names = append(names, p.Name)
				}
				got = append(got, strings.Join(names, " "))
				if node != "" {
					continue
				}
				if diff := cmp.Diff(tt.problems, lines(problems)); diff != "" {
					t.Errorf("problems (-want +got):\n%s", diff)
				}
			}
			if text := strings.Join(got, "/"); text != tt.want {
				t.Errorf("peers are %q, not %q", text, tt.want)
			}
		})
	}
}

func TestPeersShareANodeIfNobodyKnowsTheNodes(t *testing.T) {
	in := decode(t, join(
		object(kindBGPPeer, "a", "myASN: 1, peerASN: 2, peerAddress: 203.0.113.1, nodeSelectors: [{matchLabels: {zone: a}}]"),
		object(kindBGPPeer, "b", "myASN: 1, peerASN: 2, peerAddress: 203.0.113.1, nodeSelectors: [{matchLabels: {zone: b}}]")))
	if c, problems := Compile(in); len(c.Peers) != 1 || len(problems) != 1 {
		t.Errorf("peers %v, problems %v", c.Peers, lines(problems))
	}
	in.Nodes = []Node{}
	if c, problems := Compile(in); len(c.Peers) != 2 || len(problems) != 2 {
		t.Errorf("without any node: peers %v, problems %v", c.Peers, lines(problems))
	}
}

// TestPeerThatWaitsKeepsItsPlace: when the Secret comes, no other session has to go.
func TestPeerThatWaitsKeepsItsPlace(t *testing.T) {
	in := decode(t, join(
		object(kindBGPPeer, "a", "myASN: 1, peerASN: 2, peerAddress: 203.0.113.1, passwordSecret: {name: pw}"),
		object(kindBGPPeer, "b", "myASN: 1, peerASN: 2, peerAddress: 203.0.113.1")))
	in.Secrets = map[string]Secret{}
	if c, _ := Compile(in); len(c.Peers) != 0 {
		t.Errorf("peers %v", c.Peers)
	}
	in.Secrets["pw"] = Secret{Type: secretType, Password: "x"}
	if c, _ := Compile(in); len(c.Peers) != 1 || c.Peers[0].Name != "a" {
		t.Errorf("with the Secret: peers %v", c.Peers)
	}
}
