package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// matrix is all of them with one router.
type matrix struct {
	*network
	judge judge
	ns    string
	all   []*instance
}

func TestMatrix(t *testing.T) {
	for _, j := range judges {
		t.Run(string(j.kind()), func(t *testing.T) {
			m := &matrix{network: install(t), judge: j}
			m.all = instances(j.kind(), *whole)
			m.begin()
			for _, in := range m.all {
				t.Run(in.String(), func(t *testing.T) { m.with(t).check(in) })
			}
			t.Run("what changes disturbs nothing else", func(t *testing.T) { m.with(t).changes() })
			t.Run("nothing is left", func(t *testing.T) { m.with(t).end() })
		})
	}
}

// with is the matrix for a part of the test.
func (m *matrix) with(t *testing.T) *matrix {
	n := *m.network
	n.t = t
	return &matrix{&n, m.judge, m.ns, m.all}
}

// begin lays the networks, starts the router and configures everything.
func (m *matrix) begin() {
	m.t.Helper()
	m.networks()
	m.ns = m.apply("bgp/echo.yaml")
	m.startRouter(m.judge.kind(), m.judge.config(m.all))
	began := time.Now()
	ctx := m.within()
	for _, some := range [][]client.Object{append(matrixObjects, m.configuration()...), m.services()} {
		var writers errgroup.Group
		writers.SetLimit(8)
		for _, o := range some {
			writers.Go(func() error { return client.IgnoreAlreadyExists(m.Create(ctx, o.DeepCopyObject().(client.Object))) })
		}
		m.must(writers.Wait())
	}
	m.t.Cleanup(m.remove)
	m.t.Logf("%d sets of peers, pools and Services are written after %s", len(m.all), time.Since(began).Round(time.Millisecond))
}

// networks gives the machines their addresses on the networks of all rows, and the router a port that is not 179 and a hop
// between it and the rows that are to be more than one hop away: what comes with a TTL of one ends there.
func (m *matrix) networks() {
	m.t.Helper()
	var port, far strings.Builder
	number := map[string]int{lab.Router: routerNumber}
	for _, node := range m.Nodes() {
		number[node] = firstNode + int(node[len(node)-1]-'0')
	}
	for machine, at := range number {
		var add strings.Builder
		var remove string
		for _, in := range m.all {
			for _, a := range []int{at, at + second} {
				four, six := fmt.Sprintf("%s/24 dev eth0", in.at(a, false)), fmt.Sprintf("%s/64 dev eth0", in.at(a, true))
				fmt.Fprintf(&add, "addr replace %s\naddr replace %s nodad", four, six)
				remove = fmt.Sprintf("addr del %s\naddr del %s\n", four, six) + remove // with a first one goes the second
				if a > second {
					add.WriteString(" preferred_lft 0") // the kernel chooses the first one, as it does of IPv4 addresses
				}
				add.WriteString("\n")
				if machine == lab.Router {
					break
				}
			}
		}
		m.must(m.ExecStreams(m.within(), machine, lab.Streams{In: strings.NewReader(add.String())}, "ip", "-batch", "-"))
		m.t.Cleanup(func() { // of so many networks no router advertisement fits into a packet
			m.must(m.ExecStreams(m.within(), machine, lab.Streams{In: strings.NewReader(remove)}, "ip", "-batch", "-"))
		})
	}
	for _, in := range m.all {
		proto, ttl, to := "ip", "ip ttl", in.peerAddress().String()
		if in.six {
			proto, ttl, to = "ip6", "ip6 hoplimit", "["+to+"]"
		}
		fmt.Fprintf(&port, "%s daddr %s tcp dport %d dnat %s to %s:179\n", proto, in.peerAddress(), otherPort, proto, to)
		if in.router.hops {
			fmt.Fprintf(&far, "%s daddr %s %s 1 drop\n", proto, in.peerAddress(), ttl)
		}
	}
	rules := fmt.Sprintf("table inet matrix\ndelete table inet matrix\ntable inet matrix {\nchain port { type nat hook prerouting priority dstnat\n%s}\nchain far { type filter hook input priority filter\n%s}\n}\n", &port, &far)
	m.must(m.ExecStreams(m.within(), lab.Router, lab.Streams{In: strings.NewReader(rules)}, "nft", "-f", "-"))
}

// label is on all that the matrix makes.
var label = map[string]string{"bgp-matrix": "yes"}

