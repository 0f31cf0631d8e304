package service

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/lbservice"
)

// transform keeps of an object what is used of it. There may be very many.
func transform(in any) (any, error) {
	switch o := in.(type) {
	case *corev1.Service:
		strip(o)
	case *corev1.Node:
		*o = corev1.Node{
			ObjectMeta: identity(o.ObjectMeta), Spec: corev1.NodeSpec{Unschedulable: o.Spec.Unschedulable},
			Status: corev1.NodeStatus{Addresses: o.Status.Addresses, Conditions: told(o.Status.Conditions)},
		}
	case *v1beta1.ServiceL2Status:
		created := o.CreationTimestamp
		*o = v1beta1.ServiceL2Status{ObjectMeta: identity(o.ObjectMeta), Status: o.Status}
		o.CreationTimestamp, o.Labels = created, nil
	case *v1beta1.ServiceBGPStatus:
		*o = v1beta1.ServiceBGPStatus{ObjectMeta: identity(o.ObjectMeta), Status: o.Status}
		o.Labels = nil
	case *v1beta1.BGPSessionState:
		*o = v1beta1.BGPSessionState{ObjectMeta: identity(o.ObjectMeta), Status: o.Status}
		o.Labels = nil
	case *v1beta1.ConfigurationState: // what else it says is for people
		*o = v1beta1.ConfigurationState{
			ObjectMeta: identity(o.ObjectMeta),
			Status:     v1beta1.ConfigurationStateStatus{Subnets: o.Status.Subnets, Gateways: o.Status.Gateways},
		}
	}
	return in, nil
}

// told keeps what is asked of a node's conditions.
func told(conditions []corev1.NodeCondition) (out []corev1.NodeCondition) {
	for _, c := range conditions {
		if c.Type == corev1.NodeReady || c.Type == corev1.NodeNetworkUnavailable {
			out = append(out, corev1.NodeCondition{Type: c.Type, Status: c.Status})
		}
	}
	return out
}

// identity is what tells an object and its version from others, and its labels.
func identity(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion, Labels: m.Labels}
}

// strip is in place. What is read here and what is kept here must agree.
func strip(svc *corev1.Service) {
	ours := map[string]string(nil)
	for key, value := range svc.Annotations {
		if strings.HasPrefix(key, lbservice.Prefix) || strings.HasPrefix(key, lbservice.DeprecatedPrefix) {
			if ours == nil {
				ours = map[string]string{}
			}
			ours[key] = value
		}
	}
	svc.TypeMeta = metav1.TypeMeta{}
	svc.ObjectMeta = metav1.ObjectMeta{
		Namespace:         svc.Namespace,
		Name:              svc.Name,
		UID:               svc.UID,
		ResourceVersion:   svc.ResourceVersion,
		CreationTimestamp: svc.CreationTimestamp,
		Labels:            svc.Labels,
		Annotations:       ours,
	}
	spec := corev1.ServiceSpec{Type: svc.Spec.Type}
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		spec = corev1.ServiceSpec{
			Type:                  svc.Spec.Type,
			LoadBalancerClass:     svc.Spec.LoadBalancerClass,
			LoadBalancerIP:        svc.Spec.LoadBalancerIP,
			IPFamilies:            svc.Spec.IPFamilies,
			IPFamilyPolicy:        svc.Spec.IPFamilyPolicy,
			ClusterIPs:            svc.Spec.ClusterIPs,
			ExternalTrafficPolicy: svc.Spec.ExternalTrafficPolicy,
		}
		for _, p := range svc.Spec.Ports {
			spec.Ports = append(spec.Ports, corev1.ServicePort{Protocol: p.Protocol, Port: p.Port})
		}
		if spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
			spec.Selector = svc.Spec.Selector
		}
	} else {
		svc.Labels = nil
	}
	svc.Spec = spec
}
