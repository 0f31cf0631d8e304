package node

import (
	"cmp"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/announce"
)

var serviceBGPStatus = reports[*v1beta1.ServiceBGPStatus, v1beta1.ServiceBGPStatusStatus]{
	kind:   "ServiceBGPStatus",
	prefix: "bgp",
	empty:  func() *v1beta1.ServiceBGPStatus { return &v1beta1.ServiceBGPStatus{} },
	list:   func() client.ObjectList { return &v1beta1.ServiceBGPStatusList{} },
	status: func(o *v1beta1.ServiceBGPStatus) *v1beta1.ServiceBGPStatusStatus { return &o.Status },
	labels: func(s *v1beta1.ServiceBGPStatusStatus) map[string]string {
		return serviceLabels(s.Node, s.ServiceNamespace, s.ServiceName)
	},
}

// bgpStatuses are what ServiceBGPStatuses of this node are to say, by Service; nil: nothing, so that it is to go.
type bgpStatuses map[string]*v1beta1.ServiceBGPStatusStatus

func (s bgpStatuses) of(node, service string) *v1beta1.ServiceBGPStatusStatus {
	x := s[service]
	if x == nil {
		key := splitName(service)
		x = &v1beta1.ServiceBGPStatusStatus{Node: node, ServiceNamespace: key.Namespace, ServiceName: key.Name}
		s[service] = x
	}
	return x
}

// add takes the routes by which an address is announced. Two advertisements, or addresses, may have a prefix in common.
func (s bgpStatuses) add(node, service string, routes []announce.BGPRoute) {
	x := s.of(node, service)
	for _, r := range routes {
		x.Peers = union(x.Peers, r.Peers)
		prefix := r.Prefix.String()
		i, there := slices.BinarySearchFunc(x.Routes, prefix, func(r v1beta1.BGPRoute, to string) int { return cmp.Compare(r.Prefix, to) })
		if !there {
			x.Routes = slices.Insert(x.Routes, i, v1beta1.BGPRoute{Prefix: prefix})
		}
		x.Routes[i].Peers = union(x.Routes[i].Peers, r.Peers)
	}
}

// fail takes an address that cannot be announced. Those of a Service come in their order.
func (s bgpStatuses) fail(node string, w announce.BGPWhy) {
	x := s.of(node, w.Service)
	x.Problems = append(x.Problems, v1beta1.BGPProblem{Address: w.Address.String(), Reason: string(w.Reason), Message: w.Message})
}

// union of names, sorted.
func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}
