package service

import (
	"context"
	"fmt"
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/lbservice"
)

func TestAssignment(t *testing.T) {
	w := newWorld(t)
	w.pool("auto", "192.0.2.10-192.0.2.40 2001:db8::10-2001:db8::40")
	w.pool("asked", "198.51.100.0/28 2001:db8:1::/124", onRequest)
	w.start()
	single, dual := corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyRequireDualStack
	lbIP := func(ip string) func(*corev1.Service) {
		return func(svc *corev1.Service) { svc.Spec.LoadBalancerIP = ip }
	}
	for i, tt := range []struct {
		name  string
		edits []func(*corev1.Service)
		want  string
		pool  string
		says  []string
	}{
		{"any IPv4 address", nil, "192.0.2.10", "auto", []string{"192.0.2.10 of pool auto"}},
		{"any IPv6 address", []func(*corev1.Service){families(single, "IPv6")}, "2001:db8::10", "auto", nil},
		{"one of each family", []func(*corev1.Service){families(dual, "IPv6", "IPv4")}, "192.0.2.11 2001:db8::11", "auto", nil},
		{"a pool, by annotation", []func(*corev1.Service){annotate("metallb.io/address-pool", "asked")}, "198.51.100.0", "asked", nil},
		{"a pool, by the deprecated annotation", []func(*corev1.Service){annotate("metallb.universe.tf/address-pool", "asked")}, "198.51.100.1", "asked", nil},
		{"the newer annotation wins over the deprecated one", []func(*corev1.Service){annotate("metallb.universe.tf/address-pool", "nowhere", "metallb.io/address-pool", "asked")}, "198.51.100.2", "asked", nil},
		{"an address, by field", []func(*corev1.Service){lbIP("192.0.2.30")}, "192.0.2.30", "auto", nil},
		{"an address, by annotation", []func(*corev1.Service){annotate("metallb.io/loadBalancerIPs", "198.51.100.9")}, "198.51.100.9", "asked", nil},
		{"an address, by the deprecated annotation", []func(*corev1.Service){annotate("metallb.universe.tf/loadBalancerIPs", " 192.0.2.31 ")}, "192.0.2.31", "auto", nil},
		{"two addresses, by annotation", []func(*corev1.Service){families(dual, "IPv4", "IPv6"), annotate("metallb.io/loadBalancerIPs", "2001:db8:1::5, 198.51.100.5")}, "198.51.100.5 2001:db8:1::5", "asked", nil},
		{"the same address by field and annotation", []func(*corev1.Service){lbIP("192.0.2.32"), annotate("metallb.io/loadBalancerIPs", "192.0.2.32")}, "192.0.2.32", "auto", nil},
		{"an address and its pool", []func(*corev1.Service){lbIP("192.0.2.33"), annotate("metallb.io/address-pool", "auto")}, "192.0.2.33", "auto", nil},
		{"an address in its IPv4-mapped form", []func(*corev1.Service){annotate("metallb.io/loadBalancerIPs", "::ffff:192.0.2.34")}, "192.0.2.34", "auto", nil},
		{"different addresses by field and annotation", []func(*corev1.Service){lbIP("192.0.2.35"), annotate("metallb.io/loadBalancerIPs", "192.0.2.36")}, "InvalidRequest", "", []string{"spec.loadBalancerIP", "metallb.io/loadBalancerIPs", "remove one"}},
		{"an address outside every pool, by field", []func(*corev1.Service){lbIP("203.0.113.1")}, "AddressOutsidePools", "", []string{"Field spec.loadBalancerIP asks for 203.0.113.1", "auto: 192.0.2.10-192.0.2.40"}},
		{"an address outside every pool, by annotation", []func(*corev1.Service){annotate("metallb.io/loadBalancerIPs", "203.0.113.1")}, "AddressOutsidePools", "", []string{"Annotation metallb.io/loadBalancerIPs"}},
		{"an address of another pool than the one asked for", []func(*corev1.Service){lbIP("192.0.2.37"), annotate("metallb.io/address-pool", "asked")}, "AddressNotInPool", "", []string{"192.0.2.37, which is of pool auto, but annotation metallb.io/address-pool asks for pool asked"}},
		{"an address that another Service has", []func(*corev1.Service){lbIP("192.0.2.10")}, "AddressInUse", "", []string{"s00 has", "metallb.io/allow-shared-ip"}},
		{"no address at all", []func(*corev1.Service){annotate("metallb.io/loadBalancerIPs", "default")}, "InvalidRequest", "", []string{`metadata.annotations[metallb.io/loadBalancerIPs]: Invalid value: "default"`}},
		{"an address of the wrong family", []func(*corev1.Service){annotate("metallb.io/loadBalancerIPs", "2001:db8::20")}, "InvalidRequest", "", []string{"is IPv6, but the Service is IPv4 only"}},
		{"one address for two families", []func(*corev1.Service){families(dual, "IPv4", "IPv6"), annotate("metallb.io/loadBalancerIPs", "192.0.2.38")}, "InvalidRequest", "", []string{"RequireDualStack needs an address of each family"}},
		{"an unknown pool", []func(*corev1.Service){annotate("metallb.io/address-pool", "atuo")}, "PoolUnknown", "", []string{`"atuo", which does not exist: write one of asked, auto`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := *w
			w.t = t
			name := fmt.Sprintf("s%02d", i)
			w.service(name, tt.edits...)
			svc := w.expect(name, tt.want)
			w.says(svc, tt.says...)
			if got := recordedPool(svc); got != tt.pool {
				t.Errorf("recorded pool is %q, want %q", got, tt.pool)
			}
			events := []string{"AllocationFailed"}
			if tt.pool != "" {
				events = []string{"IPAllocated"}
			}
			for range deprecatedKeys(svc) {
				events = append(events, "deprecatedAnnotation")
			}
			w.expectEvents(svc, events...)
		})
	}
	w.addressesOnce()
}

