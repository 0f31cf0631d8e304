package service

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
)

func TestPoolEdits(t *testing.T) {
	w := newWorld(t)
	w.pool("p", "192.0.2.0-192.0.2.2")
	w.start()
	for _, name := range []string{"a", "b", "c"} {
		w.service(name)
		w.expect(name, map[string]string{"a": "192.0.2.0", "b": "192.0.2.1", "c": "192.0.2.2"}[name])
	}
	before := w.versions()

	// An edit that still has an address takes it from nobody, and nobody is written.
	w.editPool("p", "192.0.2.0/24 198.51.100.0/24")
	w.service("d")
	w.expect("d", "192.0.2.3")
	w.must(w.Delete(context.Background(), w.get("d")))
	after := w.versions()
	for _, name := range []string{"a", "b", "c"} {
		if before[name] != after[name] {
			t.Errorf("%s was written though its address stays", name)
		}
	}

	// An edit without it moves those that lose theirs, and no others.
	w.editPool("p", "192.0.2.1-192.0.2.9")
	a := w.expect("a", "192.0.2.3")
	w.expectEvents(a, "IPAllocated", "ClearAssignment", "IPAllocated")
	if after := w.versions(); before["b"] != after["b"] || before["c"] != after["c"] {
		t.Error("a Service was written though its address stays")
	}

	// An edit that leaves nothing moves all of them, the oldest first.
	w.pool("q", "198.51.100.0/28")
	w.editPool("p", "203.0.113.0/31")
	w.expect("a", "203.0.113.0")
	w.expect("b", "203.0.113.1")
	w.expect("c", "198.51.100.0")
}

// TestPoolUnderAnotherName changes the name that an AddressPool is found by: only the record changes.
func TestPoolUnderAnotherName(t *testing.T) {
	w := newWorld(t)
	p := &v1beta1.AddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "sample"}, Spec: v1beta1.AddressPoolSpec{Name: "before", Protocol: "layer2", Addresses: []string{"192.0.2.0/28"}}}
	w.make(p)
	w.start()
	w.service("a", annotate("metallb.io/loadBalancerIPs", "192.0.2.9"))
	w.expect("a", "192.0.2.9")
	p.Spec.Name = "after"
	w.must(w.Update(context.Background(), p))
	w.eventually(func() string {
		if got := recordedPool(w.get("a")); got != "after" {
			return "the pool is recorded as " + got
		}
		return ""
	})
	w.says(w.expect("a", "192.0.2.9"), "of pool after")
	w.expectEvents(w.get("a"), "IPAllocated")
}

func TestASlipInAPoolTakesNoAddressAway(t *testing.T) {
	w := newWorld(t)
	p := w.pool("p", "192.0.2.0/28 198.51.100.0/28")
	w.start()
	w.service("a")
	w.expect("a", "192.0.2.0")
	w.service("b", annotate("metallb.io/loadBalancerIPs", "198.51.100.7"))
	w.expect("b", "198.51.100.7")

	w.editPool("p", "192.0.2.0/28 198.51.100.15-198.51.100.0")
	w.expectEvents(p, InvalidConfiguration)
	w.stays("a", "192.0.2.0")
	w.stays("b", "198.51.100.7")
	w.service("c", annotate("metallb.io/loadBalancerIPs", "198.51.100.8"))
	w.expect("c", "AddressOutsidePools")

	w.halt()
	w.start()
	w.service("d")
	w.expect("d", "192.0.2.1")
	w.stays("b", "198.51.100.7")

	w.editPool("p", "192.0.2.0/28 198.51.100.0/28")
	w.expect("c", "198.51.100.8")
	w.stays("b", "198.51.100.7")
	w.expectEvents(w.get("b"), "IPAllocated")
}

