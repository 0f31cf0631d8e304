package configuration

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
)

// Mapper knows the configuration resources, Nodes, Namespaces and further namespaced kinds, without asking the API server: a
// process that starts while that is away only waits.
func Mapper(namespaced ...schema.GroupVersionKind) meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	add := func(gvk schema.GroupVersionKind, scope meta.RESTScope) {
		m.Add(gvk, scope)
		gvk.Kind += "List" // caches look lists up too
		m.Add(gvk, scope)
	}
	for _, kind := range []string{"IPAddressPool", "AddressPool", "L2Advertisement", "BGPAdvertisement", "BFDProfile", "Community", "ConfigurationState"} {
		add(v1beta1.GroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	add(v1beta2.GroupVersion.WithKind("BGPPeer"), meta.RESTScopeNamespace)
	for _, gvk := range namespaced {
		add(gvk, meta.RESTScopeNamespace)
	}
	for _, kind := range []string{"Node", "Namespace"} {
		add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeRoot)
	}
	return m
}
