package certificate

import (
	"context"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"metallb.io/operator/internal/testenv"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(testenv.Run(m))
}

// years is two replicas on the real API server, and a clock that a test sets.
type years struct {
	client.Client
	t        *testing.T
	now      time.Time
	replicas []*Reconciler
	// told is what API servers have been told, and since when.
	told []telling
}

type telling struct {
	since  time.Time
	bundle []byte
}

func newYears(t *testing.T) *years {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(testenv.Config(t), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	y := &years{Client: c, t: t, now: epoch}
	namespace := testenv.Namespace(t, c, nil)
	for range 2 {
		y.replicas = append(y.replicas, y.replica(namespace))
	}
	t.Cleanup(func() {
		configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "test"}}
		if err := c.Delete(context.Background(), configuration); err != nil {
			t.Error(err)
		}
	})
	return y
}

func (y *years) replica(namespace string) *Reconciler {
	return &Reconciler{
		Client: y.Client, Live: y.Client,
		Secret:        types.NamespacedName{Namespace: namespace, Name: "cert"},
		Hosts:         hosts,
		Lifetimes:     DefaultLifetimes,
		Configuration: "test",
		Webhooks: func(bundle []byte) []admissionregistrationv1.ValidatingWebhook {
			return []admissionregistrationv1.ValidatingWebhook{{
				Name:                    "test.example.com",
				ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1/"), CABundle: bundle},
				FailurePolicy:           ptr.To(admissionregistrationv1.Fail),
				MatchPolicy:             ptr.To(admissionregistrationv1.Equivalent),
				NamespaceSelector:       &metav1.LabelSelector{},
				ObjectSelector:          &metav1.LabelSelector{},
				SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
				TimeoutSeconds:          ptr.To[int32](1),
				AdmissionReviewVersions: []string{"v1"},
			}}
		},
		CRD: "bgppeers.metallb.io",
		Conversion: func(bundle []byte) *apiextensionsv1.CustomResourceConversion {
			return &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
				ClientConfig:             &apiextensionsv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1/"), CABundle: bundle},
				ConversionReviewVersions: []string{"v1"},
			}}
		},
		Now: func() time.Time { return y.now },
	}
}

// pass runs a replica, again while it asks to come back at once.
func (y *years) pass(r *Reconciler) time.Duration {
	y.t.Helper()
	for {
		result, err := r.Reconcile(y.t.Context(), reconcile.Request{})
		if err != nil {
			y.t.Fatal(err)
		}
		y.listen(r)
		if result.RequeueAfter > again {
			return result.RequeueAfter
		}
	}
}

// listen is an API server that learns what it is told.
func (y *years) listen(r *Reconciler) {
	y.t.Helper()
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	if err := y.Get(y.t.Context(), types.NamespacedName{Name: r.Configuration}, configuration); err != nil {
		y.t.Fatal(err)
	}
	bundle := configuration.Webhooks[0].ClientConfig.CABundle
	if n := len(y.told); n == 0 || string(y.told[n-1].bundle) != string(bundle) {
		y.told = append(y.told, telling{y.now, bundle})
	}
}

// verify fails the test unless each API server accepts each replica, also one that is behind by almost as long as is waited
// for it.
func (y *years) verify() {
	y.t.Helper()
	behind := y.now.Add(-DefaultLifetimes.settle() + time.Second)
	for i := len(y.told) - 1; i >= 0; i-- {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(y.told[i].bundle)
		for n, r := range y.replicas {
			cert, err := r.GetCertificate(nil)
			if err != nil {
				continue // it has just started
			}
			if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host, CurrentTime: y.now}); err != nil {
				y.t.Fatalf("at %s replica %d is not accepted with the bundle told at %s: %v", y.now, n, y.told[i].since, err)
			}
		}
		if y.told[i].since.Before(behind) {
			return
		}
	}
}