func TestOnlyOurClass(t *testing.T) {
	for name, tt := range map[string]struct {
		class lbservice.Class
		ours  *string
		other *string
	}{
		"without a class those without":        {lbservice.Class{}, nil, ptr.To("example.com/other")},
		"with a class those of it":             {lbservice.Class{Name: "example.com/mine"}, ptr.To("example.com/mine"), nil},
		"by default those of it":               {lbservice.Class{Name: "example.com/mine", Default: true}, ptr.To("example.com/mine"), ptr.To("example.com/other")},
		"by default those without a class too": {lbservice.Class{Name: "example.com/mine", Default: true}, nil, ptr.To("example.com/other")},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.pool("p", "192.0.2.0/28")
			w.class = tt.class
			w.start()
			w.service("other", func(svc *corev1.Service) { svc.Spec.LoadBalancerClass = tt.other })
			w.service("ours", func(svc *corev1.Service) { svc.Spec.LoadBalancerClass = tt.ours })
			w.expect("ours", "192.0.2.0")
			w.stays("other", "no condition")
		})
	}
}

// TestClassOfTheInstallationChanges starts with another class: what was given is taken back.
func TestClassOfTheInstallationChanges(t *testing.T) {
	w := newWorld(t)
	w.pool("p", "192.0.2.0/28")
	w.start()
	w.service("a")
	w.expectEvents(w.expect("a", "192.0.2.0"), "IPAllocated")
	w.halt()
	w.class = lbservice.Class{Name: "example.com/mine"}
	w.start()
	svc := w.expect("a", "no condition")
	if got := recordedPool(svc); got != "" {
		t.Errorf("pool is still recorded as %q", got)
	}
	w.expectEvents(svc, "IPAllocated", "ClearAssignment")
	w.service("b")
	w.expect("b", "192.0.2.0")
}

