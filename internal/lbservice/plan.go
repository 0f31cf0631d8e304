package lbservice

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/internal/announce"
)

// Service is what a plan needs of a Service, but for its endpoints.
func Service(svc *corev1.Service) announce.Service {
	pool, _ := Annotation(svc, AllocatedFrom)
	return announce.Service{
		Name: svc.Namespace + "/" + svc.Name, Labels: labels.Set(svc.Labels), Addresses: Addresses(svc), Pool: pool,
		Local: svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
	}
}

// Node is what a plan needs of a Node.
func Node(n *corev1.Node) announce.Node {
	out := announce.Node{Name: n.Name, Labels: labels.Set(n.Labels), Cordoned: n.Spec.Unschedulable}
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			out.Addresses = append(out.Addresses, ip.Unmap())
		}
	}
	for _, c := range n.Status.Conditions {
		out.NetworkUnavailable = out.NetworkUnavailable || c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionTrue
	}
	return out
}
