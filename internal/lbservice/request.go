package lbservice

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/internal/ipam"
)

// Prefixes of annotations. A key under Prefix wins over the same key under DeprecatedPrefix, even where it is empty.
const (
	Prefix           = "metallb.io/"
	DeprecatedPrefix = "metallb.universe.tf/"
)

// Annotations of Services, without their prefix.
const (
	// AddressPool names the pool to take the address from.
	AddressPool = "address-pool"
	// LoadBalancerIPs lists the addresses asked for, with commas between them.
	LoadBalancerIPs = "loadBalancerIPs"
	// AllowSharedIP is the sharing key: Services with the same key may have the same address.
	AllowSharedIP = "allow-shared-ip"
	// AllocatedFrom is written by the controller: the pool that the address was given from.
	AllocatedFrom = "ip-allocated-from-pool"
)

// Class says by their spec.loadBalancerClass which Services are this load balancer's.
type Class struct {
	// Name of the class. Empty: Services without a class.
	Name string
	// Default is for Services without a class too.
	Default bool
}

// Ours says whether the Service is this load balancer's: of type LoadBalancer and of its class.
func Ours(svc *corev1.Service, class Class) bool {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return false
	}
	if svc.Spec.LoadBalancerClass == nil {
		return class.Name == "" || class.Default
	}
	return *svc.Spec.LoadBalancerClass == class.Name
}

// Addresses returns the valid addresses of the Service's status, IPv4-mapped ones as IPv4, each once.
func Addresses(svc *corev1.Service) []netip.Addr {
	return AddressesOf(svc.Status.LoadBalancer.Ingress)
}

// AddressesOf returns the valid addresses of the entries of a status, in the same way.
func AddressesOf(ingress []corev1.LoadBalancerIngress) []netip.Addr {
	var out []netip.Addr
	for _, ing := range ingress {
		a, err := netip.ParseAddr(ing.IP)
		if err != nil || a.Zone() != "" || slices.Contains(out, a.Unmap()) {
			continue
		}
		out = append(out, a.Unmap())
	}
	return out
}

// Annotation returns the value of one of the annotations above, blanks trimmed, and the key that it was found under.
func Annotation(svc *corev1.Service, name string) (value, key string) {
	for _, prefix := range []string{Prefix, DeprecatedPrefix} {
		if v, ok := svc.Annotations[prefix+name]; ok {
			return strings.TrimSpace(v), prefix + name
		}
	}
	return "", Prefix + name
}

// AddressesOrigin names where the Service asks for certain addresses.
func AddressesOrigin(svc *corev1.Service) string {
	if text, key := Annotation(svc, LoadBalancerIPs); text != "" {
		return "Annotation " + key
	}
	return "Field spec.loadBalancerIP"
}

// Parse reads what the Service asks for. With errors, which name the field or annotation at fault, the request is one
// to keep only what the Service has.
func Parse(svc *corev1.Service) (ipam.Request, field.ErrorList) {
	req := ipam.Request{
		Key:     ipam.Key{Namespace: svc.Namespace, Name: svc.Name},
		Created: svc.CreationTimestamp.Time,
		Ports:   make([]ipam.Port, 0, len(svc.Spec.Ports)),
	}
	for _, p := range svc.Spec.Ports {
		protocol := p.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP // the API's default
		}
		req.Ports = append(req.Ports, ipam.Port{Protocol: string(protocol), Number: p.Port})
	}
	req.Pool, _ = Annotation(svc, AddressPool)
	req.SharingKey, _ = Annotation(svc, AllowSharedIP)
	if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		// Only nodes that run the pods announce: two Services on one address must have the same pods.
		req.BackendKey = "Local:" + labels.Set(svc.Spec.Selector).String()
	}
	errs := parseFamilies(svc, &req)
	errs = append(errs, parseAddresses(svc, &req)...)
	req.KeepOnly = len(errs) > 0
	return req, errs
}