// TestUsersManifests applies what users of this project have, unchanged.
func TestUsersManifests(t *testing.T) {
	t.Run("an AddressPool found by spec.name, one Service with TCP and UDP ports", func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.apply("aspera.yaml")
		w.expect("aspera-tcp-proxy", "172.18.0.100")
		w.service("named", annotate("metallb.io/address-pool", "default"))
		svc := w.expect("named", "172.18.0.101")
		if recordedPool(svc) != "default" {
			t.Errorf("the pool is recorded as %q, not by its spec.name", recordedPool(svc))
		}
		w.service("misnamed", annotate("metallb.io/address-pool", "addresspool-sample1"))
		w.says(w.expect("misnamed", "PoolUnknown"), "write one of default")
	})
	t.Run("a pool of one address, and a second Service", func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.apply("aeros.yaml")
		w.service("ingress")
		w.expect("ingress", "10.220.2.214")
		w.service("second")
		svc := w.expect("second", "PoolExhausted")
		w.says(svc, "No address is free", "pool first-pool has no free IPv4 address", "Add addresses to a pool")
		w.expectEvents(svc, "AllocationFailed")
		w.must(w.Delete(context.Background(), w.get("ingress")))
		w.expect("second", "10.220.2.214")
		w.expectEvents(svc, "AllocationFailed", "IPAllocated")
	})
	t.Run("a fixed address with deprecated annotations, a second pool on request", func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.apply("smtp.yaml")
		svc := w.expect("smtp", "172.22.35.70")
		w.expectEvents(svc, "IPAllocated", "deprecatedAnnotation", "deprecatedAnnotation")
		w.service("imap", annotate("metallb.universe.tf/allow-shared-ip", "ekvm"), func(svc *corev1.Service) {
			svc.Spec.LoadBalancerIP = "172.22.35.70"
			svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
			svc.Spec.Selector = map[string]string{"app": "smtp"}
			svc.Spec.Ports = []corev1.ServicePort{{Port: 143}}
		})
		w.expect("imap", "172.22.35.70")
		w.service("anything")
		w.expect("anything", "172.22.35.64")
		w.service("public", annotate("metallb.universe.tf/address-pool", "public"))
		w.expect("public", "200.1.154.64")
	})
	t.Run("five addresses, Services with externalTrafficPolicy Local", func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.apply("cyso.yaml")
		w.eventually(func() string {
			got := map[string]bool{state(w.get("traefik-ingress")): true, state(w.get("whoami-lb")): true}
			if want := map[string]bool{"1.2.3.4": true, "1.2.3.5": true}; !maps.Equal(got, want) {
				return fmt.Sprintf("addresses are %v", got)
			}
			return ""
		})
	})
}

// TestStoredAutoAssignIsKept makes AddressPools in either version and spelling, and Services that want any address.
func TestStoredAutoAssignIsKept(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.apply("request-only.yaml")
	for i := range 3 {
		w.service(fmt.Sprintf("s%d", i))
	}
	for i := range 3 {
		svc := w.expect(fmt.Sprintf("s%d", i), "NoPoolForService")
		w.says(svc, "pool alpha is used on request only", "pool beta-one is used on request only", "pool beta-two is used on request only", "metallb.io/address-pool")
	}
	for i, pool := range []string{"alpha", "beta-one", "beta-two"} {
		w.edit(fmt.Sprintf("s%d", i), annotate("metallb.io/address-pool", pool))
		w.expect(fmt.Sprintf("s%d", i), fmt.Sprintf("192.0.2.%d", i+1))
	}
}

func TestNoPoolsThenSome(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.service("a")
	svc := w.expect("a", "NoPools")
	w.says(svc, "create an IPAddressPool in namespace "+w.namespace)
	p := w.pool("p", "192.0.2.0/28")
	w.expect("a", "192.0.2.0")
	w.expectEvents(svc, "AllocationFailed", "IPAllocated")
	w.must(w.Delete(context.Background(), p))
	w.expect("a", "NoPools")
	w.expectEvents(svc, "AllocationFailed", "IPAllocated", "ClearAssignment", "AllocationFailed")
	if got := recordedPool(w.get("a")); got != "" {
		t.Errorf("annotation still records pool %q", got)
	}
}

