package webhook

import (
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/config"
)

// kind is a kind of resource whose changes are reviewed.
type kind struct {
	// name of the kind, and its resource, in the version in which it is reviewed. Requests in other versions arrive
	// converted (matchPolicy Equivalent).
	name, resource, version string
	// webhook is the name in the webhook configuration, the first label of it.
	webhook string
	// empty returns an object to decode into.
	empty func() client.Object
	// spec of an object.
	spec func(client.Object) any
	// set returns the input with the object in it, in place of the one of that name; unset without that one. Nil for
	// MetalLB, which is not configuration.
	set, unset func(config.Input, client.Object) config.Input
}

// kinds are all that are reviewed.
var kinds = []kind{
	{
		name: "MetalLB", resource: "metallbs", version: "v1beta1", webhook: "metallbvalidationwebhook",
		empty: func() client.Object { return &v1beta1.MetalLB{} },
		spec:  func(o client.Object) any { return o.(*v1beta1.MetalLB).Spec },
	},
	configured(kind{
		name: "IPAddressPool", resource: "ipaddresspools", version: "v1beta1", webhook: "ipaddresspoolvalidationwebhook",
		spec: func(o client.Object) any { return o.(*v1beta1.IPAddressPool).Spec },
	}, func(in *config.Input) *[]v1beta1.IPAddressPool { return &in.IPAddressPools }),
	configured(kind{
		name: "AddressPool", resource: "addresspools", version: "v1beta1", webhook: "addresspoolvalidationwebhook",
		spec: func(o client.Object) any { return o.(*v1beta1.AddressPool).Spec },
	}, func(in *config.Input) *[]v1beta1.AddressPool { return &in.AddressPools }),
	configured(kind{
		name: "L2Advertisement", resource: "l2advertisements", version: "v1beta1", webhook: "l2advertisementvalidationwebhook",
		spec: func(o client.Object) any { return o.(*v1beta1.L2Advertisement).Spec },
	}, func(in *config.Input) *[]v1beta1.L2Advertisement { return &in.L2Advertisements }),
	configured(kind{
		name: "BGPAdvertisement", resource: "bgpadvertisements", version: "v1beta1", webhook: "bgpadvertisementvalidationwebhook",
		spec: func(o client.Object) any { return o.(*v1beta1.BGPAdvertisement).Spec },
	}, func(in *config.Input) *[]v1beta1.BGPAdvertisement { return &in.BGPAdvertisements }),
	configured(kind{
		name: "BGPPeer", resource: "bgppeers", version: "v1beta2", webhook: "bgppeersvalidationwebhook",
		spec: func(o client.Object) any { return o.(*v1beta2.BGPPeer).Spec },
	}, func(in *config.Input) *[]v1beta2.BGPPeer { return &in.BGPPeers }),
	configured(kind{
		name: "Community", resource: "communities", version: "v1beta1", webhook: "communityvalidationwebhook",
		spec: func(o client.Object) any { return o.(*v1beta1.Community).Spec },
	}, func(in *config.Input) *[]v1beta1.Community { return &in.Communities }),
	configured(kind{
		name: "BFDProfile", resource: "bfdprofiles", version: "v1beta1", webhook: "bfdprofilevalidationwebhook",
		spec: func(o client.Object) any { return o.(*v1beta1.BFDProfile).Spec },
	}, func(in *config.Input) *[]v1beta1.BFDProfile { return &in.BFDProfiles }),
}

// kindOf finds a kind by its name.
func kindOf(name string) (kind, bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, false
	}
	return kinds[i], true
}

// configured completes a kind of configuration from where its objects are in an Input. Inputs that come out share what has
// not changed with the one that went in, which stays as it is.
func configured[T any, P interface {
	*T
	client.Object
}](k kind, list func(*config.Input) *[]T) kind {
	others := func(in config.Input, name string) []T {
		return slices.DeleteFunc(slices.Clone(*list(&in)), func(o T) bool { return P(&o).GetName() == name })
	}
	k.empty = func() client.Object { return P(new(T)) }
	k.set = func(in config.Input, o client.Object) config.Input {
		*list(&in) = append(others(in, o.GetName()), *o.(P))
		return in
	}
	k.unset = func(in config.Input, o client.Object) config.Input {
		*list(&in) = others(in, o.GetName())
		return in
	}
	return k
}

// path is where the kind's changes are reviewed.
func (k kind) path() string {
	return "/validate-metallb-io-" + k.version + "-" + strings.ToLower(k.name)
}
