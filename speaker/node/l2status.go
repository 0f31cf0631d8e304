package node

import (
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/announce"
)

var serviceL2Status = reports[*v1beta1.ServiceL2Status, v1beta1.ServiceL2StatusStatus]{
	kind:   "ServiceL2Status",
	prefix: "l2",
	empty:  func() *v1beta1.ServiceL2Status { return &v1beta1.ServiceL2Status{} },
	list:   func() client.ObjectList { return &v1beta1.ServiceL2StatusList{} },
	status: func(o *v1beta1.ServiceL2Status) *v1beta1.ServiceL2StatusStatus { return &o.Status },
	labels: func(s *v1beta1.ServiceL2StatusStatus) map[string]string {
		return serviceLabels(s.Node, s.ServiceNamespace, s.ServiceName)
	},
}

func serviceLabels(node, namespace, name string) map[string]string {
	return map[string]string{v1beta1.LabelNode: node, v1beta1.LabelServiceName: name, v1beta1.LabelServiceNamespace: namespace}
}

// l2Statuses are what this node's ServiceL2Statuses are to say, by Service.
type l2Statuses map[string]*v1beta1.ServiceL2StatusStatus

// add takes one address that a node announces. Those of a Service come in their order.
func (s l2Statuses) add(node string, w announce.Why) {
	interfaces := make([]v1beta1.InterfaceInfo, len(w.Interfaces))
	for i, name := range w.Interfaces {
		interfaces[i].Name = name
	}
	x, ok := s[w.Service]
	switch {
	case !ok:
		key := splitName(w.Service)
		x = &v1beta1.ServiceL2StatusStatus{Node: node, ServiceNamespace: key.Namespace, ServiceName: key.Name, Interfaces: interfaces}
		s[w.Service] = x
	case len(interfaces) == 0 || len(x.Interfaces) == 0: // none named is all
		x.Interfaces = nil
	default:
		for _, i := range interfaces {
			if !slices.Contains(x.Interfaces, i) {
				x.Interfaces = append(x.Interfaces, i)
			}
		}
	}
	x.Addresses = append(x.Addresses, w.Address.String())
}
