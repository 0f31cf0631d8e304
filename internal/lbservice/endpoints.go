package lbservice

import (
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"

	"metallb.io/operator/internal/announce"
)

// Endpoints says where a Service has endpoints of each IP family that take traffic, from its EndpointSlices in any order. As
// kube-proxy does, it leaves out slices of host names, and counts an endpoint that is ready, and one that still serves while it terminates. kube-proxy sends such a one
// traffic only where no other is ready: on the node with externalTrafficPolicy Local, in the cluster otherwise. For
// whether there is any, that makes no difference.
func Endpoints(endpointSlices ...*discoveryv1.EndpointSlice) (four, six announce.Endpoints) {
	return endpoints(discoveryv1.AddressTypeIPv4, endpointSlices), endpoints(discoveryv1.AddressTypeIPv6, endpointSlices)
}

func endpoints(family discoveryv1.AddressType, endpointSlices []*discoveryv1.EndpointSlice) (out announce.Endpoints) {
	for _, s := range endpointSlices {
		if s.AddressType != family {
			continue
		}
		for _, e := range s.Endpoints {
			if !takesTraffic(e.Conditions) {
				continue
			}
			out.Any = true
			if e.NodeName != nil && *e.NodeName != "" {
				out.Nodes = append(out.Nodes, *e.NodeName)
			}
		}
	}
	slices.Sort(out.Nodes)
	out.Nodes = slices.Compact(out.Nodes)
	return out
}

// Essence is what Endpoints needs of those of a slice: of each node one that takes traffic, and one of those on no node.
func Essence(all []discoveryv1.Endpoint) []discoveryv1.Endpoint {
	var out []discoveryv1.Endpoint
	for _, e := range all {
		same := func(o discoveryv1.Endpoint) bool { return ptr.Equal(o.NodeName, e.NodeName) }
		if takesTraffic(e.Conditions) && !slices.ContainsFunc(out, same) {
			out = append(out, discoveryv1.Endpoint{NodeName: e.NodeName})
		}
	}
	return slices.Clone(out) // without the room that it has grown into
}

func takesTraffic(c discoveryv1.EndpointConditions) bool {
	is := func(condition *bool, unsaid bool) bool {
		if condition == nil {
			return unsaid
		}
		return *condition
	}
	return is(c.Ready, true) || is(c.Serving, true) && is(c.Terminating, false)
}
