package legacy

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
)

// Object is any of the resources.
type Object interface {
	metav1.Object
	runtime.Object
}

// Resources are what a Configuration becomes, in its order.
type Resources struct {
	Secrets           []corev1.Secret
	BFDProfiles       []v1beta1.BFDProfile
	Communities       []v1beta1.Community
	BGPPeers          []v1beta2.BGPPeer
	IPAddressPools    []v1beta1.IPAddressPool
	AddressPools      []v1beta1.AddressPool
	L2Advertisements  []v1beta1.L2Advertisement
	BGPAdvertisements []v1beta1.BGPAdvertisement

	cfg     *Configuration
	origins map[target]origin
}

type target struct{ kind, name string }

// origin is where a resource comes from.
type origin struct {
	// keys of the text by field path of the resource; "" is the resource itself.
	keys map[string]string
	// label names the entry without its index.
	label string
}

// Objects returns all resources in an order in which each finds what it refers to.
func (r *Resources) Objects() []Object {
	var out []Object
	out = appendAll(out, r.Secrets)
	out = appendAll(out, r.BFDProfiles)
	out = appendAll(out, r.Communities)
	out = appendAll(out, r.BGPPeers)
	out = appendAll(out, r.IPAddressPools)
	out = appendAll(out, r.AddressPools)
	out = appendAll(out, r.L2Advertisements)
	return appendAll(out, r.BGPAdvertisements)
}

func appendAll[T any, P interface {
	*T
	Object
}](out []Object, items []T) []Object {
	for i := range items {
		out = append(out, P(&items[i]))
	}
	return out
}

// Place finds where a field of a resource, given by its path (spec.addresses[0]), stands in the text; for a field that
// is not there the nearest above it. The zero Place: the resource is not of the text.
func (r *Resources) Place(kind, name, field string) Place {
	o, ok := r.origins[target{kind, name}]
	if !ok {
		return Place{}
	}
	for {
		if key, ok := o.keys[field]; ok {
			return r.cfg.place(key)
		}
		if field == "" {
			return Place{}
		}
		field = parent(field)
	}
}

// Origin says in a form that does not change when other entries come or go which entry a resource was made of, for
// instance address-pools[name=default].
func (r *Resources) Origin(kind, name string) string { return r.origins[target{kind, name}].label }

// came notes where a resource comes from: pairs of a field path and a key below that of the entry.
func (r *Resources) came(obj Object, label, key string, pairs ...string) {
	o := origin{label: label, keys: map[string]string{"": key}}
	for i := 0; i+1 < len(pairs); i += 2 {
		below := pairs[i+1]
		if !strings.HasPrefix(below, key) {
			below = key + "." + below
		}
		o.keys[pairs[i]] = below
	}
	r.origins[target{obj.GetObjectKind().GroupVersionKind().Kind, obj.GetName()}] = o
}
