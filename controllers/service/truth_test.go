package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"metallb.io/operator/internal/lbservice"
)

// TestRestartAdopts stops and starts the controller: nothing may change hands, and nothing may be written.
func TestRestartAdopts(t *testing.T) {
	w := newWorld(t)
	w.pool("p", "192.0.2.0/28 2001:db8::/124")
	w.pool("q", "198.51.100.0/28", onRequest)
	w.start()
	want := map[string]string{}
	for i := range 10 {
		name := fmt.Sprintf("s%d", i)
		switch i % 5 {
		case 0:
			w.service(name, families(corev1.IPFamilyPolicySingleStack, "IPv6"))
		case 1:
			w.service(name, annotate("metallb.io/address-pool", "q"))
		case 2:
			w.service(name, annotate("metallb.io/loadBalancerIPs", "203.0.113.1"))
		default:
			w.service(name)
		}
		w.eventually(func() string {
			want[name] = state(w.get(name))
			if want[name] == "no condition" {
				return name + " is not served"
			}
			return ""
		})
	}
	w.must(w.Delete(context.Background(), w.get("s3"))) // leaves a gap that a younger Service must not fall into
	delete(want, "s3")
	w.halt()
	w.service("young")
	versions := w.versions()
	w.start()
	w.expect("young", "192.0.2.0")
	for name, addresses := range want {
		w.stays(name, addresses)
	}
	now := w.versions()
	delete(now, "young")
	delete(versions, "young")
	if !maps.Equal(now, versions) {
		t.Errorf("a restart wrote: versions were %v and are %v", versions, now)
	}
}

// TestNothingIsWrittenWithoutAChange edits what does not concern the controller.
func TestNothingIsWrittenWithoutAChange(t *testing.T) {
	w := newWorld(t)
	w.pool("p", "192.0.2.0/28")
	w.start()
	w.service("a")
	svc := w.expect("a", "192.0.2.0")
	if mode := svc.Status.LoadBalancer.Ingress[0].IPMode; mode == nil || *mode != corev1.LoadBalancerIPModeVIP {
		t.Errorf("ipMode is %v: the API server is expected to fill it in", mode)
	}

	// Another's condition, ports of the entry, labels.
	svc.Status.Conditions = append(svc.Status.Conditions, metav1.Condition{Type: "example.com/Other", Status: metav1.ConditionTrue, Reason: "Fine", LastTransitionTime: metav1.Now()})
	svc.Status.LoadBalancer.Ingress[0].IPMode = ptr.To(corev1.LoadBalancerIPModeProxy)
	w.must(w.Status().Update(context.Background(), svc))
	w.edit("a", func(svc *corev1.Service) { svc.Labels = map[string]string{"x": "y"} })
	version := w.versions()["a"]
	w.stays("a", "192.0.2.0")
	if now := w.versions()["a"]; now != version {
		t.Errorf("the version was %s and is %s", version, now)
	}

	// And a real change leaves them.
	w.edit("a", annotate("metallb.io/loadBalancerIPs", "203.0.113.1"))
	svc = w.expect("a", "192.0.2.0 AddressOutsidePools")
	if len(svc.Status.Conditions) != 2 || *svc.Status.LoadBalancer.Ingress[0].IPMode != corev1.LoadBalancerIPModeProxy {
		t.Errorf("what others wrote is lost: %+v", svc.Status)
	}
	w.expectEvents(svc, "IPAllocated", "AllocationFailed")
}

// TestWhatOthersWroteStays has other controllers write the status of Services.
func TestWhatOthersWroteStays(t *testing.T) {
	w := newWorld(t)
	w.pool("p", "192.0.2.0/28")
	write := func(name string, entries ...corev1.LoadBalancerIngress) {
		t.Helper()
		svc := w.get(name)
		svc.Status.LoadBalancer.Ingress = entries
		w.must(w.Status().Update(context.Background(), svc))
	}
	other := func(svc *corev1.Service) { svc.Spec.LoadBalancerClass = ptr.To("example.com/other") }
	w.service("theirs", other)
	write("theirs", corev1.LoadBalancerIngress{IP: "192.0.2.5"})
	// A second installation signs in the same way.
	w.service("signed", other, annotate(lbservice.Prefix+lbservice.AllocatedFrom, "p"))
	write("signed", corev1.LoadBalancerIngress{IP: "198.51.100.5"})
	w.service("named")
	write("named", corev1.LoadBalancerIngress{Hostname: "lb.example.com"})
	w.service("elsewhere")
	write("elsewhere", corev1.LoadBalancerIngress{IP: "203.0.113.7"})
	w.service("within") // an address of a pool is adopted, whoever wrote it
	write("within", corev1.LoadBalancerIngress{IP: "192.0.2.7"})
	w.start()
	w.expect("within", "192.0.2.7")
	w.expect("named", "lb.example.com ForeignAddress")
	svc := w.expect("elsewhere", "203.0.113.7 ForeignAddress")
	w.says(svc, "given by another controller", "kubectl patch service elsewhere", "loadBalancerClass")
	w.stays("theirs", "192.0.2.5 no condition")
	w.stays("signed", "198.51.100.5 no condition")
	if got := recordedPool(w.get("signed")); got != "p" {
		t.Errorf("the record of the other installation is now %q", got)
	}

	// The advice works, and a pool that has the address ends the matter too.
	write("named")
	w.expect("named", "192.0.2.0")
	w.pool("q", "203.0.113.0/28")
	w.expect("elsewhere", "203.0.113.7")
}