// parseFamilies takes the families of the Service's cluster addresses: kube-proxy forwards those and no others.
func parseFamilies(svc *corev1.Service, req *ipam.Request) field.ErrorList {
	for _, f := range svc.Spec.IPFamilies {
		if f == corev1.IPv6Protocol {
			req.Families = append(req.Families, ipam.IPv6)
		} else {
			req.Families = append(req.Families, ipam.IPv4)
		}
	}
	if len(req.Families) == 0 {
		for _, ip := range svc.Spec.ClusterIPs {
			if a, err := netip.ParseAddr(ip); err == nil {
				req.Families = append(req.Families, ipam.FamilyOf(a))
			}
		}
	}
	policy := corev1.IPFamilyPolicySingleStack
	if svc.Spec.IPFamilyPolicy != nil {
		policy = *svc.Spec.IPFamilyPolicy
	}
	req.OneIsEnough = policy != corev1.IPFamilyPolicyRequireDualStack
	spec := field.NewPath("spec")
	switch {
	case len(req.Families) == 0:
		return field.ErrorList{field.Required(spec.Child("clusterIPs"), "the Service has no cluster address, so there is nothing to forward to: remove clusterIP: None")}
	case policy == corev1.IPFamilyPolicyRequireDualStack && len(req.Families) < 2:
		return field.ErrorList{field.Invalid(spec.Child("ipFamilyPolicy"), policy, "the Service has cluster addresses of one family only: use PreferDualStack, or a cluster with both families")}
	}
	return nil
}

// parseAddresses reads the addresses asked for, from the field, the annotation, or both where they agree.
func parseAddresses(svc *corev1.Service, req *ipam.Request) field.ErrorList {
	text, key := Annotation(svc, LoadBalancerIPs)
	atAnnotation := field.NewPath("metadata", "annotations").Key(key)
	atField := field.NewPath("spec", "loadBalancerIP")
	var fromAnnotation []netip.Addr
	if text != "" {
		for _, part := range strings.Split(text, ",") {
			a, err := parseAddress(part)
			if err != nil {
				return field.ErrorList{field.Invalid(atAnnotation, text, err.Error())}
			}
			fromAnnotation = append(fromAnnotation, a)
		}
	}
	req.Addresses = fromAnnotation
	at, value := atAnnotation, text
	if ip := svc.Spec.LoadBalancerIP; ip != "" {
		a, err := parseAddress(ip)
		if err != nil {
			return field.ErrorList{field.Invalid(atField, ip, err.Error())}
		}
		if text != "" && !slices.Equal(fromAnnotation, []netip.Addr{a}) {
			return field.ErrorList{field.Invalid(atField, ip, fmt.Sprintf("differs from annotation %s, which says %q: remove one of the two", key, text))}
		}
		if text == "" {
			req.Addresses = []netip.Addr{a}
			at, value = atField, ip
		}
	}
	return checkFamilies(req, at, value)
}

func parseAddress(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(text))
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address: write for instance 192.0.2.10 or 2001:db8::10", strings.TrimSpace(text))
	}
	return a.Unmap(), nil
}

// checkFamilies makes sure that the addresses asked for are of the Service's families, one each.
func checkFamilies(req *ipam.Request, at *field.Path, value string) field.ErrorList {
	var seen []ipam.Family
	for _, a := range req.Addresses {
		f := ipam.FamilyOf(a)
		switch {
		case slices.Contains(seen, f):
			return field.ErrorList{field.Invalid(at, value, fmt.Sprintf("has more than one %s address: ask for one of each family at most", f))}
		case !slices.Contains(req.Families, f) && len(req.Families) > 0:
			return field.ErrorList{field.Invalid(at, value, fmt.Sprintf("%s is %s, but the Service is %s only: ask for an %s address, or set spec.ipFamilies", a, f, req.Families[0], req.Families[0]))}
		}
		seen = append(seen, f)
	}
	if len(seen) == 1 && len(req.Families) == 2 {
		if !req.OneIsEnough {
			return field.ErrorList{field.Invalid(at, value, "spec.ipFamilyPolicy RequireDualStack needs an address of each family: ask for two in annotation "+Prefix+LoadBalancerIPs)}
		}
		req.Families = seen
	}
	return nil
}
