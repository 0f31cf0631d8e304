package service

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/controllers/configuration"
)

// reported is the controller's ConfigurationState; one that is not there is empty.
func (w *world) reported() *v1beta1.ConfigurationState {
	w.t.Helper()
	s := &v1beta1.ConfigurationState{}
	w.must(client.IgnoreNotFound(w.Get(context.Background(), client.ObjectKey{Namespace: w.namespace, Name: "controller"}, s)))
	return s
}

// expectReport waits until the controller reports that result, and warnings that hold these words and no others.
func (w *world) expectReport(result v1beta1.ConfigurationResult, warnings ...string) *v1beta1.ConfigurationState {
	w.t.Helper()
	var got *v1beta1.ConfigurationState
	w.eventually(func() string {
		got = w.reported()
		ok := got.Status.Result == result && len(got.Status.Warnings) == len(warnings)
		for i := range warnings {
			ok = ok && strings.Contains(got.Status.Warnings[i], warnings[i])
		}
		if ok {
			return ""
		}
		return fmt.Sprintf("the report is %+v, want %s with warnings %q", got.Status, result, warnings)
	})
	return got
}

func (w *world) peer(name, address string, edits ...func(*v1beta2.BGPPeer)) *v1beta2.BGPPeer {
	w.t.Helper()
	p := &v1beta2.BGPPeer{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec:       v1beta2.BGPPeerSpec{MyASN: 64512, ASN: 64513, Address: address},
	}
	for _, edit := range edits {
		edit(p)
	}
	w.make(p)
	return p
}

func TestWhatIsWrongIsReported(t *testing.T) {
	w := newWorld(t)
	w.pod = "controller-abc"
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: w.pod}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "none"}}}}
	w.make(pod)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.namespace + "-node"}} // that both peers are for
	w.make(node)
	t.Cleanup(func() { _ = w.Delete(context.Background(), node) })
	w.start()
	w.pool("good", "192.0.2.0/28")
	got := w.expectReport(v1beta1.ConfigurationValid)
	if len(got.OwnerReferences) != 1 || got.OwnerReferences[0].UID != pod.UID || got.Labels[v1beta1.LabelComponentType] != "controller" {
		t.Errorf("metadata %+v", got.ObjectMeta)
	}

	// Something that is wrong with a peer leaves the pools valid, and Services go on getting addresses.
	const password = "do-not-tell"
	w.peer("first", "198.51.100.1", func(p *v1beta2.BGPPeer) { p.Spec.Password = password })
	w.expectReport(v1beta1.ConfigurationValid)
	time.Sleep(1100 * time.Millisecond) // ages are in seconds
	second := w.peer("second", "198.51.100.1", func(p *v1beta2.BGPPeer) { p.Spec.Password = password + "-either" })
	got = w.expectReport(v1beta1.ConfigurationInvalid)
	w.expectEvents(second, InvalidConfiguration)
	if !strings.HasPrefix(got.Status.ErrorSummary, "BGPPeer second: spec.peerAddress") {
		t.Errorf("summary %q", got.Status.ErrorSummary)
	}
	for _, c := range got.Status.Conditions {
		want := map[string]metav1.ConditionStatus{v1beta1.ConditionConfigurationValid: metav1.ConditionFalse, v1beta1.ConditionPoolsValid: metav1.ConditionTrue}[c.Type]
		if c.Status != want {
			t.Errorf("condition %+v, want %s", c, want)
		}
	}
	if text := fmt.Sprintf("%+v", got); strings.Contains(text, password) {
		t.Errorf("the report has a password: %s", text)
	}
	w.service("a")
	w.expect("a", "192.0.2.0")

	// The same after a restart, and nothing is written for it.
	time.Sleep(settle)
	version := w.reported().ResourceVersion
	w.halt()
	w.start()
	w.service("b")
	w.expect("b", "192.0.2.1")
	time.Sleep(settle)
	if now := w.reported(); now.ResourceVersion != version {
		t.Errorf("it is written without a change: %+v", now)
	}

	w.must(w.Delete(context.Background(), second))
	w.expectReport(v1beta1.ConfigurationValid)
	w.must(w.Delete(context.Background(), w.reported()))
	w.expectReport(v1beta1.ConfigurationValid)
}

func TestEventsOnEveryKind(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.pool("p", "192.0.2.0/28")
	m := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: w.namespace, Name: name} }
	lost := &v1beta1.BGPAdvertisement{ObjectMeta: m("lost"), Spec: v1beta1.BGPAdvertisementSpec{IPAddressPools: []string{"nowhere"}}}
	w.make(lost)
	strange := w.peer("strange", "198.51.100.2", func(p *v1beta2.BGPPeer) { p.Spec.BFDProfile = "nowhere" })
	one := &v1beta1.Community{ObjectMeta: m("one"), Spec: v1beta1.CommunitySpec{Communities: []v1beta1.CommunityAlias{{Name: "a", Value: "64512:1"}}}}
	w.make(one)
	time.Sleep(1100 * time.Millisecond) // ages are in seconds
	two := &v1beta1.Community{ObjectMeta: m("two"), Spec: v1beta1.CommunitySpec{Communities: []v1beta1.CommunityAlias{{Name: "a", Value: "64512:2"}}}}
	w.make(two)
	w.expectEvents(two, InvalidConfiguration)
	w.expectEvents(strange, ConfigurationWarning)
	w.expectEvents(lost, ConfigurationWarning)
	w.expectEvents(one)
}