// configuration is what users would write for all rows.
func (m *matrix) configuration() (out []client.Object) {
	for _, in := range m.all {
		meta := func(name string) metav1.ObjectMeta {
			return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: label}
		}
		pool := &v1beta1.IPAddressPool{ObjectMeta: meta(in.name), Spec: v1beta1.IPAddressPoolSpec{AutoAssign: ptr.To(false)}}
		for _, six := range in.families() {
			first := in.address(-1, six)
			pool.Spec.Addresses = append(pool.Spec.Addresses, netip.PrefixFrom(first, first.BitLen()-6).String())
		}
		peer := &v1beta2.BGPPeer{ObjectMeta: meta(in.name), Spec: v1beta2.BGPPeerSpec{
			MyASN: in.router.nodes, ASN: in.router.as, Address: in.peerAddress().String(), NodeSelectors: on(in.nodes...), EBGPMultiHop: in.router.hops,
			Password: in.router.password, DualStackAddressFamily: in.router.both,
		}}
		if in.peer != nil {
			in.peer(in, &peer.Spec)
		}
		out = append(out, pool, peer)
		for i, edit := range in.advertisements {
			a := &v1beta1.BGPAdvertisement{ObjectMeta: meta(fmt.Sprintf("%s-%d", in.name, i)), Spec: v1beta1.BGPAdvertisementSpec{IPAddressPools: []string{in.name}, Peers: []string{in.name}}}
			edit(&a.Spec)
			out = append(out, a)
		}
	}
	return out
}

// services are those of all rows.
func (m *matrix) services() (out []client.Object) {
	for _, in := range m.all {
		for i, s := range in.services {
			out = append(out, m.service(in, i, s))
		}
	}
	return out
}

// on selects nodes by name.
func on(nodes ...string) []metav1.LabelSelector {
	return []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: corev1.LabelHostname, Operator: metav1.LabelSelectorOpIn, Values: nodes}}}}
}

func (m *matrix) service(in *instance, i int, s service) *corev1.Service {
	out := &corev1.Service{}
	out.Namespace, out.Name = m.ns, fmt.Sprintf("%s-%d", in.name, i)
	out.Labels = s.labels
	var addresses []string
	for _, six := range in.families() {
		addresses = append(addresses, in.address(s.address, six).String())
		family := corev1.IPv4Protocol
		if six {
			family = corev1.IPv6Protocol
		}
		out.Spec.IPFamilies = append(out.Spec.IPFamilies, family)
	}
	out.Annotations = map[string]string{"metallb.io/loadBalancerIPs": strings.Join(addresses, ",")}
	if s.shared {
		out.Annotations["metallb.io/allow-shared-ip"] = in.name
	}
	if in.router.both {
		out.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack)
	}
	out.Spec.Type, out.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeLoadBalancer, ptr.To(false)
	out.Spec.Selector = map[string]string{"app": "echo"}
	out.Spec.Ports = []corev1.ServicePort{{Port: int32(80 + s.port), TargetPort: intOrString(33001)}}
	if s.local {
		out.Spec.ExternalTrafficPolicy, out.Spec.Selector = corev1.ServiceExternalTrafficPolicyLocal, map[string]string{"app": "single"}
	}
	return out
}

// check waits until the router has what it must have, at first and after each change.
func (m *matrix) check(in *instance) {
	m.t.Helper()
	m.has("the routes", in, in.routes)
	m.must(product.Until(m.within(), "sessions as they must be", func() (bool, error) {
		all, err := m.judge.seen(m.network, []*instance{in})
		if err != nil {
			return false, err
		}
		for _, node := range in.nodes {
			s, up := all[in.name][node]
			if !up {
				return false, fmt.Errorf("no session with %s", node)
			}
			if s.asn != in.router.nodes && !in.router.twoOctets {
				return false, fmt.Errorf("%s has AS number %d", node, s.asn)
			}
			if in.session != nil {
				if err := in.session(s); err != nil {
					return false, fmt.Errorf("%s: %w", node, err)
				}
			}
		}
		return true, nil
	}))
	for _, c := range in.then {
		c.do(m, in)
		m.has(c.name, in, c.routes)
	}
}

func (m *matrix) has(what string, in *instance, routes []route) {
	m.t.Helper()
	want := in.wanted(routes)
	m.must(product.Until(m.within(), what, func() (bool, error) {
		got, err := m.judge.heard(m.network, in)
		if err == nil {
			err = differs(got, want)
		}
		return err == nil, err
	}))
}

