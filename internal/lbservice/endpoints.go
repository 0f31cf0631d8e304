package lbservice

import (
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"

	"metallb.io/operator/internal/announce"
)

// Endpoints says where a Service has endpoints that take traffic, from its EndpointSlices in any order. As kube-proxy
// does, it counts an endpoint that is ready (not saying so means yes), and one that still serves while it terminates.
func Endpoints(endpointSlices ...*discoveryv1.EndpointSlice) announce.Endpoints {
	var out announce.Endpoints
	for _, s := range endpointSlices {
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

func takesTraffic(c discoveryv1.EndpointConditions) bool {
	return c.Ready == nil || *c.Ready || c.Serving != nil && *c.Serving
}
