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

// TestReservation has a Service that goes and comes back while others take all that is free.
func TestReservation(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.start()
	w.pool("p", "192.0.2.0/31", func(p *v1beta1.IPAddressPool) {
		p.Spec.Reservations = []v1beta1.Reservation{{Addresses: []string{"192.0.2.1"}, Namespace: w.apps, ServiceName: "web"}}
	})
	w.service("web")
	w.expect("web", "192.0.2.1")
	w.must(w.Delete(ctx, w.get("web")))
	w.service("first")
	w.expect("first", "192.0.2.0")
	w.service("second")
	w.expect("second", "PoolExhausted")
	w.service("web")
	w.expect("web", "192.0.2.1")

	w.halt()
	w.must(w.Delete(ctx, w.get("web")))
	w.start()
	w.stays("second", "PoolExhausted")
	expires := metav1.NewTime(time.Now().Add(3 * time.Second).Truncate(time.Second))
	w.changePool("p", func(p *v1beta1.IPAddressPool) { p.Spec.Reservations[0].ExpiresAt = &expires })
	w.expect("second", "192.0.2.1")
	if now := time.Now(); now.Before(expires.Time) || now.After(expires.Add(time.Second)) {
		t.Errorf("the reservation lasted until %s, should have until %s", now, expires.Time)
	}
	w.service("web")
	w.expect("web", "PoolExhausted")
	w.expectReport(v1beta1.ConfigurationValid, "spec.reservations[0].expiresAt: Invalid value")
}

// TestNamespaceQuota has two namespaces share a pool.
func TestNamespaceQuota(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.start()
	w.pool("p", "192.0.2.0/28", func(p *v1beta1.IPAddressPool) { p.Spec.NamespaceQuota = new(int32); *p.Spec.NamespaceQuota = 2 })
	other := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "other"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	for _, name := range []string{"a", "b"} {
		w.service(name)
	}
	w.expect("a", "192.0.2.0")
	w.expect("b", "192.0.2.1")
	w.service("c")
	w.expect("c", "QuotaReached")
	w.make(other)
	w.eventually(func() string { // else it and c would be after the same address, and which is older is chance within a second
		w.must(w.Get(ctx, client.ObjectKeyFromObject(other), other))
		if got := state(other); got != "192.0.2.2" {
			return "other has " + got
		}
		return ""
	})
	w.halt()
	w.start()
	w.expect("c", "QuotaReached")
	w.must(w.Delete(ctx, w.get("a")))
	w.expect("c", "192.0.2.0")
	w.changePool("p", func(p *v1beta1.IPAddressPool) { *p.Spec.NamespaceQuota = 1 })
	w.stays("b", "192.0.2.1")
	w.stays("c", "192.0.2.0")
	w.addressesOnce()
}