// Twelve years with two replicas, of which now one, now the other is first, and one is started anew now and then, with a
// Secret that is deleted and damaged: at each moment API servers accept both.
func TestYearsPass(t *testing.T) {
	y := newYears(t)
	random := rand.New(rand.NewPCG(1, 2))
	namespace := y.replicas[0].Secret.Namespace
	end := epoch.AddDate(12, 0, 0)
	authorities := map[string]bool{}
	rounds := 0
	for y.now.Before(end) {
		rounds++
		first := random.IntN(2)
		next := y.pass(y.replicas[first])
		y.verify()
		next = min(next, y.pass(y.replicas[1-first]))
		y.verify()
		secret := &corev1.Secret{}
		if err := y.Get(t.Context(), y.replicas[0].Secret, secret); err != nil {
			t.Fatal(err)
		}
		authorities[string(parseAuthorities(secret.Data[AuthoritiesKey])[0].Raw)] = true
		switch random.IntN(40) {
		case 0:
			y.replicas[first] = y.replica(namespace)
		case 1:
			if err := y.Delete(t.Context(), secret); err != nil {
				t.Fatal(err)
			}
		case 2:
			secret.Data[corev1.TLSCertKey] = []byte("garbage")
			secret.Data[AuthorityKeyKey] = nil
			if err := y.Update(t.Context(), secret); err != nil {
				t.Fatal(err)
			}
		}
		if next < lookAgain { // something is under way
			y.now = y.now.Add(next)
			continue
		}
		y.now = y.now.Add(time.Duration(random.Int64N(int64(20 * 24 * time.Hour))))
	}
	t.Logf("%d rounds, %d authorities", rounds, len(authorities))
	if len(authorities) < 4 {
		t.Errorf("%d authorities in twelve years", len(authorities))
	}
}

// Whatever else fails, what can be told is told; and the probe says why the replica is not ready.
// Whoever deletes the operator's namespace leaves no webhooks behind; and what others say of owners stays.
func TestTheWebhooksGoWithTheNamespace(t *testing.T) {
	y := newYears(t)
	r := y.replicas[0]
	y.pass(r)
	ns := &corev1.Namespace{}
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	owned := func() {
		t.Helper()
		if err := errors.Join(y.Get(t.Context(), types.NamespacedName{Name: r.Secret.Namespace}, ns), y.Get(t.Context(), types.NamespacedName{Name: r.Configuration}, configuration)); err != nil {
			t.Fatal(err)
		}
		if o := configuration.OwnerReferences; len(o) != 1 || o[0].Kind != "Namespace" || o[0].UID != ns.UID || len(configuration.Webhooks) != 1 {
			t.Errorf("%d webhooks, whose owners are %v", len(configuration.Webhooks), o)
		}
	}
	owned()
	version := configuration.ResourceVersion
	y.pass(r)
	owned()
	if configuration.ResourceVersion != version {
		t.Error("it was written without a change")
	}
	configuration.OwnerReferences = nil
	if err := y.Update(t.Context(), configuration); err != nil {
		t.Fatal(err)
	}
	y.pass(r)
	owned()
}

func TestACRDThatIsMissing(t *testing.T) {
	y := newYears(t)
	r := y.replicas[0]
	if err := r.Ready(nil); err == nil || err.Error() != "no serving certificate yet" {
		t.Errorf("before the first pass: %v", err)
	}
	r.CRD = "absent.metallb.io"
	_, err := r.Reconcile(t.Context(), reconcile.Request{})
	if err == nil || err.Error() != "CustomResourceDefinition absent.metallb.io is missing: install it with the operator's manifests" {
		t.Errorf("got %v", err)
	}
	if err := r.Ready(nil); err == nil || err.Error() != "the API server has not been told yet to trust the serving certificate" {
		t.Errorf("without the CRD: %v", err)
	}
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	if err := y.Get(t.Context(), types.NamespacedName{Name: r.Configuration}, configuration); err != nil || len(configuration.Webhooks) != 1 {
		t.Errorf("the webhooks are not told: %v", err)
	}
	r.CRD = "bgppeers.metallb.io"
	y.pass(r)
	if err := r.Ready(nil); err != nil {
		t.Errorf("with the CRD: %v", err)
	}
	y.now = y.now.Add(2 * DefaultLifetimes.Serving)
	if err := r.Ready(nil); err == nil || err.Error() != "the serving certificate has expired" {
		t.Errorf("two lives later: %v", err)
	}
}
