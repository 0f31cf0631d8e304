package olm

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/test/e2e/product"
)

// settled is how long a ClusterServiceVersion must stay Succeeded after an upgrade.
const settled = 15 * time.Second

// life is what the operator's life leaves traces in.
type life struct {
	*OLM
	history    *History
	conditions *Conditions
	catalog    Catalog
	address    netip.Addr // of a Service
}

// offer publishes a next version in the catalog, which the Subscription follows, and waits until OLM has installed it.
func (l *life) offer(t *testing.T, next version, after string) (succeeded time.Time) {
	t.Helper()
	ctx := product.Within(t, 2*patience)
	start := time.Now()
	var err error
	l.catalog, err = l.Extend(ctx, l.catalog, next.dir, next.bundle, after)
	product.Must(t, err)
	product.Must(t, l.Publish(ctx, l.catalog))
	t.Logf("%s is published after %s", next.csv, since(start))
	succeeded, err = l.history.WaitPhase(ctx, next.csv, "Succeeded", 0)
	product.Must(t, err)
	t.Logf("%s first Succeeded %s after its publication began", next.csv, succeeded.Sub(start).Round(100*time.Millisecond))
	return succeeded
}

// upgrade has OLM install the next version, which replaces the operator, the controller and every speaker. Meanwhile the
// Service answers every request.
func (l *life) upgrade(t *testing.T, next version) {
	t.Helper()
	start := time.Now()
	lossless := l.traffic(t)
	admission := l.admissionOutage(t)
	l.offer(t, next, csv)
	rolledOut(t, l.OLM, next)
	t.Logf("controller and speakers are of %s %s after its publication began", next.number, since(start))
	for _, want := range []struct {
		status metav1.ConditionStatus
		reason string
	}{{"False", "RollingOut"}, {"True", "AsExpected"}} {
		_, err := l.conditions.Wait(product.Within(t, patience), next.csv, want.status, want.reason, start)
		product.Must(t, err)
	}
	stillSucceeded(t, l.history, next.csv, settled)
	lossless("while operator, controller and speakers were upgraded")
	t.Logf("admission: %s", admission())
	t.Logf("what OLM did:\n%sand knew:\n%s", lines(l.history.Since(start)), l.conditions.Since(start))
	if last, err := l.history.Last(csv); err != nil || last.Phase != gone {
		t.Errorf("%s is still there: %s, %v", csv, last, err)
	}
	oneHealthyPod(t, l.OLM)
}

// traffic begins to send requests to the Service. What it returns ends that, and fails the test if more was lost than a busy
// machine can cost.
func (l *life) traffic(t *testing.T) (lossless func(when string)) {
	users := l.Users(t.Context(), netip.AddrPortFrom(l.address, 33001))
	return func(when string) {
		t.Helper()
		for machine, fared := range users.Stop() {
			t.Logf("%s %s: %s", machine, when, fared)
			if err := fared.Check(); err != nil {
				t.Errorf("%s %s: %v", machine, when, err)
			}
		}
	}
}

// outage is how a stream of requests fared.
type outage struct {
	made, failed int
	longest      time.Duration // from the first of a row of failures to the next answer
}

func (o outage) String() string {
	return fmt.Sprintf("%d requests, %d without an answer of the operator's, over at most %s", o.made, o.failed, o.longest.Round(100*time.Millisecond))
}

// admissionOutage asks the operator's webhooks about a pool that is wrong, ten times a second. What it returns ends that
// and says how it went.
func (l *life) admissionOutage(t *testing.T) (ended func() string) {
	ctx, stop := context.WithCancel(t.Context())
	result := make(chan outage, 1)
	go func() { result <- l.askAdmission(ctx) }()
	return func() string {
		stop()
		return (<-result).String()
	}
}

func (l *life) askAdmission(ctx context.Context) (seen outage) {
	wrong := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: metallbNamespace, Name: "wrong"},
		Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"198.51.100.0/28", "198.51.100.1/32"}}}
	var down time.Time
	for ctx.Err() == nil {
		err := l.Create(ctx, wrong.DeepCopy(), client.DryRunAll)
		if ctx.Err() != nil {
			break
		}
		seen.made++
		if apierrors.IsInvalid(err) {
			if !down.IsZero() {
				seen.longest = max(seen.longest, time.Since(down))
			}
			down = time.Time{}
		} else {
			seen.failed++
			if down.IsZero() {
				down = time.Now()
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return seen
}
