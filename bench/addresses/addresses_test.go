package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"metallb.io/operator/bench"
)

func TestParseWrites(t *testing.T) {
	const text = `# HELP apiserver_request_total [STABLE] Counter of apiserver requests.
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="services",scope="resource",subresource="status",verb="PATCH",version="v1"} 12
apiserver_request_total{code="409",component="apiserver",dry_run="",group="",resource="services",scope="resource",subresource="status",verb="PATCH",version="v1"} 3
apiserver_request_total{code="201",resource="events",scope="resource",subresource="",verb="POST"} 1.2e+02
apiserver_request_total{code="200",resource="services",scope="cluster",subresource="",verb="LIST"} 7
apiserver_request_total{code="200",resource="od\"d,}",subresource="",verb="PUT"} 1
apiserver_request_total_but_another{verb="PUT"} 99
`
	got, err := parseWrites(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if s, want := got.String(), `POST events 120, PUT od"d,} 1, PATCH services/status 15 (3 failed)`; s != want {
		t.Errorf("writes are %s, want %s", s, want)
	}
	for name, text := range map[string]string{
		"no such metric":         "up 1\n",
		"a label without an end": requestTotal + `{code="200} 1` + "\n",
		"no labels end":          requestTotal + `{code="200" 1` + "\n",
		"no number":              requestTotal + `{code="200"} many` + "\n",
	} {
		if _, err := parseWrites(strings.NewReader(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestWritesSince(t *testing.T) {
	type count = struct{ all, failed int }
	before := writes{{"PATCH", "services/status"}: count{10, 1}, {"PUT", "leases"}: count{5, 0}}
	after := writes{
		{"PATCH", "services/status"}: count{14, 3}, {"PUT", "leases"}: count{5, 0}, {"PUT", "services"}: count{2, 0},
		{"POST", "services"}: count{7, 0}, {"DELETE", "services"}: count{8, 0}, {"POST", "events"}: count{9, 0},
	}
	diff := after.since(before)
	if got, want := diff.String(), "POST events 9, DELETE services 8, POST services 7, PUT services 2, PATCH services/status 4 (2 failed)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if n := diff.of("services"); n != 6 {
		t.Errorf("%d writes of Services, want 6: creations and deletions are not the controller's", n)
	}
	if got := after.since(after); got.String() != "none" || got.of("services") != 0 {
		t.Errorf("nothing is %s", got)
	}
}

func TestParseSizes(t *testing.T) {
	if got, err := parseSizes("1000, 50"); err != nil || !slices.Equal(got, []int{1000, 50}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"", "0", "-5", "x", "1,,2", "60001", "7,7"} {
		if got, err := parseSizes(text); err == nil {
			t.Errorf("%q gives %v", text, got)
		}
	}
}

func TestBarsForTheNumbersAsked(t *testing.T) {
	bars := []bench.Bar{{Measure: bench.PeakRSS, Services: 10000}, {Measure: bench.AllocatorFill}, {Measure: bench.PacedP50, Services: 5000}}
	if got := barsFor(bars, []int{5000}); !slices.Equal(got, bars[1:]) {
		t.Errorf("%v", got)
	}
	measured := []int{1000, 5000, 10000} // by default
	if got := barsFor(bench.Addresses, measured); len(got) != len(bench.Addresses) {
		t.Error("some bars are never judged")
	}
}

func TestPace(t *testing.T) {
	broken := errors.New("broken")
	var calls atomic.Int64
	began := time.Now()
	err := pace(t.Context(), 5, 100, func(context.Context, int) error { calls.Add(1); return nil })
	if err != nil || calls.Load() != 5 || time.Since(began) < 40*time.Millisecond {
		t.Errorf("%v, %d calls in %s", err, calls.Load(), time.Since(began))
	}
	if err := pace(t.Context(), 1000, 100, func(context.Context, int) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("%v, want the first error", err)
	}
}

func TestTracker(t *testing.T) {
	tr := &tracker{versions: map[string]string{}, added: map[string]time.Time{}}
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	svc := func(name, version, ip string) *corev1.Service {
		out := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: version}}
		if ip != "" {
			out.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ip}}
		}
		return out
	}
	have := tr.expect(2, hasAddress("10.64."))
	tr.see(watch.Event{Type: watch.Added, Object: svc("a", "1", "")}, at(1))
	tr.see(watch.Event{Type: watch.Modified, Object: svc("a", "2", "10.64.0.1")}, at(2))
	tr.see(watch.Event{Type: watch.Modified, Object: svc("a", "3", "10.64.0.1")}, at(3)) // counts once, from the first time
	tr.see(watch.Event{Type: watch.Added, Object: svc("b", "4", "198.18.0.1")}, at(4))
	select {
	case <-have.done:
		t.Fatal("an address of another's counts")
	default:
	}
	tr.see(watch.Event{Type: watch.Modified, Object: svc("b", "5", "10.64.0.2")}, at(5))
	last, err := tr.wait(t.Context(), have)
	if err != nil || last != at(5) || have.at["a"] != at(2) || tr.addedAt("a") != at(1) || tr.version("a") != "3" {
		t.Errorf("%v, %v, %v", last, err, have.at)
	}
	if len(tr.goals) != 0 {
		t.Error("goals that were reached are not forgotten")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tr.wait(ctx, tr.expect(1, hasNone)); !errors.Is(err, context.Canceled) {
		t.Errorf("who waits in vain is told %v", err)
	}
	tr.see(watch.Event{Type: watch.Error, Object: &metav1.Status{Message: "too old"}}, at(6))
	if _, err := tr.wait(t.Context(), tr.expect(1, hasNone)); err == nil || !strings.Contains(err.Error(), "too old") {
		t.Errorf("the end of the watch is told as %v", err)
	}
	tr.err = nil
	if tr.see(watch.Event{Type: watch.Deleted, Object: svc("a", "7", "10.64.0.1")}, at(7)); tr.err == nil {
		t.Error("a Service that is gone counts")
	}
}
