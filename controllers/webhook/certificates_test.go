package webhook

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/controllers/certificate"
)

// traffic is requests that need the webhooks, without a pause: good ones, bad ones and ones that are converted.
type traffic struct {
	stop         func()
	made, failed atomic.Int64
	mu           sync.Mutex
	first        []error
}

// admit starts traffic, and makes the test fail at its end if a single request fails.
func (w *world) admit() *traffic {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	x := &traffic{}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				err := w.ask(fmt.Sprintf("w%d-%d", worker, i), i)
				x.made.Add(1)
				if err == nil {
					continue
				}
				x.failed.Add(1)
				x.mu.Lock()
				if len(x.first) < 5 {
					x.first = append(x.first, fmt.Errorf("%s: %w", time.Now().Format("15:04:05.000"), err))
				}
				x.mu.Unlock()
			}
		})
	}
	x.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		w.t.Logf("%d requests, %d failed", x.made.Load(), x.failed.Load())
		if x.made.Load() < 20 { // a busy machine makes few, but none at all would pass unseen
			w.t.Errorf("%d requests show nothing", x.made.Load())
		}
		for _, err := range x.first {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(x.stop)
	return x
}

// ask makes one request, as a dry run.
func (w *world) ask(name string, i int) error {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	switch i % 3 {
	case 0:
		return w.Create(ctx, pool(operatorNamespace, name, "192.0.2.0/28"), client.DryRunAll)
	case 1:
		return w.Create(ctx, &v1beta1.BGPPeer{
			ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: name},
			Spec:       v1beta1.BGPPeerSpec{MyASN: 64512, ASN: 64513, Address: "192.0.2.1"},
		}, client.DryRunAll)
	}
	if err := w.Create(ctx, overlapping(operatorNamespace, name), client.DryRunAll); !apierrors.IsInvalid(err) {
		return fmt.Errorf("a pool that overlaps itself is not refused: %w", err)
	}
	return nil
}

func (w *world) secret() *corev1.Secret {
	w.t.Helper()
	s := &corev1.Secret{}
	if err := w.Get(context.Background(), types.NamespacedName{Namespace: operatorNamespace, Name: SecretName}, s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// bundles are the CA bundles of all webhooks and of the conversion.
func (w *world) bundles() ([][]byte, error) {
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := errors.Join(w.Get(context.Background(), types.NamespacedName{Name: Configuration}, configuration),
		w.Get(context.Background(), types.NamespacedName{Name: ConvertedCRD}, crd)); err != nil {
		return nil, err
	}
	if len(configuration.Webhooks) != len(kinds)+1 || crd.Spec.Conversion.Webhook == nil {
		return nil, fmt.Errorf("%d webhooks, conversion %+v", len(configuration.Webhooks), crd.Spec.Conversion)
	}
	out := [][]byte{crd.Spec.Conversion.Webhook.ClientConfig.CABundle}
	for _, h := range configuration.Webhooks {
		out = append(out, h.ClientConfig.CABundle)
	}
	return out, nil
}

// bundled waits until all bundles are the authorities of the Secret.
func (w *world) bundled() {
	w.t.Helper()
	eventually(w.t, func() error {
		secret := &corev1.Secret{}
		if err := w.Get(context.Background(), types.NamespacedName{Namespace: operatorNamespace, Name: SecretName}, secret); err != nil {
			return err
		}
		want := secret.Data[certificate.AuthoritiesKey]
		all, err := w.bundles()
		for _, b := range all {
			if len(want) == 0 || !bytes.Equal(b, want) {
				err = errors.Join(err, errors.New("a bundle is not what the Secret holds"))
			}
		}
		return err
	})
}

func TestRequestsGoOnWhateverHappensToTheCertificates(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.start()
	w.reviewed()
	x := w.admit()
	forEachHarm(t, w, func(t *testing.T, harm func() error) {
		before := x.made.Load()
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { // it may take a moment until the Secret is as it should be
			s := &corev1.Secret{}
			if err := w.Get(t.Context(), types.NamespacedName{Namespace: operatorNamespace, Name: SecretName}, s); err != nil {
				return err
			}
			for _, key := range []string{certificate.AuthoritiesKey, certificate.AuthorityKeyKey, corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
				if block, _ := pem.Decode(s.Data[key]); block == nil {
					return fmt.Errorf("the Secret has no %s", key)
				}
			}
			return nil
		})
		w.bundled()
		eventually(t, func() error {
			if x.made.Load() < before+30 {
				return errors.New("too few requests since")
			}
			return nil
		})
		if n := x.failed.Load(); n > 0 {
			t.Errorf("%d requests failed", n)
		}
	})
	x.stop()
}

// forEachHarm runs a subtest for each thing that people do to the objects.
func forEachHarm(t *testing.T, w *world, f func(t *testing.T, harm func() error)) {
	t.Helper()
	ctx := context.Background()
	data := func(change func(map[string][]byte)) func() error {
		return func() error {
			s := w.secret()
			change(s.Data)
			return w.Update(ctx, s)
		}
	}
	for _, c := range []struct {
		name string
		harm func() error
	}{
		{"the Secret is deleted", func() error { return w.Delete(ctx, w.secret()) }},
		{"the Secret is emptied", data(func(d map[string][]byte) { clear(d) })},
		{"the certificate is garbage", data(func(d map[string][]byte) { d[corev1.TLSCertKey] = []byte("garbage") })},
		{"the authority's key is garbage", data(func(d map[string][]byte) { d[certificate.AuthorityKeyKey] = []byte("garbage") })},
		{"the authorities are garbage", data(func(d map[string][]byte) { d[certificate.AuthoritiesKey] = []byte("garbage") })},
		{"the configuration is applied again", func() error {
			for _, o := range manifests(t) {
				w.apply(o, "kubectl")
			}
			return nil
		}},
		{"the CRD is applied again", func() error {
			for _, o := range crds(t) {
				w.apply(o, "kubectl")
			}
			return nil
		}},
		{"the rotation is asked for by removing the authority's key", data(func(d map[string][]byte) { delete(d, certificate.AuthorityKeyKey) })},
	} {
		t.Run(c.name, func(t *testing.T) { f(t, c.harm) })
	}
}

// Edits of what the API server is told break requests until they are undone, so there is no traffic here.
func TestWhatTheAPIServerIsToldIsRestored(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.reviewed()
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: Configuration}}
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: ConvertedCRD}}
	patch := func(o client.Object, kind types.PatchType, text string) func() error {
		return func() error { return w.Patch(t.Context(), o, client.RawPatch(kind, []byte(text))) }
	}
	for name, edit := range map[string]func() error{
		"a bundle is removed":       patch(configuration, types.JSONPatchType, `[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`),
		"a webhook is removed":      patch(configuration, types.JSONPatchType, `[{"op":"remove","path":"/webhooks/3"}]`),
		"all webhooks are removed":  patch(configuration, types.MergePatchType, `{"webhooks":null}`),
		"failures are ignored":      patch(configuration, types.JSONPatchType, `[{"op":"replace","path":"/webhooks/1/failurePolicy","value":"Ignore"}]`),
		"a namespace is left out":   patch(configuration, types.JSONPatchType, `[{"op":"add","path":"/webhooks/1/namespaceSelector/matchLabels","value":{"a":"b"}}]`),
		"the configuration is gone": func() error { return w.Delete(t.Context(), configuration) },
		"the conversion is removed": patch(crd, types.MergePatchType, `{"spec":{"conversion":{"strategy":"None","webhook":null}}}`),
		"the conversion is elsewhere": patch(crd, types.MergePatchType,
			`{"spec":{"conversion":{"webhook":{"clientConfig":{"url":null,"caBundle":null,"service":{"namespace":"x","name":"y"}}}}}}`),
	} {
		t.Run(name, func(t *testing.T) {
			if err := edit(); err != nil {
				t.Fatal(err)
			}
			w.bundled()
			want := Server{URL: w.front.url}.Webhooks(w.secret().Data[certificate.AuthoritiesKey])
			now := &admissionregistrationv1.ValidatingWebhookConfiguration{}
			eventually(t, func() error {
				if err := w.Get(t.Context(), types.NamespacedName{Name: Configuration}, now); err != nil {
					return err
				}
				if len(now.Webhooks) != len(want) || *now.Webhooks[1].FailurePolicy != admissionregistrationv1.Fail || now.Webhooks[1].NamespaceSelector.MatchLabels != nil {
					return errors.New("the webhooks are not restored")
				}
				return nil
			})
			eventually(t, func() error { return w.ask("again", 1) })
			w.reviewed()
		})
	}
}

