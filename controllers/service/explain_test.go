package service

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/ipam"
	"metallb.io/operator/internal/lbservice"
)

// offline makes a Reconciler that has loaded these pools, with a Service "holder" that has 192.0.2.0.
func offline(t *testing.T, pools ...v1beta1.IPAddressPool) *Reconciler {
	t.Helper()
	for i := range pools {
		pools[i].CreationTimestamp = metav1.Unix(1, 0)
	}
	cfg, _ := config.Compile(config.Input{IPAddressPools: pools})
	r := &Reconciler{Namespace: "metallb-system", config: cfg, alloc: ipam.Rebuild(allocatorPools(cfg), nil, nil)}
	holder := offlineService("holder", func(svc *corev1.Service) { svc.Spec.LoadBalancerIP = "192.0.2.0" })
	decided(t, r, holder)
	return r
}

func decided(t *testing.T, r *Reconciler, svc *corev1.Service) decision {
	t.Helper()
	d, err := r.decide(t.Context(), svc)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func offlinePool(name string, addresses ...string) v1beta1.IPAddressPool {
	return v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.IPAddressPoolSpec{Addresses: addresses}}
}

func offlineService(name string, edits ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "1", ResourceVersion: "7", Labels: map[string]string{"app": "web"}, Annotations: map[string]string{}},
		Spec: corev1.ServiceSpec{
			Type:       corev1.ServiceTypeLoadBalancer,
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports:      []corev1.ServicePort{{Name: "web", Port: 80}},
		},
	}
	for _, edit := range edits {
		edit(svc)
	}
	return svc
}