func TestPoolsForSomeNamespaces(t *testing.T) {
	w := newWorld(t)
	w.pool("b", "192.0.2.0/28", func(p *v1beta1.IPAddressPool) {
		p.Spec.ServiceAllocation = &v1beta1.ServiceAllocation{NamespaceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"team": "b"}}}}
	})
	w.pool("web", "198.51.100.0/28", func(p *v1beta1.IPAddressPool) {
		p.Spec.ServiceAllocation = &v1beta1.ServiceAllocation{Priority: 1, ServiceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"app": "web"}}}}
	})
	w.start()
	w.service("a")
	w.says(w.expect("a", "NoPoolForService"), "pool web is for Services with labels app=web only", "pool b is for namespaces with labels team=b only")
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.apps}}
	w.must(w.Patch(context.Background(), ns, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"team":"b"}}}`))))
	w.expect("a", "192.0.2.0")
	w.service("web", func(svc *corev1.Service) { svc.Labels = map[string]string{"app": "web"} })
	w.expect("web", "198.51.100.0")
}

func TestRequestsThatChange(t *testing.T) {
	w := newWorld(t)
	w.pool("p", "192.0.2.0/30")
	w.pool("q", "198.51.100.0/32", onRequest)
	w.start()
	w.service("a")
	w.expect("a", "192.0.2.0")
	w.service("b", annotate("metallb.io/address-pool", "q"))
	w.expect("b", "198.51.100.0")

	w.edit("a", annotate("metallb.io/loadBalancerIPs", "192.0.2.3"))
	a := w.expect("a", "192.0.2.3")
	w.expectEvents(a, "IPAllocated", "ClearAssignment", "IPAllocated")

	// What cannot be had is told, and what there is stays.
	w.edit("a", func(svc *corev1.Service) {
		svc.Annotations = map[string]string{"metallb.io/address-pool": "q", lbservice.Prefix + lbservice.AllocatedFrom: "p"}
	})
	a = w.expect("a", "192.0.2.3 PoolExhausted")
	w.says(a, "pool q has no free IPv4 address", "Until then the Service keeps 192.0.2.3 of pool p.")
	w.must(w.Delete(context.Background(), w.get("b")))
	w.expect("a", "198.51.100.0")

	// A type that has no address gives it back.
	w.service("c", annotate("metallb.io/address-pool", "q"))
	w.expect("c", "PoolExhausted")
	w.edit("a", func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeClusterIP })
	w.expect("c", "198.51.100.0")
	a = w.expect("a", "no condition")
	if got := recordedPool(a); got != "" {
		t.Errorf("a Service of type ClusterIP says that it has an address of pool %q", got)
	}
}

func TestTwoFamiliesAtWill(t *testing.T) {
	w := newWorld(t)
	w.pool("v4", "192.0.2.0/28")
	w.start()
	prefer, require, single := corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack
	w.service("prefers", families(prefer, "IPv4", "IPv6"))
	w.says(w.expect("prefers", "192.0.2.0"), "No IPv6 address could be had beside it")
	w.service("requires", families(require, "IPv4", "IPv6"))
	w.says(w.expect("requires", "NoPoolForService"), "pool v4 has not both IPv4 and IPv6 addresses")
	w.editPool("v4", "192.0.2.0/28 2001:db8::/124")
	w.expect("prefers", "192.0.2.0 2001:db8::")
	w.expect("requires", "192.0.2.1 2001:db8::1")
	w.edit("requires", func(svc *corev1.Service) {
		svc.Spec.IPFamilyPolicy = &single
		svc.Spec.IPFamilies, svc.Spec.ClusterIPs = svc.Spec.IPFamilies[:1], svc.Spec.ClusterIPs[:1]
	})
	w.expect("requires", "192.0.2.1")
}