// lives are those of all sessions.
func (m *matrix) lives() map[string]string {
	m.t.Helper()
	all, err := m.judge.seen(m.network, m.all)
	m.must(err)
	out := map[string]string{}
	for name, nodes := range all {
		for node, s := range nodes {
			out[name+" "+node] = s.life
		}
	}
	return out
}

// sameLife reports whether two lives are one. BIRD says since when a session is up by its own clock, give or take a millisecond.
func sameLife(a, b string) bool {
	const clock = "15:04:05.000"
	x, errX := time.Parse(clock, a)
	y, errY := time.Parse(clock, b)
	return a == b || errX == nil && errY == nil && x.Sub(y).Abs() <= 10*time.Millisecond
}

// changes are made of one advertisement, one for all peers, and one peer, while all sessions are looked at.
func (m *matrix) changes() {
	first := m.all[0]
	before := m.lives()
	undisturbed := func(what string, but ...string) {
		m.t.Helper()
		now := m.lives()
		for of, life := range before {
			name, _, _ := strings.Cut(of, " ")
			if !sameLife(now[of], life) && !slices.Contains(but, name) {
				m.t.Errorf("%s: the session of %s has ended: %s, now %s", what, of, life, now[of])
			}
		}
	}
	a := &v1beta1.BGPAdvertisement{}
	key := client.ObjectKey{Namespace: namespace, Name: first.name + "-0"}
	m.must(m.Get(m.within(), key, a))
	a.Spec.Communities = []string{"64512:77"}
	m.must(m.Update(m.within(), a))
	m.has("another community", first, []route{{communities: []string{"64512:77"}}})
	undisturbed("another community")

	a.Spec.Peers = nil
	m.must(m.Update(m.within(), a))
	everybody := netip.PrefixFrom(first.address(0, first.six), first.peerAddress().BitLen())
	for _, in := range m.all {
		if in.six != first.six && !in.router.both {
			continue
		}
		m.must(product.Until(m.within(), "the route at every peer", func() (bool, error) {
			got, err := m.judge.heard(m.network, in)
			return err == nil && len(got[everybody]) == len(in.nodes), errors.Join(err, fmt.Errorf("%s has %v", in, got))
		}))
	}
	a.Spec.Peers, a.Spec.Communities = []string{first.name}, nil
	m.must(m.Update(m.within(), a))
	m.has("the route at one peer", first, []route{{}})
	for _, in := range m.all[1:] {
		m.must(product.Until(m.within(), "the route nowhere else", func() (bool, error) {
			got, err := m.judge.heard(m.network, in)
			return err == nil && got[everybody] == nil, errors.Join(err, fmt.Errorf("%s has %v", in, got))
		}))
	}
	undisturbed("an advertisement to all, and back")

	peer := &v1beta2.BGPPeer{}
	m.must(m.Get(m.within(), client.ObjectKey{Namespace: namespace, Name: first.name}, peer))
	peer.Spec.ConnectTime = &metav1.Duration{Duration: 3 * time.Second}
	m.must(m.Update(m.within(), peer))
	peer.Spec.HoldTime = &metav1.Duration{Duration: 30 * time.Second}
	m.must(m.Update(m.within(), peer))
	m.must(product.Until(m.within(), "another hold time", func() (bool, error) {
		all, err := m.judge.seen(m.network, []*instance{first})
		return err == nil && all[first.name]["node1"].holdTime == 30, errors.Join(err, fmt.Errorf("%+v", all))
	}))
	m.has("the route again", first, []route{{}})
	undisturbed("another hold time", first.name)
}

// end removes the peers, and looks whether the router has lost everything.
func (m *matrix) end() {
	m.remove()
	m.must(product.Until(m.within(), "no session", func() (bool, error) {
		left := m.lives()
		return len(left) == 0, fmt.Errorf("of %v", left)
	}))
}

func (m *matrix) remove() {
	in := []client.DeleteAllOfOption{client.InNamespace(namespace), client.MatchingLabels(label)}
	m.must(
		m.DeleteAllOf(m.within(), &corev1.Service{}, client.InNamespace(m.ns)),
		m.DeleteAllOf(m.within(), &v1beta2.BGPPeer{}, in...), m.DeleteAllOf(m.within(), &v1beta1.BGPAdvertisement{}, in...),
		m.DeleteAllOf(m.within(), &v1beta1.IPAddressPool{}, in...), m.DeleteAllOf(m.within(), &v1beta1.Community{}, in...),
		m.DeleteAllOf(m.within(), &corev1.Secret{}, in...))
}