// TestEveryReasonIsExplained reads as a list of what users may see.
func TestEveryReasonIsExplained(t *testing.T) {
	asked, avoided := offlinePool("asked", "198.51.100.0/30"), offlinePool("avoided", "203.0.113.0/24")
	asked.Spec.AutoAssign = ptr.To(false)
	avoided.Spec.AvoidBuggyIPs = true
	avoided.Spec.ServiceAllocation = &v1beta1.ServiceAllocation{Namespaces: []string{"bank"}}
	full := offlinePool("full", "192.0.2.0/32")
	dual := []func(*corev1.Service){families(corev1.IPFamilyPolicyRequireDualStack, "IPv4", "IPv6")}
	ask := func(ips string) []func(*corev1.Service) {
		return []func(*corev1.Service){annotate("metallb.io/loadBalancerIPs", ips)}
	}
	quota := offlinePool("quota", "192.0.2.0/28")
	quota.Spec.NamespaceQuota = ptr.To(int32(1))
	quota.Spec.Reservations = []v1beta1.Reservation{{Addresses: []string{"192.0.2.9"}, Namespace: "bank", ServiceName: "counter"}}
	kept := offlinePool("kept", "192.0.2.0/31")
	kept.Spec.Reservations = []v1beta1.Reservation{{Addresses: []string{"192.0.2.1"}, Namespace: "bank"}}
	r := offline(t, full, asked, avoided, offlinePool("six", "2001:db8::/126"), offlinePool("broken", "192.0.2.5"))
	seen := map[string]bool{}
	for _, tt := range []struct {
		reason ipam.Reason
		r      *Reconciler
		edits  []func(*corev1.Service)
		want   string
	}{
		{ipam.Assigned, r, append(dual[:0:0], annotate("metallb.io/address-pool", "asked")), "Has 198.51.100.0 of pool asked."},
		{ipam.NoPools, offline(t), nil, "There is no pool of addresses: create an IPAddressPool in namespace metallb-system."},
		{ipam.NoPoolForService, offline(t, asked, avoided), nil,
			"No pool may be used for this Service: pool avoided is for namespaces bank only; pool asked is used on request only (autoAssign is false). Ask for one by annotation metallb.io/address-pool, or create a pool for this Service."},
		{ipam.NoPoolForService, offline(t, avoided), dual,
			"No pool may be used for this Service: pool avoided is for namespaces bank only. Create a pool for this Service, or change one of these."},
		{ipam.PoolExhausted, r, nil,
			"No address is free: pool avoided is for namespaces bank only; pool asked is used on request only (autoAssign is false); pool broken has no IPv4 addresses (part of it is invalid: see kubectl describe ipaddresspool broken); pool full has no free IPv4 address; pool six has no IPv4 addresses. Add addresses to a pool, or delete a Service that is no longer needed."},
		{ipam.PoolUnknown, r, []func(*corev1.Service){annotate("metallb.universe.tf/address-pool", "ful")},
			`Annotation metallb.universe.tf/address-pool asks for pool "ful", which does not exist: write one of asked, avoided, broken, full, six.`},
		{ipam.PoolUnknown, offline(t), []func(*corev1.Service){annotate("metallb.io/address-pool", "p")},
			`Annotation metallb.io/address-pool asks for pool "p", which does not exist: there is none at all in namespace metallb-system, create an IPAddressPool there.`},
		{ipam.PoolNotForService, r, []func(*corev1.Service){annotate("metallb.io/address-pool", "avoided")},
			"Annotation metallb.io/address-pool asks for a pool that is not meant for this Service: pool avoided is for namespaces bank only. Ask for another pool, or change spec.serviceAllocation of this one."},
		{ipam.PoolNotForService, r, ask("203.0.113.1"),
			"Annotation metallb.io/loadBalancerIPs asks for 203.0.113.1, but pool avoided is for namespaces bank only: ask for an address of a pool that is meant for this Service, or change spec.serviceAllocation of the pool."},
		{ipam.FamilyNotInPool, r, append(dual[:1:1], annotate("metallb.io/address-pool", "full")),
			"Annotation metallb.io/address-pool asks for a pool that cannot serve this Service: pool full has not both IPv4 and IPv6 addresses. Add such addresses to the pool, or ask for another."},
		{ipam.AddressOutsidePools, r, ask("10.0.0.1"),
			"Annotation metallb.io/loadBalancerIPs asks for 10.0.0.1, which is in no pool: ask for an address of one of the pools (asked: 198.51.100.0/30, avoided: 203.0.113.0/24, full: 192.0.2.0/32, six: 2001:db8::/126), or add it to a pool."},
		{ipam.AddressNotInPool, r, append(ask("198.51.100.1"), annotate("metallb.io/address-pool", "full")),
			"Annotation metallb.io/loadBalancerIPs asks for 198.51.100.1, which is of pool asked, but annotation metallb.io/address-pool asks for pool full: make them agree, or remove one of the two."},
		{ipam.AddressesInTwoPools, r, append(ask("198.51.100.1,2001:db8::1"), dual...),
			"Annotation metallb.io/loadBalancerIPs asks for addresses of two pools, but all of a Service's addresses are from one: ask for two of the same pool."},
		{ipam.AddressAvoided, r, ask("203.0.113.255"),
			"Annotation metallb.io/loadBalancerIPs asks for 203.0.113.255, which pool avoided leaves out since spec.avoidBuggyIPs is true: ask for an address that does not end in .0 or .255."},
		{ipam.AddressInUse, r, []func(*corev1.Service){func(svc *corev1.Service) { svc.Spec.LoadBalancerIP = "192.0.2.0" }},
			"Field spec.loadBalancerIP asks for 192.0.2.0, which Service shop/holder has: ask for another address, or let both have it by annotation metallb.io/allow-shared-ip with the same value on both, no port in common and the same externalTrafficPolicy (if Local, the same selector too)."},
		{ipam.AddressReserved, offline(t, quota), ask("192.0.2.9"),
			"Annotation metallb.io/loadBalancerIPs asks for 192.0.2.9, which pool quota reserves for Service bank/counter: ask for another address, or change spec.reservations of the pool."},
		{ipam.PoolExhausted, offline(t, kept), nil,
			"No address is free: pool kept has no free IPv4 address but such as spec.reservations keeps for others. Add addresses to a pool, or delete a Service that is no longer needed."},
		{ipam.QuotaReached, offline(t, quota, avoided), nil,
			"No pool gives this namespace more: pool avoided is for namespaces bank only; pool quota has a namespaceQuota of 1, which the Services of namespace shop have used up. Delete another Service of the namespace, share an address that it has by annotation metallb.io/allow-shared-ip, or raise spec.namespaceQuota of a pool."},
		{ipam.QuotaReached, offline(t, quota), []func(*corev1.Service){annotate("metallb.io/address-pool", "quota")},
			"Annotation metallb.io/address-pool asks for a pool that gives no more: pool quota has a namespaceQuota of 1, which the Services of namespace shop have used up. Delete another Service of the namespace, share an address that it has by annotation metallb.io/allow-shared-ip, or raise spec.namespaceQuota of the pool."},
		{ipam.QuotaReached, offline(t, quota), ask("192.0.2.3"),
			"Annotation metallb.io/loadBalancerIPs asks for 192.0.2.3, but pool quota has a namespaceQuota of 1, which the Services of namespace shop have used up: delete another Service of the namespace, share an address that it has by annotation metallb.io/allow-shared-ip, or raise spec.namespaceQuota of the pool."},
		{ipam.InvalidRequest, r, ask("me"),
			`metadata.annotations[metallb.io/loadBalancerIPs]: Invalid value: "me": "me" is not an IP address: write for instance 192.0.2.10 or 2001:db8::10.`},
		{ForeignAddress, r, []func(*corev1.Service){func(svc *corev1.Service) {
			svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{Hostname: "lb.example.com"}}
		}}, `status.loadBalancer has lb.example.com, which is in no pool and was given by another controller; it is left alone. If that controller should serve the Service, give the Service its loadBalancerClass. ` +
			`If not, stop that controller and clear the status: kubectl patch service s -n shop --subresource=status --type=merge -p '{"status":{"loadBalancer":null}}'`},
	} {
		svc := offlineService("s", tt.edits...)
		d := decided(t, tt.r, svc)
		if d.condition.Reason != string(tt.reason) || d.condition.Message != tt.want {
			t.Errorf("want %s: %s\n got %s: %s", tt.reason, tt.want, d.condition.Reason, d.condition.Message)
		}
		seen[d.condition.Reason] = true
		tt.r.release(keyOf(svc))
	}
	if len(seen) != 16 {
		t.Errorf("%d reasons are explained: %v", len(seen), seen)
	}
}

