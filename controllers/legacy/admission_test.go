package legacy

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/legacy"
)

// admission reviews every change as the webhooks do.
func (w *world) admission() {
	check := func(ctx context.Context, o client.Object, gone bool) error {
		kind, ok := kinds[fmt.Sprintf("%T", o)]
		if !ok {
			return nil
		}
		before, err := configuration.Load(ctx, w, w.namespace)
		if err != nil {
			return err
		}
		before.Nodes = []config.Node{}
		inv := inventoryOf(before)
		delete(inv, id{kind, o.GetName()})
		if !gone {
			now := o.DeepCopyObject().(client.Object)
			now.SetCreationTimestamp(metav1.Time{})
			inv[id{kind, o.GetName()}] = now
		}
		v := config.Review(before, inputOf(inv), config.Source{Kind: kind, Name: o.GetName()})
		if len(v.Errors) > 0 {
			return apierrors.NewInvalid(v1beta1.GroupVersion.WithKind(kind).GroupKind(), o.GetName(), v.Errors)
		}
		return nil
	}
	w.wrap = func(c client.WithWatch) client.Client {
		return interceptor.NewClient(c, interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				if err := check(ctx, o, false); err != nil {
					return err
				}
				return c.Create(ctx, o, opts...)
			},
			Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
				if err := check(ctx, o, false); err != nil {
					return err
				}
				return c.Update(ctx, o, opts...)
			},
			Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				if err := check(ctx, o, true); err != nil {
					return err
				}
				return c.Delete(ctx, o, opts...)
			},
		})
	}
}

var kinds = map[string]string{
	"*v1beta1.BFDProfile": "BFDProfile", "*v1beta1.Community": "Community", "*v1beta2.BGPPeer": "BGPPeer", "*v1beta1.IPAddressPool": "IPAddressPool",
	"*v1beta1.AddressPool": "AddressPool", "*v1beta1.L2Advertisement": "L2Advertisement", "*v1beta1.BGPAdvertisement": "BGPAdvertisement",
}

// inputOf is what inventoryOf undoes.
func inputOf(inv inventory) config.Input {
	in := config.Input{Nodes: []config.Node{}}
	for _, o := range inv {
		switch o := o.(type) {
		case *v1beta1.BFDProfile:
			in.BFDProfiles = append(in.BFDProfiles, *o)
		case *v1beta1.Community:
			in.Communities = append(in.Communities, *o)
		case *v1beta2.BGPPeer:
			in.BGPPeers = append(in.BGPPeers, *o)
		case *v1beta1.IPAddressPool:
			in.IPAddressPools = append(in.IPAddressPools, *o)
		case *v1beta1.AddressPool:
			in.AddressPools = append(in.AddressPools, *o)
		case *v1beta1.L2Advertisement:
			in.L2Advertisements = append(in.L2Advertisements, *o)
		case *v1beta1.BGPAdvertisement:
			in.BGPAdvertisements = append(in.BGPAdvertisements, *o)
		}
	}
	return in
}

// However much changes in one edit, admission lets it through in the order in which it is done.
func TestFromAnyConfigurationToAnyOther(t *testing.T) {
	w := newWorld(t)
	w.admission()
	w.start()
	base := "bgp-communities: {a: '1:2', b: '1:3'}\nbfd-profiles: [{name: fast}]\npeers:\n- {my-asn: 1, peer-asn: 2, peer-address: 192.0.2.1, bfd-profile: fast, password: x}\n" +
		"address-pools:\n- {name: p, protocol: bgp, addresses: [10.0.0.0/24], bgp-advertisements: [{communities: [a, b], localpref: 100}]}\n"
	variants := []string{
		base,
		strings.NewReplacer("a:", "x:", "[a,", "[x,", "fast", "slow", "name: p", "name: q").Replace(base),
		strings.NewReplacer("1:2", "1:9", "100", "200", "10.0.0.0/24", "10.0.0.0/25", "my-asn: 1", "my-asn: 3").Replace(base),
		strings.NewReplacer(", b: '1:3'", "", "[a, b]", "[a]", "bfd-profiles: [{name: fast}]\n", "", ", bfd-profile: fast, password: x", "").Replace(base),
		strings.NewReplacer("protocol: bgp", "protocol: layer2", ", bgp-advertisements: [{communities: [a, b], localpref: 100}]", "").Replace(base),
	}
	var walk []string // from each variant to each other, and through the seeds
	for i, a := range variants {
		for _, b := range variants[i+1:] {
			walk = append(walk, a, b, a)
		}
	}
	for _, seed := range []string{"everything", "smtp-bgp", "private-dc", "cyso", "everything", "ancient"} {
		walk = append(walk, w.seed(seed))
	}
	for _, text := range append(walk, base, "") {
		w.write(text)
		eventually(w, "what is left to do for\n"+text, "", func() string {
			if state := w.state(); (state == "" || strings.HasPrefix(state, "True|")) && w.inStep(text) {
				return ""
			}
			return w.state() + " " + w.have()
		})
	}
}

