package service

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"metallb.io/operator/api/v1alpha1"
	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/controllers/pool"
	"metallb.io/operator/internal/apiserver"
	"metallb.io/operator/internal/lbservice"
	"metallb.io/operator/internal/testenv"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	recheckSecrets = time.Second
	grace, lookAgain, sweepEvery, listen = settle, settle, settle, settle
	os.Exit(testenv.Run(m))
}

// patience is how long a test waits for what must happen; settle is how long it watches that nothing happens.
const (
	patience = 20 * time.Second
	settle   = 300 * time.Millisecond
)

// world is one test's view of the API server: a namespace with the configuration and the controller's identity, and a
// namespace with Services. Nothing of it is left to the next test.
type world struct {
	client.Client
	t         testing.TB
	scheme    *kruntime.Scheme
	admin     *rest.Config
	namespace string // of the configuration
	apps      string // of the Services
	class     lbservice.Class
	pod       string // of the controller; empty: none
	wrap      func(client.WithWatch) client.Client
	// belongings to run beside the reconciler; clients and namespace are filled in.
	belongings *Belongings
	stop       func()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, admin: testenv.Config(t), scheme: kruntime.NewScheme()}
	if err := errors.Join(clientgoscheme.AddToScheme(w.scheme), v1beta1.AddToScheme(w.scheme), v1alpha1.AddToScheme(w.scheme), v1beta2.AddToScheme(w.scheme)); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.Client, err = client.New(w.admin, client.Options{Scheme: w.scheme}); err != nil {
		t.Fatal(err)
	}
	w.namespace = testenv.Namespace(t, w, nil)
	w.apps = testenv.Namespace(t, w, map[string]string{"team": "a"})
	w.bindRoles()
	t.Cleanup(func() {
		w.halt()
		for _, ns := range []string{w.namespace, w.apps} {
			var services corev1.ServiceList
			w.must(w.List(context.Background(), &services, client.InNamespace(ns)))
			for i := range services.Items {
				w.must(client.IgnoreNotFound(w.Delete(context.Background(), &services.Items[i])))
			}
		}
	})
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// identity is the ServiceAccount that the controller runs as.
func (w *world) identity() string { return "system:serviceaccount:" + w.namespace + ":controller" }

// bindRoles gives the controller's identity the roles that installations have, and nothing else.
func (w *world) bindRoles() {
	root, err := testenv.Root()
	w.must(err)
	for _, obj := range w.decode(filepath.Join(root, "config", "rbac", "controller_role.yaml")) {
		if err := w.Create(context.Background(), obj); !apierrors.IsAlreadyExists(err) {
			w.must(err)
		}
	}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.namespace, Name: "controller"}}
	role := func(name string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
	}
	w.make(&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: w.namespace + "-controller"}, RoleRef: role("metallb-controller"), Subjects: subjects})
	w.make(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "controller"}, RoleRef: role("metallb-controller-local"), Subjects: subjects})
}

// decode reads a file of YAML documents.
func (w *world) decode(path string) []*unstructured.Unstructured {
	w.t.Helper()
	data, err := os.ReadFile(path)
	w.must(err)
	var out []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		obj := &unstructured.Unstructured{}
		err := decoder.Decode(&obj.Object)
		if errors.Is(err, io.EOF) {
			return out
		}
		w.must(err)
		if len(obj.Object) > 0 {
			out = append(out, obj)
		}
	}
}

// apply creates what a file of testdata holds: configuration in the one namespace, everything else in the other.
func (w *world) apply(path string) {
	w.t.Helper()
	for _, obj := range w.decode(filepath.Join("testdata", path)) {
		obj.SetNamespace(w.apps)
		if obj.GroupVersionKind().Group == v1beta1.GroupVersion.Group {
			obj.SetNamespace(w.namespace)
		}
		w.make(obj)
	}
}

func (w *world) make(obj client.Object) {
	w.t.Helper()
	w.must(w.Create(context.Background(), obj))
}

// start runs a controller until halt. It may be called again: that is a restart.
func (w *world) start() {
	w.t.Helper()
	w.stop = w.run(func(*ctrl.Options) {})
}

