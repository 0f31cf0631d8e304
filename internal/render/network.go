package render

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// controllerNetworkPolicy leaves the controller what it needs: its probes and metrics from outside, the API server from
// inside. The API server is named by its ports alone, because a policy sees either its Service's address or those behind
// it, and these change. DNS is not needed. Speakers are in the host's network, where policies do not reach.
func (r renderer) controllerNetworkPolicy() *networkingv1.NetworkPolicy {
	ingress := tcp(healthPort)
	if port := r.metricsPort(); port != 0 {
		ingress = tcp(port, healthPort)
	}
	policy := &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "NetworkPolicy"},
		ObjectMeta: r.meta("metallb-"+Controller, Controller),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: PodLabels(Controller)},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{Ports: ingress}},
			Egress:      []networkingv1.NetworkPolicyEgressRule{{Ports: tcp(r.env.APIServerPorts...)}},
		},
	}
	return policy
}

// tcp lists ports; a rule without any is for all.
func tcp(ports ...int32) []networkingv1.NetworkPolicyPort {
	var list []networkingv1.NetworkPolicyPort
	for _, p := range ports {
		list = append(list, networkingv1.NetworkPolicyPort{Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To(intstr.FromInt32(p))})
	}
	return list
}