func TestASecretThatComesLater(t *testing.T) {
	w := newWorld(t)
	w.start()
	p := w.peer("p", "198.51.100.1", func(p *v1beta2.BGPPeer) { p.Spec.PasswordSecret.Name = "router" })
	w.expectReport(v1beta1.ConfigurationValid, `BGPPeer p: spec.passwordSecret.name: Not found: "router"`)
	w.expectEvents(p, ConfigurationWarning)
	w.make(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "router"}, Type: corev1.SecretTypeBasicAuth,
		StringData: map[string]string{"username": "", "password": "hush"},
	})
	if got := w.expectReport(v1beta1.ConfigurationValid); strings.Contains(fmt.Sprintf("%+v", got), "hush") {
		t.Error("the report has the password")
	}
}

// TestSurroundings warns of pools that get in the way of a node, as its speaker reports it.
func TestSurroundings(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.namespace + "-node"}}
	w.make(node)
	t.Cleanup(func() { _ = w.Delete(ctx, node) })
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.20"}}
	w.must(w.Status().Update(ctx, node))
	w.start()
	w.peer("router", "192.0.2.1")
	m := metav1.ObjectMeta{Namespace: w.namespace, Name: "routed"}
	routed := &v1beta1.IPAddressPool{ObjectMeta: m, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.0.2.32/28"}}}
	w.make(routed)
	w.make(&v1beta1.BGPAdvertisement{ObjectMeta: m})
	w.expectReport(v1beta1.ConfigurationValid)
	time.Sleep(configuration.Grace)
	w.expectReport(v1beta1.ConfigurationValid)

	speaker := &configuration.State{Client: w, Namespace: w.namespace, Name: configuration.SpeakerState(node.Name), Component: configuration.Speaker, Node: node.Name}
	w.must(speaker.SetNetworks(ctx, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, []netip.Addr{netip.MustParseAddr("192.0.2.1")}))
	w.must(speaker.Set(ctx, v1beta1.ConditionConfigurationValid, configuration.Outcome{}))
	w.expectReport(v1beta1.ConfigurationValid, "IPAddressPool routed: spec.addresses[0]: Invalid value: \"192.0.2.32/28\": overlaps 192.0.2.0/24, the subnet of node "+node.Name)
	w.expectEvents(routed, ConfigurationWarning)
	version := w.reported().ResourceVersion

	// What else a speaker says, and a node's heartbeat, is of no interest; the node's address is.
	w.must(speaker.Set(ctx, v1beta1.ConditionConfigurationValid, configuration.Outcome{Warnings: []string{"odd"}}))
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}}
	w.must(w.Status().Update(ctx, node))
	time.Sleep(pause + settle)
	if now := w.reported(); now.ResourceVersion != version {
		t.Errorf("it is written without a change: %+v", now)
	}
	node.Status.Addresses[0].Address = "192.0.2.33"
	w.must(w.Status().Update(ctx, node))
	w.expectReport(v1beta1.ConfigurationValid, "contains 192.0.2.33, an address of node "+node.Name, "overlaps 192.0.2.0/24")

	w.must(speaker.SetNetworks(ctx, nil, nil))
	w.must(w.Delete(ctx, node))
	w.expectReport(v1beta1.ConfigurationValid)
}

func TestPoolStatus(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.start()
	w.pool("p", "192.0.2.0/24 2001:db8::/64", func(p *v1beta1.IPAddressPool) { p.Spec.AvoidBuggyIPs = true })
	expect := func(what string, want v1beta1.IPAddressPoolStatus) string {
		t.Helper()
		p := &v1beta1.IPAddressPool{}
		w.eventually(func() string {
			w.must(w.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: "p"}, p))
			got := ptr.Deref(p.Status, v1beta1.IPAddressPoolStatus{})
			got.Conditions = nil // package pool judges them
			if d := cmp.Diff(want, got); d != "" {
				return fmt.Sprintf("%s: status %+v, want %+v", what, got, want)
			}
			return ""
		})
		return p.ResourceVersion
	}
	expect("nothing is given", v1beta1.IPAddressPoolStatus{AvailableIPv4: 254, AvailableIPv6: math.MaxInt64})
	w.service("a", annotate("metallb.io/allow-shared-ip", "k"))
	w.expect("a", "192.0.2.1")
	one := v1beta1.IPAddressPoolStatus{AssignedIPv4: 1, AvailableIPv4: 253, AvailableIPv6: math.MaxInt64}
	version := expect("one is given", one)
	w.service("b", annotate("metallb.io/allow-shared-ip", "k", "metallb.io/loadBalancerIPs", "192.0.2.1"), func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 })
	w.expect("b", "192.0.2.1")
	time.Sleep(1500 * time.Millisecond)
	if now := expect("a shared address counts once", one); now != version {
		t.Error("it is written without a change")
	}
	w.service("six", families(corev1.IPFamilyPolicySingleStack, corev1.IPv6Protocol))
	w.expect("six", "2001:db8::")
	expect("one of IPv6", v1beta1.IPAddressPoolStatus{AssignedIPv4: 1, AssignedIPv6: 1, AvailableIPv4: 253, AvailableIPv6: math.MaxInt64})
	w.editPool("p", "192.0.2.0/30")
	expect("the pool shrinks", v1beta1.IPAddressPoolStatus{AssignedIPv4: 1, AvailableIPv4: 2})
	w.editPool("p", "203.0.113.0-2001:db8::1")
	expect("the pool is in error and Services keep what they have", v1beta1.IPAddressPoolStatus{AssignedIPv4: 1})
	w.stays("a", "192.0.2.1")
}