func TestAuthoritiesAreReplacedWithoutAFailedRequest(t *testing.T) {
	w := newWorld(t)
	// As short as can be: the API server has two seconds to learn of a new authority, and takes one on a busy machine.
	w.lifetimes = certificate.Lifetimes{Authority: 24 * time.Second, Serving: 10 * time.Second}
	w.start()
	w.start()
	w.reviewed()
	x := w.admit()
	authorities, certificates := map[string]bool{}, map[string]bool{}
	began := time.Now()
	for len(authorities) < 3 {
		if time.Since(began) > 2*time.Minute {
			t.Fatalf("%d authorities in two minutes", len(authorities))
		}
		data := w.secret().Data
		block, _ := pem.Decode(data[certificate.AuthoritiesKey])
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		authorities[cert.SerialNumber.String()] = true
		certificates[string(data[corev1.TLSCertKey])] = true
		time.Sleep(20 * time.Millisecond)
	}
	x.stop()
	t.Logf("%d authorities and %d serving certificates in %s", len(authorities), len(certificates), time.Since(began).Round(time.Second))
	if n := bytes.Count(w.secret().Data[certificate.AuthoritiesKey], []byte("BEGIN")); n > 3 {
		t.Errorf("%d authorities are trusted: old ones are not dropped", n)
	}
}

func TestAReplicaThatStopsFailsNoRequest(t *testing.T) {
	w := newWorld(t)
	first := w.start()
	w.reviewed()
	x := w.admit()
	second := w.start()
	first.stop()
	w.start()
	second.stop()
	time.Sleep(200 * time.Millisecond)
	x.stop()
}

// An operator that waits for its Lease serves, and makes what it needs for that.
func TestNoLeaseIsNeeded(t *testing.T) {
	w := newWorld(t)
	ns := operatorNamespace
	elect := func(o *ctrl.Options) {
		o.LeaderElection, o.LeaderElectionID, o.LeaderElectionNamespace = true, "metallb-operator", ns
		o.LeaderElectionReleaseOnCancel = true
	}
	w.start(elect)
	second := w.start(elect)
	w.reviewed()
	if err := w.Delete(t.Context(), w.secret()); err != nil {
		t.Fatal(err)
	}
	w.bundled()
	eventually(t, func() error { return second.rotation.Ready(nil) })
}