// TestHostNamesStay has another controller add a host name beside the address.
func TestHostNamesStay(t *testing.T) {
	r := offline(t, offlinePool("p", "192.0.2.0/30"))
	svc := offlineService("s")
	svc.Status.LoadBalancer.Ingress = decided(t, r, svc).ingress
	svc.Annotations[lbservice.Prefix+lbservice.AllocatedFrom] = "p"
	svc.Status.LoadBalancer.Ingress = append([]corev1.LoadBalancerIngress{{Hostname: "lb.example.com"}}, svc.Status.LoadBalancer.Ingress...)
	if d := decided(t, r, svc); !sameEntries(d.ingress, svc.Status.LoadBalancer.Ingress) || strings.Contains(string(d.patch(svc)), "loadBalancer") {
		t.Errorf("the entries become %v", d.ingress)
	}
	svc.Spec.LoadBalancerIP = "192.0.2.3"
	if got := strings.Join(ingressTexts(decided(t, r, svc).ingress), " "); got != "192.0.2.3 lb.example.com" {
		t.Errorf("the entries become %s", got)
	}
}

func TestManyPoolsMakeNoLongMessage(t *testing.T) {
	var pools []v1beta1.IPAddressPool
	for i := range 100 {
		p := offlinePool("pool-"+strings.Repeat("x", i), netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}).String()+"/32")
		p.Spec.AutoAssign = ptr.To(false)
		pools = append(pools, p)
	}
	r := offline(t, pools...)
	for _, edit := range []func(*corev1.Service){annotate(), annotate("metallb.io/address-pool", "p"), annotate("metallb.io/loadBalancerIPs", "192.0.2.1")} {
		if text := decided(t, r, offlineService("s", edit)).condition.Message; len(text) > 1000 || !strings.Contains(text, "92 more") {
			t.Errorf("%d bytes: %s", len(text), text)
		}
	}
}