func TestBadPoolsAreToldAndOthersGoOn(t *testing.T) {
	w := newWorld(t)
	w.pool("good", "192.0.2.0/28")
	w.start()
	w.service("a")
	w.expect("a", "192.0.2.0")
	time.Sleep(1100 * time.Millisecond) // ages are in seconds: what follows is to be the younger
	bad := map[string]*v1beta1.IPAddressPool{}
	for name, addresses := range map[string]string{
		"invalid": "2001:db8:::1-2001:db8::9", // what the CRD's own rules refuse never gets here
		"swapped": "198.51.100.9-198.51.100.1",
		"mixed":   "198.51.100.1-2001:db8::1",
		"overlap": "192.0.2.8/29",
		"mapped":  "::ffff:192.0.2.9/128",
	} {
		bad[name] = w.pool(name, addresses)
	}
	w.make(&v1beta1.AddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "legacy"}, Spec: v1beta1.AddressPoolSpec{Protocol: "layer2", Name: "good", Addresses: []string{"203.0.113.0/28"}}})
	for _, p := range bad {
		w.expectEvents(p, InvalidConfiguration)
	}
	legacy := &v1beta1.AddressPool{}
	w.must(w.Get(context.Background(), client.ObjectKey{Namespace: w.namespace, Name: "legacy"}, legacy))
	w.expectEvents(legacy, InvalidConfiguration)
	w.service("b")
	w.expect("b", "192.0.2.1")
	w.stays("a", "192.0.2.0")

	w.service("c", annotate("metallb.io/address-pool", "swapped"))
	w.says(w.expect("c", "FamilyNotInPool"), "part of it is invalid: see kubectl describe ipaddresspool swapped")
	w.editPool("swapped", "198.51.100.1-198.51.100.9")
	w.expect("c", "198.51.100.1")
	w.expectEvents(bad["swapped"], InvalidConfiguration)
}

func TestWarningsWaitForWhatFollows(t *testing.T) {
	w := newWorld(t)
	w.start()
	p := w.pool("p", "192.0.2.0/28") // its advertisement comes a moment later
	lone := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "lone"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"198.51.100.0/28"}}}
	w.make(lone)
	w.expectEvents(lone, ConfigurationWarning)
	if told := w.told(p); len(told) > 0 {
		t.Errorf("a pool that is advertised has events %v", told)
	}
	w.service("a", annotate("metallb.io/address-pool", "lone"))
	w.expect("a", "198.51.100.0")
	w.halt()
	w.start()
	w.service("b", annotate("metallb.io/address-pool", "lone"))
	w.expect("b", "198.51.100.1")
}

func TestExhaustedPoolServesTheOldestFirst(t *testing.T) {
	w := newWorld(t)
	w.pool("p", "192.0.2.0/32")
	w.start()
	w.service("holder")
	w.expect("holder", "192.0.2.0")
	w.service("older")
	w.expect("older", "PoolExhausted")
	time.Sleep(1100 * time.Millisecond)
	w.service("a-younger")
	w.expect("a-younger", "PoolExhausted")
	versions := w.versions()
	w.must(w.Delete(context.Background(), w.get("holder")))
	w.expect("older", "192.0.2.0")
	w.stays("a-younger", "PoolExhausted")
	if now := w.versions(); now["a-younger"] != versions["a-younger"] {
		t.Error("a Service that still waits was written")
	}
	w.editPool("p", "192.0.2.0/31")
	w.expect("a-younger", "192.0.2.1")
	w.expectEvents(w.get("older"), "AllocationFailed", "IPAllocated")
}

func TestOnlyTheOwnNamespaceCounts(t *testing.T) {
	w := newWorld(t)
	w.start()
	p := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: w.apps, Name: "elsewhere"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.0.2.0/28"}}}
	w.make(p)
	w.service("a")
	w.expect("a", "NoPools")
	w.stays("a", "NoPools")
	var events corev1.EventList
	w.must(w.List(context.Background(), &events, client.InNamespace(w.apps)))
	for _, e := range events.Items {
		if e.InvolvedObject.UID == p.UID {
			t.Errorf("event about a foreign pool: %s", e.Message)
		}
	}
}