// inStep says whether there is just what the text becomes.
func (w *world) inStep(text string) bool {
	w.t.Helper()
	res, problems := legacy.Read([]byte(text), legacy.Options{Namespace: w.namespace})
	if problems.Failed() {
		w.t.Fatal(problems)
	}
	there := inventory{}
	for _, o := range w.all() {
		there[id{o.GetObjectKind().GroupVersionKind().Kind, o.GetName()}] = o
	}
	for _, want := range res.Objects() {
		key := id{want.GetObjectKind().GroupVersionKind().Kind, want.GetName()}
		if there[key] == nil || !equality.Semantic.DeepEqual(content(there[key]), content(want)) {
			return false
		}
		delete(there, key)
	}
	return len(there) == 0
}

func pools(in ...string) string {
	text := "address-pools:\n"
	for _, p := range in {
		name, addresses, _ := strings.Cut(p, "=")
		text += fmt.Sprintf("- name: %s\n  protocol: bgp\n  addresses: [%s]\n", name, addresses)
	}
	return text
}

func TestAddressesMoveBetweenPools(t *testing.T) {
	for name, tc := range map[string]struct{ before, after []string }{
		"from the first to the last":   {[]string{"a=192.0.2.0/28,192.0.2.16/28", "b=198.51.100.0/28"}, []string{"a=192.0.2.0/28", "b=198.51.100.0/28,192.0.2.16/28"}},
		"from the last to the first":   {[]string{"a=192.0.2.0/28", "b=198.51.100.0/28,192.0.2.16/28"}, []string{"a=192.0.2.0/28,192.0.2.16/28", "b=198.51.100.0/28"}},
		"to a new name":                {[]string{"b=192.0.2.0/28"}, []string{"a=192.0.2.0/28"}},
		"in a circle":                  {[]string{"a=192.0.2.0/28", "b=198.51.100.0/28", "c=203.0.113.0/28"}, []string{"a=198.51.100.0/28", "b=203.0.113.0/28", "c=192.0.2.0/28"}},
		"two swap a part":              {[]string{"a=192.0.2.0/28,10.0.0.0/28", "b=198.51.100.0/28,10.0.1.0/28"}, []string{"a=198.51.100.0/28,10.0.0.0/28", "b=192.0.2.0/28,10.0.1.0/28"}},
		"into a wider one and back":    {[]string{"a=192.0.2.0/25", "b=192.0.2.128/25"}, []string{"b=192.0.2.0/24"}},
		"a wider one is cut in halves": {[]string{"b=192.0.2.0/24"}, []string{"a=192.0.2.0/25", "b=192.0.2.128/25"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.admission()
			w.start()
			want := func(in []string) string {
				var out []string
				for _, p := range in {
					name, _, _ := strings.Cut(p, "=")
					out = append(out, "BGPAdvertisement/"+name+"-32-128")
				}
				for _, p := range in {
					out = append(out, "IPAddressPool/"+p)
				}
				return strings.Join(out, " ")
			}
			w.write(pools(tc.before...))
			w.becomes(want(tc.before))
			w.write(pools(tc.after...))
			w.becomes(want(tc.after))
			eventually(w, "the state", "True|", w.state)
		})
	}
}

func TestARefusalIsToldAtItsPlaceAndTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.admission()
	theirs := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "theirs"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"198.51.100.0/24"}}}
	w.must(w.Create(context.Background(), theirs))
	w.start()
	w.write(pools("a=192.0.2.0/28", "b=203.0.113.0/28, 198.51.100.7/32"))
	w.becomes("BGPAdvertisement/a-32-128 BGPAdvertisement/b-32-128 IPAddressPool/a=192.0.2.0/28 IPAddressPool/theirs!=198.51.100.0/24")
	w.says(`Warning InvalidConfiguration line 7: address-pools[1].addresses[1]: IPAddressPool b cannot be made: spec.addresses[1]: Invalid value: "198.51.100.7/32": ` +
		"overlaps 198.51.100.0/24 of IPAddressPool theirs, which is there already: write addresses that no other pool has x1")
	w.must(w.Delete(context.Background(), theirs))
	w.becomes("BGPAdvertisement/a-32-128 BGPAdvertisement/b-32-128 IPAddressPool/a=192.0.2.0/28 IPAddressPool/b=203.0.113.0/28,198.51.100.7/32")
	eventually(w, "the state", "True|", w.state)
}
