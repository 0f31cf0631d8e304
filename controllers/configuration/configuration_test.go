package configuration

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
)

func TestLoadReadsAllKindsOfOneNamespace(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	m := metav1.ObjectMeta{Name: "x"}
	w.make(&v1beta1.IPAddressPool{ObjectMeta: m, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.0.2.0/28"}}})
	w.make(&v1beta1.AddressPool{ObjectMeta: m, Spec: v1beta1.AddressPoolSpec{Protocol: "layer2", Addresses: []string{"198.51.100.0/28"}}})
	w.make(&v1beta1.L2Advertisement{ObjectMeta: m})
	w.make(&v1beta1.BGPAdvertisement{ObjectMeta: m})
	w.make(&v1beta2.BGPPeer{ObjectMeta: m, Spec: v1beta2.BGPPeerSpec{
		MyASN: 64512, ASN: 64513, Address: "192.0.2.1", PasswordSecret: corev1.SecretReference{Name: "there"},
	}})
	w.make(&v1beta2.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "y"}, Spec: v1beta2.BGPPeerSpec{
		MyASN: 64512, ASN: 64513, Address: "192.0.2.2", PasswordSecret: corev1.SecretReference{Name: "missing"},
	}})
	w.make(&v1beta1.BFDProfile{ObjectMeta: m})
	w.make(&v1beta1.Community{ObjectMeta: m, Spec: v1beta1.CommunitySpec{Communities: []v1beta1.CommunityAlias{{Name: "a", Value: "64512:1"}}}})

	in, err := Load(ctx, w, w.namespace)
	w.must(err)
	if len(in.IPAddressPools) != 1 || len(in.AddressPools) != 1 || len(in.L2Advertisements) != 1 || len(in.BGPAdvertisements) != 1 ||
		len(in.BGPPeers) != 2 || len(in.BFDProfiles) != 1 || len(in.Communities) != 1 {
		t.Errorf("read %+v", in)
	}
	if in.Secrets != nil || in.Nodes != nil || in.Node != "" {
		t.Error("something is filled in that is the caller's")
	}
	other, err := Load(ctx, w, "default")
	w.must(err)
	if !reflect.DeepEqual(other.BGPPeers, []v1beta2.BGPPeer{}) && len(other.BGPPeers) > 0 {
		t.Errorf("read %v from another namespace", other.BGPPeers)
	}

	w.make(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "there"}, Type: corev1.SecretTypeBasicAuth, Data: map[string][]byte{"username": {}, "password": []byte("hush")},
	})
	secrets, err := Secrets(ctx, w, w.namespace, in)
	w.must(err)
	if len(secrets) != 1 || secrets["there"].Type != "kubernetes.io/basic-auth" || secrets["there"].Password.Reveal() != "hush" {
		t.Errorf("Secrets %v", secrets)
	}
	if text := fmt.Sprintf("%v %+v %#v", secrets, secrets, secrets); strings.Contains(text, "hush") {
		t.Errorf("the password shows: %s", text)
	}
	in.BGPPeers = nil
	if secrets, err = Secrets(ctx, w, w.namespace, in); err != nil || secrets == nil || len(secrets) > 0 {
		t.Errorf("without peers: %v, %v", secrets, err)
	}
}

func TestNodesWithWhatTheirSpeakersReport(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	for _, name := range []string{"nodes-a", "nodes-b"} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"zone": name}}}
		w.must(w.Create(ctx, n))
		t.Cleanup(func() { _ = w.Delete(ctx, n) })
		n.Status.Addresses = []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: "192.0.2.99"}, {Type: corev1.NodeInternalIP, Address: "::ffff:192.0.2.5"},
			{Type: corev1.NodeInternalIP, Address: "2001:db8::5"}, {Type: corev1.NodeExternalIP, Address: "203.0.113.5"},
			{Type: corev1.NodeExternalIP, Address: "192.0.2.5"},
		}
		w.must(w.Status().Update(ctx, n))
	}
	s := &State{Client: w, Namespace: w.namespace, Name: SpeakerState("nodes-b"), Component: Speaker, Node: "nodes-b"}
	w.must(s.SetNetworks(ctx, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, []netip.Addr{netip.MustParseAddr("192.0.2.1")}))
	w.must(s.Set(ctx, valid, Outcome{}))
	nodes, err := Nodes(ctx, w, w.namespace)
	w.must(err)
	if len(nodes) != 2 {
		t.Fatalf("nodes %v", nodes)
	}
	addresses := []netip.Addr{netip.MustParseAddr("192.0.2.5"), netip.MustParseAddr("2001:db8::5"), netip.MustParseAddr("203.0.113.5")}
	for _, n := range nodes {
		if d := cmp.Diff(fmt.Sprint(addresses), fmt.Sprint(n.Addresses)); d != "" || n.Labels["zone"] != n.Name {
			t.Errorf("%+v", n)
		}
	}
	if a, b := nodes[0], nodes[1]; len(a.Subnets)+len(a.Gateways) > 0 || fmt.Sprint(b.Subnets, b.Gateways) != "[192.0.2.0/24] [192.0.2.1]" {
		t.Errorf("networks %v %v, %v %v", a.Subnets, a.Gateways, b.Subnets, b.Gateways)
	}
}

// lacking is an API server without BGPPeers.
type lacking struct{ client.Reader }

func (l lacking) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if _, ok := list.(*v1beta2.BGPPeerList); ok {
		return &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "metallb.io", Kind: "BGPPeer"}}
	}
	return l.Reader.List(ctx, list, opts...)
}

func TestAMissingKindIsSaid(t *testing.T) {
	w := newWorld(t)
	_, err := Load(context.Background(), lacking{w}, w.namespace)
	if err == nil || !strings.Contains(err.Error(), "does not have bgppeers.metallb.io in the version that is needed: apply the CRDs of this release") {
		t.Errorf("error %v", err)
	}
}
