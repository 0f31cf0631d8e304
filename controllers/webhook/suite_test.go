package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"metallb.io/operator/api/v1alpha1"
	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/controllers/certificate"
	"metallb.io/operator/internal/testenv"
)

const (
	// operatorNamespace is where config/webhook and config/rbac put things.
	operatorNamespace = "metallb-system"
	// soon is how long a test waits for what takes milliseconds when all is well.
	soon = 30 * time.Second
	// unaware is how long the stand-in for kube-proxy goes on sending to a replica that is not ready any more.
	unaware = 300 * time.Millisecond
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	os.Exit(testenv.Run(m))
}

var scheme = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(s), apiextensionsv1.AddToScheme(s),
		v1alpha1.AddToScheme(s), v1beta1.AddToScheme(s), v1beta2.AddToScheme(s)); err != nil {
		panic(err)
	}
	return s
})

// world is an API server on which the operator's rights and the objects of config/webhook are installed as a user would do
// it. What a test makes of them is gone for the next.
type world struct {
	client.Client // an administrator's
	t             *testing.T
	admin         *rest.Config
	told          *told
	front         *front
	lifetimes     certificate.Lifetimes
	// unreviewed lets everything pass, to store what is wrong.
	unreviewed atomic.Bool
}

// told collects the API server's warnings.
type told struct {
	sync.Mutex
	texts []string
}

func (w *told) HandleWarningHeader(_ int, _ string, text string) {
	w.Lock()
	defer w.Unlock()
	w.texts = append(w.texts, text)
}

// take returns the warnings since the last call.
func (w *told) take() []string {
	w.Lock()
	defer w.Unlock()
	texts := w.texts
	w.texts = nil
	return texts
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, admin: testenv.Config(t), told: &told{}, front: newFront(t), lifetimes: certificate.DefaultLifetimes}
	w.admin.WarningHandler = w.told
	var err error
	if w.Client, err = client.New(w.admin, client.Options{Scheme: scheme()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.clear)
	w.clear() // whatever a test that failed has left
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}}
	if err := client.IgnoreAlreadyExists(w.Create(t.Context(), ns)); err != nil {
		t.Fatal(err)
	}
	for _, o := range manifests(t) {
		w.apply(o, "kubectl")
	}
	return w
}

// manifests are the objects of config/rbac and config/webhook.
func manifests(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for _, dir := range []string{"rbac", "webhook"} {
		files, err := filepath.Glob(filepath.Join(root, "config", dir, "[^u]*.yaml")) // without unmanaged.yaml
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			out = append(out, objects(t, file)...)
		}
	}
	return slices.DeleteFunc(out, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Kustomization" })
}

func objects(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var out []*unstructured.Unstructured
	for dec := utilyaml.NewYAMLOrJSONDecoder(f, 4096); ; {
		o := &unstructured.Unstructured{}
		if err := dec.Decode(&o.Object); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		if len(o.Object) > 0 {
			out = append(out, o)
		}
	}
}

// apply is kubectl apply --server-side, without forcing conflicts.
func (w *world) apply(o *unstructured.Unstructured, as string) {
	w.t.Helper()
	if err := w.Apply(context.Background(), client.ApplyConfigurationFromUnstructured(o.DeepCopy()), client.FieldOwner(as)); err != nil {
		w.t.Fatal(err)
	}
}

