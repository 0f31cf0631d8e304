package node

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/speaker/sessions"
)

func TestAServiceBGPStatusSaysWhoIsToldOfWhat(t *testing.T) {
	route := func(prefix string, peers ...string) announce.BGPRoute {
		return announce.BGPRoute{Prefix: netip.MustParsePrefix(prefix), Peers: peers}
	}
	told := func(prefix string, peers ...string) v1beta1.BGPRoute {
		return v1beta1.BGPRoute{Prefix: prefix, Peers: peers}
	}
	for name, tt := range map[string]struct {
		addresses [][]announce.BGPRoute
		want      v1beta1.ServiceBGPStatusStatus
	}{
		"an address to two peers": {
			[][]announce.BGPRoute{{route("192.0.2.1/32", "a", "b")}},
			v1beta1.ServiceBGPStatusStatus{Peers: []string{"a", "b"}, Routes: []v1beta1.BGPRoute{told("192.0.2.1/32", "a", "b")}}},
		"two addresses to a peer each": {
			[][]announce.BGPRoute{{route("192.0.2.1/32", "b")}, {route("2001:db8::1/128", "a")}},
			v1beta1.ServiceBGPStatusStatus{Peers: []string{"a", "b"}, Routes: []v1beta1.BGPRoute{told("192.0.2.1/32", "b"), told("2001:db8::1/128", "a")}}},
		"two addresses in one prefix": {
			[][]announce.BGPRoute{{route("192.0.2.0/24", "a")}, {route("192.0.2.0/24", "a")}},
			v1beta1.ServiceBGPStatusStatus{Peers: []string{"a"}, Routes: []v1beta1.BGPRoute{told("192.0.2.0/24", "a")}}},
		"two advertisements of one prefix to different peers": {
			[][]announce.BGPRoute{{route("192.0.2.1/32", "c"), route("192.0.2.0/24", "b"), route("192.0.2.1/32", "a")}},
			v1beta1.ServiceBGPStatusStatus{Peers: []string{"a", "b", "c"}, Routes: []v1beta1.BGPRoute{told("192.0.2.0/24", "b"), told("192.0.2.1/32", "a", "c")}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := bgpStatuses{}
			for _, routes := range tt.addresses {
				got.add("node-1", "shop/web", routes)
			}
			tt.want.Node, tt.want.ServiceNamespace, tt.want.ServiceName = "node-1", "shop", "web"
			if d := cmp.Diff(bgpStatuses{"shop/web": &tt.want}, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPrefixesOfASession(t *testing.T) {
	paths := func(prefixes ...string) (out []bgp.Path) {
		for _, p := range prefixes {
			out = append(out, bgp.Path{Prefix: netip.MustParsePrefix(p)})
		}
		return out
	}
	four := bgp.Session{State: bgp.Established, IPv4: true}
	for name, tt := range map[string]struct {
		session            bgp.Session
		planned, running   []bgp.Path
		announced, pending float64
	}{
		"all are told":                       {four, paths("192.0.2.1/32", "192.0.2.2/32"), paths("192.0.2.1/32", "192.0.2.2/32"), 2, 0},
		"one is on its way":                  {four, paths("192.0.2.1/32", "192.0.2.2/32"), paths("192.0.2.2/32"), 1, 1},
		"one is to be told otherwise":        {four, []bgp.Path{{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Preference: bgp.Preference{LocalPref: 7}}}, paths("192.0.2.1/32"), 1, 1},
		"one is about to go":                 {four, nil, paths("192.0.2.1/32"), 1, 0},
		"the session is down":                {bgp.Session{State: bgp.Active}, paths("192.0.2.1/32"), paths("192.0.2.1/32"), 0, 1},
		"of a family that it does not carry": {four, paths("192.0.2.1/32", "2001:db8::1/128"), paths("192.0.2.1/32", "2001:db8::1/128"), 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			o := &sessions.Observed{Planned: tt.planned}
			o.Session, o.Paths = tt.session, tt.running
			if a, p := announcedPrefixes(o), pendingPrefixes(o); a != tt.announced || p != tt.pending {
				t.Errorf("%v announced and %v pending, not %v and %v", a, p, tt.announced, tt.pending)
			}
		})
	}
}