// TestLostWritesLoseNoAddress fails the first writes of each Service.
func TestLostWritesLoseNoAddress(t *testing.T) {
	w := newWorld(t)
	var failing atomic.Bool
	var failed atomic.Int32
	w.wrap = func(c client.WithWatch) client.Client {
		return interceptor.NewClient(c, interceptor.Funcs{
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
				if failing.Load() {
					failed.Add(1)
					return errors.New("the write is lost")
				}
				return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
			},
		})
	}
	w.pool("p", "192.0.2.0/31")
	failing.Store(true)
	w.start()
	w.service("a")
	w.eventually(func() string {
		if failed.Load() < 3 {
			return "the write is not tried again"
		}
		return ""
	})
	w.must(w.Delete(context.Background(), w.get("a")))
	failing.Store(false)
	w.service("b")
	w.expect("b", "192.0.2.0")
	w.service("c")
	w.expect("c", "192.0.2.1")
}

// TestAnAddressIsFreeOnceItsStatusIsWritten fails the writes of a Service that moves: the address that its status still
// shows must not appear in another's, whatever becomes of the controller.
func TestAnAddressIsFreeOnceItsStatusIsWritten(t *testing.T) {
	for name, change := range map[string]func(*corev1.Service){
		"it asks for another pool":       annotate("metallb.io/address-pool", "q"),
		"it is not a load balancer more": func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeClusterIP },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var failing atomic.Bool
			var failed atomic.Int32
			w.wrap = func(c client.WithWatch) client.Client {
				return interceptor.NewClient(c, interceptor.Funcs{
					SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
						if failing.Load() && obj.GetName() == "a" {
							failed.Add(1)
							return errors.New("the write is lost")
						}
						return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
					},
				})
			}
			w.pool("p", "192.0.2.0/32")
			w.pool("q", "198.51.100.0/32", onRequest)
			w.start()
			w.service("a")
			w.expect("a", "192.0.2.0")
			w.service("b")
			w.expect("b", "PoolExhausted")
			failing.Store(true)
			w.edit("a", change)
			// A Service of another type loses its status to the API server itself, which takes no write of ours.
			kept := len(w.get("a").Status.LoadBalancer.Ingress) > 0
			lost := func() string {
				if kept && failed.Load() < 3 {
					return "the write is not tried again"
				}
				return ""
			}
			w.eventually(lost)
			if kept {
				w.stays("b", "PoolExhausted")
				w.halt()
				failed.Store(0)
				w.start()
				w.eventually(lost)
				w.stays("b", "PoolExhausted")
				w.editPool("q", "198.51.100.0/31") // has the allocator rebuilt
				w.stays("b", "PoolExhausted")
			}
			failing.Store(false)
			w.expect("b", "192.0.2.0")
			w.addressesOnce()
		})
	}
}

// TestConflictsAreSettled has somebody else write the same Services all the time.
func TestConflictsAreSettled(t *testing.T) {
	w := newWorld(t)
	w.pool("p", "192.0.2.0/28")
	w.start()
	for i := range 8 {
		name := fmt.Sprintf("s%d", i)
		w.service(name)
		for j := range 20 {
			w.edit(name, func(svc *corev1.Service) { svc.Labels = map[string]string{"x": fmt.Sprint(j)} })
		}
	}
	for i := range 8 {
		svc := w.expect(fmt.Sprintf("s%d", i), fmt.Sprintf("192.0.2.%d", i))
		w.expectEvents(svc, "IPAllocated")
	}
	w.addressesOnce()
}

// TestManyAtOnce creates and deletes Services faster than they are served.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	w.pool("p", "192.0.2.0/27")
	w.start()
	for i := range 40 {
		w.service(fmt.Sprintf("s%02d", i))
		if i%4 == 3 {
			w.must(w.Delete(context.Background(), w.get(fmt.Sprintf("s%02d", i-2))))
		}
	}
	w.eventually(func() string { // 30 Services, 32 addresses
		for name := range w.versions() {
			if svc := w.get(name); len(svc.Status.LoadBalancer.Ingress) != 1 {
				return name + " has no address"
			}
		}
		return ""
	})
	w.addressesOnce()
}

func BenchmarkCreateToAddress(b *testing.B) {
	w := newWorld(b)
	w.pool("p", "10.0.0.0/16")
	w.start()
	w.service("first")
	w.expect("first", "10.0.0.0")
	i := 0
	for b.Loop() {
		i++
		name := fmt.Sprintf("s%d", i)
		w.service(name)
		for len(w.get(name).Status.LoadBalancer.Ingress) == 0 {
			time.Sleep(200 * time.Microsecond)
		}
	}
}