// clear takes the webhooks away first: nobody answers any more.
func (w *world) clear() {
	ctx := context.Background()
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: Configuration}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: SecretName}}
	for _, o := range []client.Object{configuration, secret} {
		if err := w.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
			w.t.Error(err)
		}
	}
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: ConvertedCRD}}
	if err := w.Patch(ctx, crd, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"conversion":{"strategy":"None","webhook":null}}}`))); err != nil {
		w.t.Error(err)
	}
	for _, k := range kinds {
		eventually(w.t, func() error { // until the API server has taken the webhooks away
			list := &unstructured.UnstructuredList{}
			list.SetAPIVersion("metallb.io/" + k.version)
			list.SetKind(k.name + "List")
			if err := w.List(ctx, list); err != nil {
				return err
			}
			for i := range list.Items {
				if err := w.Delete(ctx, &list.Items[i]); client.IgnoreNotFound(err) != nil {
					return err
				}
			}
			return nil
		})
	}
}

// replica is a running operator, as far as its webhooks go.
type replica struct {
	rotation *certificate.Reconciler
	listener *Listener
	// stop is SIGTERM and the wait for the end.
	stop func()
}

// operatorConfig is the access of the operator's own ServiceAccount, so that a right that is missing fails a test.
func (w *world) operatorConfig() *rest.Config {
	c := rest.CopyConfig(w.admin)
	c.WarningHandler = rest.NoWarnings{}
	c.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + operatorNamespace + ":metallb-operator",
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + operatorNamespace, "system:authenticated"},
	}
	return c
}

// start runs a replica until the test ends or its stop is called. It is ready when start returns.
func (w *world) start(change ...func(*ctrl.Options)) *replica {
	w.t.Helper()
	server := Server{URL: w.front.url}
	r := &replica{rotation: &certificate.Reconciler{
		Secret:        types.NamespacedName{Namespace: operatorNamespace, Name: SecretName},
		Hosts:         []string{"localhost"},
		Lifetimes:     w.lifetimes,
		Configuration: Configuration, Webhooks: server.Webhooks,
		CRD: ConvertedCRD, Conversion: server.Conversion,
	}}
	options := ctrl.Options{
		Scheme:     scheme(),
		Cache:      cache.Options{ByObject: r.rotation.CacheObjects()},
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: ptr.To(true)}, // more than one in this process
	}
	for _, f := range change {
		f(&options)
	}
	mgr, err := ctrl.NewManager(w.operatorConfig(), options)
	if err != nil {
		w.t.Fatal(err)
	}
	r.rotation.Client, r.rotation.Live = mgr.GetClient(), mgr.GetAPIReader()
	bound := make(chan net.Addr, 1)
	r.listener = &Listener{
		Address: "127.0.0.1:0", Certificate: r.rotation.GetCertificate,
		Handler: w.handler(Handler(mgr.GetAPIReader(), scheme())),
		Bound:   func(a net.Addr) { bound <- a },
	}
	if err := errors.Join(r.rotation.SetupWithManager(mgr), mgr.Add(r.listener)); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(r.listener.Drain(ctx, time.Second)) }()
	var address net.Addr
	select {
	case address = <-bound:
	case err := <-done:
		w.t.Fatal(err)
	case <-time.After(soon):
		w.t.Fatal("the replica does not listen")
	}
	leave := w.front.join(address.String(), func() bool { return r.listener.Ready(nil) == nil && r.rotation.Ready(nil) == nil })
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil && !strings.Contains(err.Error(), "leader election") {
				w.t.Errorf("the operator ended with: %v", err)
			}
		case <-time.After(soon):
			w.t.Error("the operator does not stop")
		}
		leave()
	})
	w.t.Cleanup(r.stop)
	eventually(w.t, func() error { return errors.Join(r.listener.Ready(nil), r.rotation.Ready(nil)) })
	return r
}

// handler can be told to let everything pass.
func (w *world) handler(reviews http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if w.unreviewed.Load() && req.URL.Path != ConversionPath {
			letPass(rw, req)
			return
		}
		reviews.ServeHTTP(rw, req)
	})
}

// reviewed waits until the API server asks the webhooks.
func (w *world) reviewed() {
	w.t.Helper()
	eventually(w.t, func() error {
		err := w.Create(w.t.Context(), overlapping(operatorNamespace, "probe"), client.DryRunAll)
		if apierrors.IsInvalid(err) {
			return nil
		}
		return fmt.Errorf("a pool that overlaps itself: %w", err)
	})
	w.told.take()
}

// overlapping is a pool that only the webhook refuses.
func overlapping(namespace, name string) *v1beta1.IPAddressPool {
	return pool(namespace, name, "192.0.2.0/28", "192.0.2.8/32")
}

func pool(namespace, name string, addresses ...string) *v1beta1.IPAddressPool {
	return &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: addresses},
	}
}

// eventually waits until the function returns no error.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	began := time.Now()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Since(began) > soon {
			t.Fatalf("not within %s: %v", soon, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// crds are the CRDs of config/crd.
func crds(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, filepath.Join(root, "config", "crd", "bases", "metallb.io_bgppeers.yaml"))
}