// TestStripKeepsWhatIsUsed decides on whole and on stripped Services.
func TestStripKeepsWhatIsUsed(t *testing.T) {
	meant := offlinePool("meant", "198.51.100.0/30")
	meant.Spec.ServiceAllocation = &v1beta1.ServiceAllocation{ServiceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"app": "web"}}}}
	entry := func(svc *corev1.Service) {
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.2"}}
		svc.Status.Conditions = []metav1.Condition{{Type: "example.com/Other"}}
	}
	for name, edits := range map[string][]func(*corev1.Service){
		"plain":             nil,
		"with an address":   {entry, annotate(lbservice.Prefix+lbservice.AllocatedFrom, "meant")},
		"not ours any more": {entry, annotate(lbservice.Prefix+lbservice.AllocatedFrom, "meant", "example.com/x", "y"), func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeClusterIP }},
		"another class":     {func(svc *corev1.Service) { svc.Spec.LoadBalancerClass = ptr.To("example.com/x") }},
		"by field":          {func(svc *corev1.Service) { svc.Spec.LoadBalancerIP = "198.51.100.3" }},
		"dual stack":        {families(corev1.IPFamilyPolicyRequireDualStack, "IPv6", "IPv4")},
		"cluster addresses": {func(svc *corev1.Service) { svc.Spec.IPFamilies, svc.Spec.ClusterIPs = nil, []string{"10.96.0.1"} }},
		"deprecated":        {annotate("metallb.universe.tf/address-pool", "meant", "metallb.universe.tf/allow-shared-ip", "k")},
		"local, shared": {annotate("metallb.io/allow-shared-ip", "k"), func(svc *corev1.Service) {
			svc.Spec.ExternalTrafficPolicy, svc.Spec.Selector = corev1.ServiceExternalTrafficPolicyLocal, map[string]string{"a": "b"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			whole := offlineService("s", edits...)
			whole.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
			stripped := whole.DeepCopy()
			if out, err := transform(stripped); err != nil || out != any(stripped) {
				t.Fatal(out, err)
			}
			if stripped.ManagedFields != nil || stripped.Annotations["example.com/x"] != "" {
				t.Error("nothing is stripped")
			}
			now := metav1.Now()
			outcome := func(svc *corev1.Service) (string, []event) {
				d := decided(t, offline(t, meant, offlinePool("holders", "192.0.2.0/32")), svc)
				if d.condition != nil {
					d.condition.LastTransitionTime = now
				}
				return string(d.patch(svc)), d.events(svc)
			}
			wantPatch, wantEvents := outcome(whole)
			gotPatch, gotEvents := outcome(stripped)
			if diff := cmp.Diff(wantPatch, gotPatch) + cmp.Diff(wantEvents, gotEvents, cmp.AllowUnexported(event{})); diff != "" {
				t.Errorf("(-whole +stripped):\n%s", diff)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	p := offlinePool("p", "192.0.2.0/30", "2001:db8::/126")
	p.Spec.Reservations = []v1beta1.Reservation{{Addresses: []string{"192.0.2.2", "192.0.2.3", "2001:db8::3"}, Namespace: "bank"}}
	r := offline(t, p)
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(r); err != nil {
		t.Fatal(err)
	}
	want := `
# HELP metallb_allocator_addresses_in_use_total Number of addresses of a pool that Services have.
# TYPE metallb_allocator_addresses_in_use_total gauge
metallb_allocator_addresses_in_use_total{pool="p"} 1
# HELP metallb_allocator_addresses_reserved_total Number of addresses of a pool that nobody has and that are reserved for some.
# TYPE metallb_allocator_addresses_reserved_total gauge
metallb_allocator_addresses_reserved_total{pool="p"} 3
# HELP metallb_allocator_addresses_total Number of addresses of a pool.
# TYPE metallb_allocator_addresses_total gauge
metallb_allocator_addresses_total{pool="p"} 8
# HELP metallb_allocator_ipv4_addresses_in_use_total Number of IPv4 addresses of a pool that Services have.
# TYPE metallb_allocator_ipv4_addresses_in_use_total gauge
metallb_allocator_ipv4_addresses_in_use_total{pool="p"} 1
# HELP metallb_allocator_ipv4_addresses_total Number of IPv4 addresses of a pool.
# TYPE metallb_allocator_ipv4_addresses_total gauge
metallb_allocator_ipv4_addresses_total{pool="p"} 4
# HELP metallb_allocator_ipv6_addresses_in_use_total Number of IPv6 addresses of a pool that Services have.
# TYPE metallb_allocator_ipv6_addresses_in_use_total gauge
metallb_allocator_ipv6_addresses_in_use_total{pool="p"} 0
# HELP metallb_allocator_ipv6_addresses_total Number of IPv6 addresses of a pool.
# TYPE metallb_allocator_ipv6_addresses_total gauge
metallb_allocator_ipv6_addresses_total{pool="p"} 4
# HELP metallb_allocator_services_allocated_total Number of Services that have addresses of a pool.
# TYPE metallb_allocator_services_allocated_total gauge
metallb_allocator_services_allocated_total{pool="p"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "metallb_allocator_addresses_in_use_total", "metallb_allocator_addresses_total",
		"metallb_allocator_ipv4_addresses_in_use_total", "metallb_allocator_ipv4_addresses_total", "metallb_allocator_ipv6_addresses_in_use_total", "metallb_allocator_ipv6_addresses_total",
		"metallb_allocator_services_allocated_total", "metallb_allocator_addresses_reserved_total"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"metallb_k8s_client_updates_total", "metallb_k8s_client_update_errors_total", "metallb_k8s_client_config_loaded_bool", "metallb_k8s_client_config_stale_bool"} {
		if n, err := testutil.GatherAndCount(registry, name); err != nil || n != 1 {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}