// as returns access as the controller's identity.
func (w *world) as() *rest.Config {
	identity := rest.CopyConfig(w.admin)
	identity.Impersonate = rest.ImpersonationConfig{UserName: w.identity(), Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	return identity
}

// run runs a controller and returns what ends it.
func (w *world) run(edit func(*ctrl.Options)) func() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	events, err := typedcorev1.NewForConfig(w.as())
	w.must(err)
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: events.Events("")})
	options := ctrl.Options{
		Scheme:     w.scheme,
		Cache:      CacheOptions(w.namespace),
		NewClient:  apiserver.NewWriter,
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: ctrlconfig.Controller{SkipNameValidation: ptr.To(true)},
	}
	edit(&options)
	mgr, err := ctrl.NewManager(w.as(), options)
	w.must(err)
	reconciler := &Reconciler{
		Client:    mgr.GetClient(),
		Live:      mgr.GetAPIReader(),
		Recorder:  broadcaster.NewRecorder(w.scheme, corev1.EventSource{Component: Component}),
		Namespace: w.namespace,
		Class:     w.class,
	}
	live, err := client.New(w.as(), client.Options{Scheme: w.scheme})
	w.must(err)
	reconciler.State = &configuration.State{
		Client: live, Namespace: w.namespace, Name: configuration.ControllerState, Component: configuration.Controller, Pod: w.pod,
	}
	w.must(reconciler.State.SetupWithManager(mgr))
	if w.wrap != nil {
		inner, err := client.NewWithWatch(w.as(), client.Options{Scheme: w.scheme})
		w.must(err)
		reconciler.Client = splitClient{Reader: mgr.GetClient(), Client: w.wrap(inner)}
	}
	w.must(reconciler.SetupWithManager(mgr))
	w.must(mgr.Add(&pool.Reporter{Client: mgr.GetClient(), Namespace: w.namespace, Pools: reconciler.Pools}))
	if w.belongings != nil {
		b := *w.belongings
		b.Client, b.Live, b.Namespace = mgr.GetClient(), mgr.GetAPIReader(), w.namespace
		w.must(mgr.Add(&b))
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the controller ended with: %v", err)
		}
		broadcaster.Shutdown()
	}
}

func (w *world) halt() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// splitClient reads from a cache and writes with another client.
type splitClient struct {
	client.Reader
	client.Client
}

func (c splitClient) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	return c.Reader.Get(ctx, key, obj, opts...)
}

func (c splitClient) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	return c.Reader.List(ctx, list, opts...)
}

// pool makes an IPAddressPool and an advertisement for it. Edits come before it is created.
func (w *world) pool(name, addresses string, edits ...func(*v1beta1.IPAddressPool)) *v1beta1.IPAddressPool {
	w.t.Helper()
	p := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Spec: v1beta1.IPAddressPoolSpec{Addresses: strings.Fields(addresses)}}
	for _, edit := range edits {
		edit(p)
	}
	w.make(p)
	w.make(&v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Spec: v1beta1.L2AdvertisementSpec{IPAddressPools: []string{name}}})
	return p
}

func onRequest(p *v1beta1.IPAddressPool) { p.Spec.AutoAssign = ptr.To(false) }

// service makes a Service of type LoadBalancer with one TCP port.
func (w *world) service(name string, edits ...func(*corev1.Service)) *corev1.Service {
	w.t.Helper()
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.apps, Name: name},
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeLoadBalancer,
			Selector: map[string]string{"app": name},
			Ports:    []corev1.ServicePort{{Name: "web", Port: 80}},
		},
	}
	if w.class.Name != "" {
		svc.Spec.LoadBalancerClass = &w.class.Name
	}
	for _, edit := range edits {
		edit(svc)
	}
	w.make(svc)
	return svc
}

func annotate(kv ...string) func(*corev1.Service) {
	return func(svc *corev1.Service) {
		if svc.Annotations == nil {
			svc.Annotations = map[string]string{}
		}
		for i := 0; i < len(kv); i += 2 {
			svc.Annotations[kv[i]] = kv[i+1]
		}
	}
}

func families(policy corev1.IPFamilyPolicy, in ...corev1.IPFamily) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Spec.IPFamilyPolicy, svc.Spec.IPFamilies = &policy, in }
}

func (w *world) get(name string) *corev1.Service {
	w.t.Helper()
	svc := &corev1.Service{}
	w.must(w.Get(context.Background(), client.ObjectKey{Namespace: w.apps, Name: name}, svc))
	return svc
}

// edit changes a Service, again where somebody else was faster.
func (w *world) edit(name string, change func(*corev1.Service)) {
	w.t.Helper()
	for {
		svc := w.get(name)
		change(svc)
		if err := w.Update(context.Background(), svc); !apierrors.IsConflict(err) {
			w.must(err)
			return
		}
	}
}

func (w *world) editPool(name string, addresses string) {
	w.t.Helper()
	w.changePool(name, func(p *v1beta1.IPAddressPool) { p.Spec.Addresses = strings.Fields(addresses) })
}

func (w *world) changePool(name string, change func(*v1beta1.IPAddressPool)) {
	w.t.Helper()
	p := &v1beta1.IPAddressPool{}
	w.must(w.Get(context.Background(), client.ObjectKey{Namespace: w.namespace, Name: name}, p))
	before := p.DeepCopy()
	change(p)
	w.must(w.Patch(context.Background(), p, client.MergeFrom(before)))
}
