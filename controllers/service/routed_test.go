package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/config"
)

// bgpStatus is what the speaker of a node says: prefixes, each with its peers after a colon, or addresses with a problem behind an
// exclamation mark.
func bgpStatus(node, words string) v1beta1.ServiceBGPStatus {
	s := v1beta1.ServiceBGPStatus{ObjectMeta: metav1.ObjectMeta{Name: "bgp-" + node}}
	s.Status = v1beta1.ServiceBGPStatusStatus{Node: node, ServiceNamespace: "shop", ServiceName: "web"}
	for word := range strings.FieldsSeq(words) {
		if address, problem, bad := strings.Cut(word, "!"); bad {
			s.Status.Problems = append(s.Status.Problems, v1beta1.BGPProblem{Address: address, Reason: "ConflictingAdvertisements", Message: "they differ in " + problem})
			continue
		}
		i := strings.LastIndex(word, "=")
		peers := strings.Split(word[i+1:], ",")
		s.Status.Routes = append(s.Status.Routes, v1beta1.BGPRoute{Prefix: word[:i], Peers: peers})
		s.Status.Peers = append(s.Status.Peers, peers...)
	}
	return s
}

func TestTheConditionSaysWhoTellsRouters(t *testing.T) {
	one, two := addrs("192.0.2.1"), addrs("192.0.2.1", "2001:db8::1")
	var many []v1beta1.ServiceBGPStatus
	for i := range 9 {
		many = append(many, bgpStatus(fmt.Sprintf("n%d", i), "192.0.2.1/32=a"))
	}
	racks := []v1beta1.ServiceBGPStatus{}
	for i := range 7 {
		racks = append(racks, bgpStatus(fmt.Sprintf("n%d", i), fmt.Sprintf("192.0.2.1/32=rack%d", i)))
	}
	no := map[netip.Addr]lack{two[1]: {SessionDown, "The session is down."}}
	for name, tt := range map[string]struct {
		addresses []netip.Addr
		onLAN     []v1beta1.ServiceL2Status
		byBGP     []v1beta1.ServiceBGPStatus
		lacks     map[netip.Addr]lack
		want      string
	}{
		"a node": {one, nil, []v1beta1.ServiceBGPStatus{bgpStatus("n1", "192.0.2.1/32=a")}, nil,
			"True Announced: Node n1 tells BGPPeer a of 192.0.2.1/32."},
		"two nodes, two routers": {one, nil, []v1beta1.ServiceBGPStatus{bgpStatus("n2", "192.0.2.1/32=a,b"), bgpStatus("n1", "192.0.2.1/32=a,b")}, nil,
			"True Announced: Nodes n1 and n2 tell BGPPeers a and b of 192.0.2.1/32."},
		"many nodes are not all named": {one, nil, many, nil,
			"True Announced: Nodes n0, n1, n2, n3, n4 and others tell BGPPeer a of 192.0.2.1/32."},
		"a router for each node": {one, nil, racks[:2], nil,
			"True Announced: Node n0 tells BGPPeer rack0 of 192.0.2.1/32. Node n1 tells BGPPeer rack1 of 192.0.2.1/32."},
		"many such routers": {one, nil, racks, nil,
			"True Announced: Node n0 tells BGPPeer rack0 of 192.0.2.1/32. Node n1 tells BGPPeer rack1 of 192.0.2.1/32. Node n2 tells BGPPeer rack2 of 192.0.2.1/32. Node n3 tells BGPPeer rack3 of 192.0.2.1/32. Node n4 tells BGPPeer rack4 of 192.0.2.1/32. Other nodes tell other routers."},
		"both addresses": {two, nil, []v1beta1.ServiceBGPStatus{bgpStatus("n1", "192.0.2.1/32=a 2001:db8::1/128=a")}, nil,
			"True Announced: Node n1 tells BGPPeer a of 192.0.2.1/32 and 2001:db8::1/128."},
		"an aggregate beside the address": {one, nil, []v1beta1.ServiceBGPStatus{bgpStatus("n1", "192.0.2.0/24=a 192.0.2.1/32=a")}, nil,
			"True Announced: Node n1 tells BGPPeer a of 192.0.2.0/24 and 192.0.2.1/32."},
		"a prefix of another address": {one, nil, []v1beta1.ServiceBGPStatus{bgpStatus("n1", "198.51.100.1/32=a")}, nil, "none"},
		"on the LAN too": {one, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1")}, []v1beta1.ServiceBGPStatus{bgpStatus("n2", "192.0.2.1/32=a")}, nil,
			"True Announced: Node n1 answers for 192.0.2.1 on all its network interfaces. Node n2 tells BGPPeer a of 192.0.2.1/32."},
		"one address on the LAN, one by BGP": {two, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1")}, []v1beta1.ServiceBGPStatus{bgpStatus("n2", "2001:db8::1/128=a")}, nil,
			"True Announced: Node n1 answers for 192.0.2.1 on all its network interfaces. Node n2 tells BGPPeer a of 2001:db8::1/128."},
		"one of two": {two, nil, []v1beta1.ServiceBGPStatus{bgpStatus("n1", "192.0.2.1/32=a")}, no,
			"False SessionDown: The session is down. Node n1 tells BGPPeer a of 192.0.2.1/32."},
		"not heard on the LAN": {one, []v1beta1.ServiceL2Status{l2Status("n1", 1, "192.0.2.1!NotAnswered")}, []v1beta1.ServiceBGPStatus{bgpStatus("n2", "192.0.2.1/32=a")}, nil,
			"False NotAnswered: Something about 192.0.2.1. Node n2 tells BGPPeer a of 192.0.2.1/32."},
	} {
		t.Run(name, func(t *testing.T) {
			if got := brief(announced(tt.addresses, claims(tt.onLAN), tellings(tt.byBGP), tt.lacks)); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestTheConditionSaysWhichAdvertisementsContradict(t *testing.T) {
	one := addrs("192.0.2.1")
	for name, tt := range map[string]struct {
		statuses []v1beta1.ServiceBGPStatus
		want     string
	}{
		"none": {[]v1beta1.ServiceBGPStatus{bgpStatus("n1", "192.0.2.1/32=a")}, "none"},
		"on two nodes": {[]v1beta1.ServiceBGPStatus{bgpStatus("n2", "192.0.2.1!localPref"), bgpStatus("n1", "192.0.2.1!localPref")},
			"True ConflictingAdvertisements: They differ in localPref. Until then it is not announced by nodes n1 and n2 to any router."},
		"of an address that the Service no longer has": {[]v1beta1.ServiceBGPStatus{bgpStatus("n1", "192.0.2.9!localPref")}, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := brief(contradiction(one, tt.statuses)); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestWhyNoRouterIsTold(t *testing.T) {
	four, six := addrs("192.0.2.1")[0], addrs("2001:db8::1")[0]
	line := func(node string, reason announce.Reason, message string, peers ...string) announce.NodeRoutes {
		w := announce.BGPWhy{Address: four, Reason: reason, Message: message}
		if len(peers) > 0 {
			w.Routes = []announce.BGPRoute{{Peers: peers}}
		}
		return announce.NodeRoutes{Node: node, BGPWhy: w}
	}
	tells := func(node string, peers ...string) announce.NodeRoutes {
		return line(node, announce.Announced, "", peers...)
	}
	for name, tt := range map[string]struct {
		address  netip.Addr
		nodes    []announce.NodeRoutes
		sessions map[string]string // node/peer: the error, or "up"
		want     string
	}{
		"a session is down": {four, []announce.NodeRoutes{tells("n1", "a")}, map[string]string{"n1/a": "it refuses connections"},
			"SessionDown: No router is told of 192.0.2.1: on node n1 the session with BGPPeer a is down: it refuses connections."},
		"for the same reason on all nodes": {four, []announce.NodeRoutes{tells("n1", "a"), tells("n2", "a")}, map[string]string{"n1/a": "it refuses connections", "n2/a": "it refuses connections"},
			"SessionDown: No router is told of 192.0.2.1: on nodes n1 and n2 the session with BGPPeer a is down: it refuses connections."},
		"for different ones": {four, []announce.NodeRoutes{tells("n1", "a", "b")}, map[string]string{"n1/a": "bad peer AS", "n1/b": ""},
			"SessionDown: No router is told of 192.0.2.1: on node n1 the session with BGPPeer a is down: bad peer AS; on node n1 the session with BGPPeer b is not up yet."},
		"nothing is reported": {four, []announce.NodeRoutes{tells("n1", "a")}, nil,
			"NotReported: No router is told of 192.0.2.1: on node n1 nothing is reported of the session with BGPPeer a."},
		"the session is for the other family": {six, nil, map[string]string{"n1/a": "up"},
			"FamilyNotCarried: No router is told of 2001:db8::1: on node n1 the session with BGPPeer a is not for IPv6: set dualStackAddressFamily, or create a BGPPeer with an IPv6 address."},
		"the router does not want the family": {four, []announce.NodeRoutes{tells("n1", "a")}, map[string]string{"n1/a": "up"},
			"FamilyNotCarried: No router is told of 192.0.2.1: on node n1 the session with BGPPeer a is up and exchanges no IPv4 prefixes: activate that address family for it on the router, and see its lastError."},
		"a contradiction": {four, []announce.NodeRoutes{line("n1", announce.Conflict, "x and y differ"), line("n2", announce.NodeExcluded, "node n2 is excluded")}, nil,
			"ConflictingAdvertisements: X and y differ."},
		"one node cannot, the session of the other is down": {four, []announce.NodeRoutes{line("n1", announce.NodeExcluded, "node n1 is excluded"), tells("n2", "a")}, map[string]string{"n2/a": "bad peer AS"},
			"SessionDown: No router is told of 192.0.2.1: on node n2 the session with BGPPeer a is down: bad peer AS."},
		"no node may": {four, []announce.NodeRoutes{line("n1", announce.NodeExcluded, "node n1 is excluded"), line("n2", announce.NoPeer, "node n2 has no session")}, nil,
			"NoNodeTells: No node may tell a router of 192.0.2.1: node n1 is excluded; node n2 has no session."},
		"no endpoints": {four, []announce.NodeRoutes{line("n1", announce.NoEndpoints, "the Service has no endpoint"), line("n2", announce.NoEndpoints, "the Service has no endpoint")}, nil,
			"NoEndpoints: The Service has no endpoint."},
		"no node is selected": {four, nil, nil, "NoNodeTells: No node with a speaker is selected by a BGPAdvertisement for 192.0.2.1: check its nodeSelectors."},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.address == six {
				n := tells("n1", "a")
				n.Address = six
				tt.nodes = []announce.NodeRoutes{n}
			}
			r := &routers{
				nodes:  tt.nodes,
				config: &config.Config{Peers: []config.Peer{{Name: "a", Address: netip.MustParseAddr("198.51.100.1")}, {Name: "b", Address: netip.MustParseAddr("198.51.100.2")}}},
				session: func(node, peer string) *v1beta1.BGPSessionStateStatus {
					text, there := tt.sessions[node+"/"+peer]
					switch {
					case !there:
						return nil
					case text == "up":
						return &v1beta1.BGPSessionStateStatus{BGPStatus: "Established"}
					}
					return &v1beta1.BGPSessionStateStatus{BGPStatus: "Active", LastError: text}
				},
			}
			l := r.lack(tt.address)
			if got := string(l.reason) + ": " + l.message; got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestWhatDeadNodesLeaveOfBGP(t *testing.T) {
	statuses := []v1beta1.ServiceBGPStatus{bgpStatus("gone", "192.0.2.9/32=a"), bgpStatus("silent", "192.0.2.1/32=a"), bgpStatus("alone", "192.0.2.2/32=a"), bgpStatus("alive", "192.0.2.1/32=a")}
	var got []string
	for _, r := range leftovers(bgpReports(statuses), map[string]bool{"silent": false, "alone": false, "alive": true}) {
		got = append(got, r.node)
	}
	if want := []string{"gone", "silent"}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

// tells writes a ServiceBGPStatus as the speaker of a node does.
func (w *world) tells(n *corev1.Node, service, words string) *v1beta1.ServiceBGPStatus {
	w.t.Helper()
	s := &v1beta1.ServiceBGPStatus{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, GenerateName: "bgp-", Labels: map[string]string{v1beta1.LabelNode: n.Name}}}
	w.make(s)
	s.Status = bgpStatus(n.Name, words).Status
	s.Status.ServiceNamespace, s.Status.ServiceName = w.apps, service
	w.must(w.Status().Update(w.t.Context(), s))
	return s
}

// session writes a BGPSessionState as the speaker of a node does.
func (w *world) session(n *corev1.Node, peer, state, lastError string) *v1beta1.BGPSessionState {
	w.t.Helper()
	s := &v1beta1.BGPSessionState{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, GenerateName: "session-"}}
	w.make(s)
	s.Status = v1beta1.BGPSessionStateStatus{Node: n.Name, BGPPeer: peer, BGPStatus: state, LastError: lastError}
	w.must(w.Status().Update(w.t.Context(), s))
	return s
}

// routedPool is one that is announced by BGP only, to one peer, with a Service that has an endpoint.
func (w *world) routedPool() *corev1.Service {
	w.t.Helper()
	m := metav1.ObjectMeta{Namespace: w.namespace, Name: "p"}
	w.make(&v1beta1.IPAddressPool{ObjectMeta: m, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.0.2.0/28"}}})
	w.make(&v1beta1.BGPAdvertisement{ObjectMeta: m})
	w.peer("router", "198.51.100.1")
	w.make(&discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: w.apps, Name: "web", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}},
	})
	return w.service("web")
}

func TestTheConditionFollowsTheSessions(t *testing.T) {
	w := newWorld(t)
	n1, n2 := w.node("n1"), w.node("n2")
	w.start()
	w.speaker(n1)
	w.speaker(n2)
	svc := w.routedPool()
	w.expect("web", "192.0.2.0")
	s := w.session(n1, "router", "Active", "it refuses connections")
	w.session(n2, "router", "Active", "it refuses connections")
	w.expectAnnounced("web", "False SessionDown: No router is told of 192.0.2.0: on nodes n1 and n2 the session with BGPPeer router is down: it refuses connections.")
	w.expectEvents(svc, "IPAllocated", "announceFailed")
	s.Status.LastError = "bad peer AS"
	w.must(w.Status().Update(t.Context(), s))
	w.expectAnnounced("web", "False SessionDown: No router is told of 192.0.2.0: on node n1 the session with BGPPeer router is down: bad peer AS; on node n2 the session")
	w.expectEvents(svc, "IPAllocated", "announceFailed") // another reason is no other event

	first := w.tells(n1, "web", "192.0.2.0/32=router")
	w.expectAnnounced("web", "True Announced: Node n1 tells BGPPeer router of 192.0.2.0/32.")
	w.tells(n2, "web", "192.0.2.0/32=router")
	w.expectAnnounced("web", "True Announced: Nodes n1 and n2 tell BGPPeer router of 192.0.2.0/32.")
	w.must(w.Delete(t.Context(), first))
	w.expectAnnounced("web", "True Announced: Node n2 tells BGPPeer router of 192.0.2.0/32.")
	w.expectEvents(svc, "IPAllocated", "announceFailed")
}

// Nodes that come and go one after the other are told of together.
func TestTheConditionIsCalm(t *testing.T) {
	w := newWorld(t)
	writes := w.patches()
	before := grace
	grace = 2 * time.Second
	t.Cleanup(func() { grace = before })
	var nodes []*corev1.Node
	for i := range 4 {
		nodes = append(nodes, w.node(fmt.Sprintf("n%d", i)))
	}
	w.routedPool()
	w.start()
	t.Cleanup(w.halt) // before the grace is what it was
	w.expect("web", "192.0.2.0")
	w.tells(nodes[0], "web", "192.0.2.0/32=router")
	w.expectAnnounced("web", "True Announced: Node n0 tells")
	writes.Store(0)
	for _, n := range nodes[1:] {
		w.tells(n, "web", "192.0.2.0/32=router")
	}
	w.expectAnnounced("web", "True Announced: Nodes n0, n1, n2 and n3 tell BGPPeer router of 192.0.2.0/32.")
	if got := writes.Load(); got > 2 { // a slow machine may see the last of them late
		t.Errorf("%d writes", got)
	}
}

func TestTheConditionTellsOfContradictions(t *testing.T) {
	w := newWorld(t)
	n := w.node("n1")
	w.start()
	w.speaker(n)
	svc := w.routedPool()
	w.expect("web", "192.0.2.0")
	status := w.tells(n, "web", "192.0.2.0!localPref")
	says := func(want string) {
		t.Helper()
		w.eventually(func() string {
			if got := strings.ReplaceAll(brief(findCondition(w.get("web"), ConditionAdvertisementConflict)), w.namespace+"-", ""); got != want {
				return fmt.Sprintf("the condition is %q, want %q", got, want)
			}
			return ""
		})
	}
	says("True ConflictingAdvertisements: They differ in localPref. Until then it is not announced by node n1 to any router.")
	status.Status.Problems, status.Status.Routes = nil, bgpStatus("", "192.0.2.0/32=router").Status.Routes
	w.must(w.Status().Update(t.Context(), status))
	says("none")
	w.expectAnnounced("web", "True Announced: Node n1 tells")
	if got := w.told(svc)["announceFailed"]; got > 1 { // of a contradiction tell the speakers
		t.Errorf("%d events", got)
	}
}
