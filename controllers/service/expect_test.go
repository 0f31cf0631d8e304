package service

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// condition of a Service that is about its addresses.
func condition(svc *corev1.Service) *metav1.Condition {
	return findCondition(svc, ConditionAddressAllocated)
}

// state is a Service's outcome in short: its addresses, and the condition's reason unless that is Assigned.
func state(svc *corev1.Service) string {
	out := ingressTexts(svc.Status.LoadBalancer.Ingress)
	switch c := condition(svc); {
	case c == nil:
		out = append(out, "no condition")
	case c.Reason != "Assigned" || c.Status != metav1.ConditionTrue:
		out = append(out, c.Reason)
	}
	return strings.Join(out, " ")
}

// expect waits until a Service's outcome is that, and returns the Service.
func (w *world) expect(name, want string) *corev1.Service {
	w.t.Helper()
	var svc *corev1.Service
	w.eventually(func() string {
		svc = w.get(name)
		if got := state(svc); got != want {
			return fmt.Sprintf("%s has %q, want %q; condition %+v", name, got, want, condition(svc))
		}
		return ""
	})
	return svc
}

// stays watches for a while that a Service's outcome does not change.
func (w *world) stays(name, want string) {
	w.t.Helper()
	for end := time.Now().Add(settle); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got := state(w.get(name)); got != want {
			w.t.Fatalf("%s has %q, should have stayed with %q", name, got, want)
		}
	}
}

// eventually waits until wrong returns nothing.
func (w *world) eventually(wrong func() string) {
	w.t.Helper()
	text := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if text = wrong(); text == "" {
			return
		}
	}
	w.t.Fatal(text)
}

// says makes sure that a Service's condition holds all these words.
func (w *world) says(svc *corev1.Service, words ...string) {
	w.t.Helper()
	for _, word := range words {
		if c := condition(svc); c == nil || !strings.Contains(c.Message, word) {
			w.t.Errorf("the condition of %s does not say %q: %+v", svc.Name, word, c)
		}
	}
}

// told lists the controller's events about an object: reason and how often.
func (w *world) told(obj client.Object) map[string]int32 {
	w.t.Helper()
	var events corev1.EventList
	w.must(w.List(context.Background(), &events, client.InNamespace(obj.GetNamespace())))
	out := map[string]int32{}
	for _, e := range events.Items {
		if e.InvolvedObject.UID == obj.GetUID() && e.Source.Component == Component {
			out[e.Reason] += max(e.Count, 1)
		}
	}
	return out
}

// expectEvents waits until exactly these have been told about an object, each as often as it is listed.
func (w *world) expectEvents(obj client.Object, reasons ...string) {
	w.t.Helper()
	want := map[string]int32{}
	for _, r := range reasons {
		want[r]++
	}
	w.eventually(func() string {
		if got := w.told(obj); !maps.Equal(got, want) {
			return fmt.Sprintf("events about %s are %v, want %v", obj.GetName(), got, want)
		}
		return ""
	})
}

// versions returns the resource versions of all Services of the test.
func (w *world) versions() map[string]string {
	w.t.Helper()
	var services corev1.ServiceList
	w.must(w.List(context.Background(), &services, client.InNamespace(w.apps)))
	out := map[string]string{}
	for _, svc := range services.Items {
		out[svc.Name] = svc.ResourceVersion
	}
	return out
}

func (w *world) addressesOnce() {
	w.t.Helper()
	var services corev1.ServiceList
	w.must(w.List(context.Background(), &services, client.InNamespace(w.apps)))
	var all []string
	for _, svc := range services.Items {
		for _, text := range ingressTexts(svc.Status.LoadBalancer.Ingress) {
			if slices.Contains(all, text) {
				w.t.Errorf("%s is given twice", text)
			}
			all = append(all, text)
		}
	}
}
