package lbservice

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/internal/ipam"
)

func loadBalancer(edits ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", CreationTimestamp: metav1.Unix(100, 0), Annotations: map[string]string{}},
		Spec: corev1.ServiceSpec{
			Type:       corev1.ServiceTypeLoadBalancer,
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			ClusterIPs: []string{"10.96.0.7"},
			Ports:      []corev1.ServicePort{{Port: 80}, {Port: 53, Protocol: corev1.ProtocolUDP}},
			Selector:   map[string]string{"b": "2", "a": "1"},
		},
	}
	for _, edit := range edits {
		edit(svc)
	}
	return svc
}

func annotated(kv ...string) func(*corev1.Service) {
	return func(svc *corev1.Service) {
		for i := 0; i < len(kv); i += 2 {
			svc.Annotations[kv[i]] = kv[i+1]
		}
	}
}

func dual(policy corev1.IPFamilyPolicy) func(*corev1.Service) {
	return func(svc *corev1.Service) {
		svc.Spec.IPFamilyPolicy = &policy
		svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
		svc.Spec.ClusterIPs = []string{"fd00::7", "10.96.0.7"}
	}
}

func at(ip string) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Spec.LoadBalancerIP = ip }
}

func TestParse(t *testing.T) {
	const prefer, require = corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack
	plain := ipam.Request{
		Key: ipam.Key{Namespace: "shop", Name: "web"}, Created: time.Unix(100, 0), Families: []ipam.Family{ipam.IPv4}, OneIsEnough: true,
		Ports: []ipam.Port{{Protocol: "TCP", Number: 80}, {Protocol: "UDP", Number: 53}},
	}
	both := []ipam.Family{ipam.IPv6, ipam.IPv4}
	addrs := func(texts ...string) []netip.Addr {
		var out []netip.Addr
		for _, s := range texts {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	for name, tt := range map[string]struct {
		svc  *corev1.Service
		want func(*ipam.Request)
	}{
		"nothing special":                     {loadBalancer(), func(*ipam.Request) {}},
		"families from the cluster addresses": {loadBalancer(func(svc *corev1.Service) { svc.Spec.IPFamilies, svc.Spec.ClusterIPs = nil, []string{"fd00::1"} }), func(r *ipam.Request) { r.Families = []ipam.Family{ipam.IPv6} }},
		"dual stack preferred":                {loadBalancer(dual(prefer)), func(r *ipam.Request) { r.Families = both }},
		"dual stack required":                 {loadBalancer(dual(require)), func(r *ipam.Request) { r.Families, r.OneIsEnough = both, false }},
		"a pool":                              {loadBalancer(annotated("metallb.io/address-pool", " p ")), func(r *ipam.Request) { r.Pool = "p" }},
		"a pool, deprecated":                  {loadBalancer(annotated("metallb.universe.tf/address-pool", "p")), func(r *ipam.Request) { r.Pool = "p" }},
		"an empty annotation wins over the deprecated one": {loadBalancer(annotated("metallb.universe.tf/address-pool", "p", "metallb.io/address-pool", "")), func(*ipam.Request) {}},
		"a sharing key":                   {loadBalancer(annotated("metallb.universe.tf/allow-shared-ip", "k")), func(r *ipam.Request) { r.SharingKey = "k" }},
		"traffic to local endpoints only": {loadBalancer(func(svc *corev1.Service) { svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }), func(r *ipam.Request) { r.BackendKey = "Local:a=1,b=2" }},
		"local endpoints of no selector":  {loadBalancer(func(svc *corev1.Service) { svc.Spec.ExternalTrafficPolicy, svc.Spec.Selector = "Local", nil }), func(r *ipam.Request) { r.BackendKey = "Local:" }},
		"an address by field":             {loadBalancer(at("192.0.2.1")), func(r *ipam.Request) { r.Addresses = addrs("192.0.2.1") }},
		"an address by annotation":        {loadBalancer(annotated("metallb.io/loadBalancerIPs", "192.0.2.1")), func(r *ipam.Request) { r.Addresses = addrs("192.0.2.1") }},
		"the same by both":                {loadBalancer(at("192.0.2.1"), annotated("metallb.io/loadBalancerIPs", "::ffff:192.0.2.1")), func(r *ipam.Request) { r.Addresses = addrs("192.0.2.1") }},
		"one of each family": {loadBalancer(dual(require), annotated("metallb.io/loadBalancerIPs", "192.0.2.1 , 2001:db8::1")), func(r *ipam.Request) {
			r.Families, r.OneIsEnough, r.Addresses = both, false, addrs("192.0.2.1", "2001:db8::1")
		}},
		"one address where two are preferred": {loadBalancer(dual(prefer), at("192.0.2.1")), func(r *ipam.Request) { r.Addresses = addrs("192.0.2.1") }},
	} {
		t.Run(name, func(t *testing.T) {
			want := plain
			tt.want(&want)
			got, errs := Parse(tt.svc)
			if len(errs) > 0 {
				t.Fatal(errs.ToAggregate())
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	const ips, oldIPs = "metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs"
	for name, tt := range map[string]struct {
		svc   *corev1.Service
		field string
		says  string
	}{
		"a word":                       {loadBalancer(annotated(ips, "web")), "metadata.annotations[metallb.io/loadBalancerIPs]", `"web" is not an IP address: write for instance`},
		"a word, deprecated":           {loadBalancer(annotated(oldIPs, "web")), "metadata.annotations[metallb.universe.tf/loadBalancerIPs]", "is not an IP address"},
		"a comma too many":             {loadBalancer(annotated(ips, "192.0.2.1,")), "metadata.annotations[metallb.io/loadBalancerIPs]", `"" is not an IP address`},
		"a prefix":                     {loadBalancer(at("192.0.2.1/32")), "spec.loadBalancerIP", "is not an IP address"},
		"a zone":                       {loadBalancer(annotated(ips, "fe80::1%eth0")), "metadata.annotations[metallb.io/loadBalancerIPs]", "is not an IP address"},
		"field and annotation differ":  {loadBalancer(at("192.0.2.1"), annotated(ips, "192.0.2.2")), "spec.loadBalancerIP", `differs from annotation metallb.io/loadBalancerIPs, which says "192.0.2.2": remove one of the two`},
		"two of one family":            {loadBalancer(annotated(ips, "192.0.2.1,192.0.2.2")), "metadata.annotations[metallb.io/loadBalancerIPs]", "more than one IPv4 address"},
		"the other family":             {loadBalancer(at("2001:db8::1")), "spec.loadBalancerIP", "2001:db8::1 is IPv6, but the Service is IPv4 only"},
		"one of two that are required": {loadBalancer(dual(corev1.IPFamilyPolicyRequireDualStack), at("192.0.2.1")), "spec.loadBalancerIP", "ask for two in annotation metallb.io/loadBalancerIPs"},
		"two families of which the cluster has one": {loadBalancer(dual(corev1.IPFamilyPolicyRequireDualStack), func(svc *corev1.Service) { svc.Spec.IPFamilies = svc.Spec.IPFamilies[:1] }),
			"spec.ipFamilyPolicy", "use PreferDualStack"},
		"no cluster address": {loadBalancer(func(svc *corev1.Service) { svc.Spec.IPFamilies, svc.Spec.ClusterIPs = nil, []string{"None"} }), "spec.clusterIPs", "remove clusterIP: None"},
	} {
		t.Run(name, func(t *testing.T) {
			req, errs := Parse(tt.svc)
			if len(errs) != 1 || errs[0].Field != tt.field || !strings.Contains(errs[0].Error(), tt.says) {
				t.Errorf("errors are %v", errs)
			}
			if !req.KeepOnly {
				t.Error("a request that cannot be read would be served")
			}
		})
	}
}

func TestOurs(t *testing.T) {
	class := func(name string) func(*corev1.Service) {
		return func(svc *corev1.Service) { svc.Spec.LoadBalancerClass = &name }
	}
	clusterIP := func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeClusterIP }
	for name, tt := range map[string]struct {
		svc   *corev1.Service
		class Class
		want  bool
	}{
		"no class, none served":           {loadBalancer(), Class{}, true},
		"no class, one served":            {loadBalancer(), Class{Name: "example.com/x"}, false},
		"no class, one served by default": {loadBalancer(), Class{Name: "example.com/x", Default: true}, true},
		"the class served":                {loadBalancer(class("example.com/x")), Class{Name: "example.com/x"}, true},
		"the class served by default":     {loadBalancer(class("example.com/x")), Class{Name: "example.com/x", Default: true}, true},
		"another class":                   {loadBalancer(class("example.com/y")), Class{Name: "example.com/x"}, false},
		"another class than the default":  {loadBalancer(class("example.com/y")), Class{Name: "example.com/x", Default: true}, false},
		"a class, none served":            {loadBalancer(class("example.com/y")), Class{}, false},
		"a Service without load balancer": {loadBalancer(clusterIP), Class{}, false},
		"and one served by default":       {loadBalancer(clusterIP), Class{Name: "example.com/x", Default: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Ours(tt.svc, tt.class); got != tt.want {
				t.Errorf("ours: %v", got)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	svc := loadBalancer()
	for _, ip := range []string{"192.0.2.1", "", "2001:db8::1", "::ffff:192.0.2.1", "nonsense", "fe80::1%eth0"} {
		svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip, Hostname: "lb.example.com"})
	}
	want := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	if diff := cmp.Diff(want, Addresses(svc), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func FuzzParseAddresses(f *testing.F) {
	f.Add("192.0.2.1", "192.0.2.1")
	f.Add("2001:db8::1, 192.0.2.1", "")
	f.Add("::ffff:1.2.3.4,", "fe80::1%x")
	f.Fuzz(func(t *testing.T, annotation, field string) {
		req, errs := Parse(loadBalancer(annotated("metallb.io/loadBalancerIPs", annotation), at(field), dual(corev1.IPFamilyPolicyPreferDualStack)))
		if req.KeepOnly != (len(errs) > 0) {
			t.Fatalf("errors %v, yet KeepOnly is %v", errs, req.KeepOnly)
		}
		if len(errs) > 0 {
			return
		}
		for _, a := range req.Addresses {
			if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
				t.Fatalf("%q and %q ask for %s", annotation, field, a)
			}
		}
		if len(req.Addresses) > len(req.Families) {
			t.Fatalf("%q and %q ask for %v of %v", annotation, field, req.Addresses, req.Families)
		}
	})
}
