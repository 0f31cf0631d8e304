package legacy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/obs"
	"metallb.io/operator/internal/testenv"
)

// written is everything that has been logged, to look for passwords in.
var written transcript

type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

func TestMain(m *testing.M) {
	handler, err := obs.NewHandler(&written, "all")
	if err != nil {
		panic(err)
	}
	ctrl.SetLogger(logr.FromSlogHandler(handler))
	klog.SetLogger(logr.FromSlogHandler(handler))
	os.Exit(testenv.Run(m))
}

// patience is how long a test waits for what must happen; settle is how long it watches that nothing happens.
const (
	patience = 20 * time.Second
	settle   = 500 * time.Millisecond
)

// world is a namespace and the controller's identity in it.
type world struct {
	client.Client
	t         testing.TB
	scheme    *kruntime.Scheme
	admin     *rest.Config
	namespace string
	// wrap puts something between the reconciler and the API server.
	wrap func(client.WithWatch) client.Client
	stop func()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, admin: testenv.Config(t), scheme: kruntime.NewScheme()}
	w.must(errors.Join(clientgoscheme.AddToScheme(w.scheme), v1beta1.AddToScheme(w.scheme), v1beta2.AddToScheme(w.scheme)))
	w.admin.WarningHandler = rest.NoWarnings{}
	var err error
	w.Client, err = client.New(w.admin, client.Options{Scheme: w.scheme})
	w.must(err)
	w.namespace = testenv.Namespace(t, w, nil)
	w.bindRoles()
	t.Cleanup(w.halt)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// bindRoles gives the controller's identity the roles that installations have, and nothing else.
func (w *world) bindRoles() {
	root, err := testenv.Root()
	w.must(err)
	data, err := os.ReadFile(filepath.Join(root, "config", "rbac", "controller_role.yaml"))
	w.must(err)
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		obj := &unstructured.Unstructured{}
		if err := decoder.Decode(&obj.Object); errors.Is(err, io.EOF) {
			break
		} else if w.must(err); len(obj.Object) > 0 {
			if err := w.Create(context.Background(), obj); !apierrors.IsAlreadyExists(err) {
				w.must(err)
			}
		}
	}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.namespace, Name: "controller"}}
	role := func(name string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
	}
	w.must(w.Create(context.Background(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: w.namespace + "-controller"}, RoleRef: role("metallb-controller"), Subjects: subjects}))
	w.must(w.Create(context.Background(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "controller"}, RoleRef: role("metallb-controller-local"), Subjects: subjects}))
}

// start runs a controller until halt. It may be called again: that is a restart.
func (w *world) start() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	identity := rest.CopyConfig(w.admin)
	identity.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + w.namespace + ":controller", Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	events, err := typedcorev1.NewForConfig(identity)
	w.must(err)
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: events.Events("")})
	here := map[string]cache.Config{w.namespace: {}}
	options := ctrl.Options{
		Scheme:     w.scheme,
		Cache:      cache.Options{DefaultNamespaces: here},
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: ctrlconfig.Controller{SkipNameValidation: ptr.To(true)},
	}
	ExtendCache(&options.Cache, w.namespace)
	mgr, err := ctrl.NewManager(identity, options)
	w.must(err)
	live, err := client.NewWithWatch(identity, client.Options{Scheme: w.scheme})
	w.must(err)
	r := &Reconciler{
		Client: live, Live: live, Namespace: w.namespace,
		Recorder: broadcaster.NewRecorder(w.scheme, corev1.EventSource{Component: "metallb-controller"}),
		State:    &configuration.State{Client: live, Namespace: w.namespace, Name: configuration.ControllerState, Component: configuration.Controller},
	}
	if w.wrap != nil {
		r.Client = w.wrap(live)
	}
	w.must(r.SetupWithManager(mgr))
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	w.stop = func() {
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

// write makes the ConfigMap, or changes it, so that it holds the text.
func (w *world) write(text string) {
	w.t.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: configMap}, Data: map[string]string{"config": text}}
	err := w.Create(context.Background(), cm)
	if apierrors.IsAlreadyExists(err) {
		err = w.Update(context.Background(), cm)
	}
	w.must(err)
}

// seed is a user's text.
func (w *world) seed(name string) string {
	w.t.Helper()
	root, err := testenv.Root()
	w.must(err)
	data, err := os.ReadFile(filepath.Join(root, "internal", "legacy", "testdata", name+".yaml"))
	w.must(err)
	cm := &corev1.ConfigMap{}
	w.must(yaml.Unmarshal(data, cm))
	return cm.Data["config"]
}

// all lists what there is, in a fixed order; the Secrets last.
func (w *world) all() []client.Object {
	w.t.Helper()
	in, err := configuration.Load(context.Background(), w, w.namespace)
	w.must(err)
	inv := inventoryOf(in)
	var secrets corev1.SecretList
	w.must(w.List(context.Background(), &secrets, client.InNamespace(w.namespace)))
	add(inv, "Secret", secrets.Items)
	var keys []id
	for key := range inv {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b id) int { return strings.Compare(a.kind+a.name, b.kind+b.name) })
	var out []client.Object
	for _, key := range keys {
		o := inv[key]
		o.GetObjectKind().SetGroupVersionKind(v1beta1.GroupVersion.WithKind(key.kind))
		out = append(out, o)
	}
	return out
}

// have writes what there is in short: kind/name, with ! where it is a user's.
func (w *world) have() string {
	w.t.Helper()
	var out []string
	for _, o := range w.all() {
		mark := ""
		if !labelled(o) || !owned(o) {
			mark = "!"
		}
		text := o.GetObjectKind().GroupVersionKind().Kind + "/" + o.GetName() + mark
		if a := addresses(o); a != nil {
			text += "=" + strings.Join(a, ",")
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// versions are the resource versions of all there is.
func (w *world) versions() string {
	w.t.Helper()
	var out []string
	for _, o := range w.all() {
		out = append(out, o.GetName()+":"+o.GetResourceVersion())
	}
	return strings.Join(out, " ")
}

// eventually waits until something is as wanted.
func eventually[T comparable](w *world, what string, want T, get func() T) {
	w.t.Helper()
	var got T
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got = get(); got == want {
			return
		}
	}
	w.t.Fatalf("%s is\n%v\nand not\n%v", what, got, want)
}

// becomes waits until there is what have says.
func (w *world) becomes(want string) {
	w.t.Helper()
	eventually(w, "what there is", want, w.have)
}

// stays makes sure that nothing is written.
func (w *world) stays() {
	w.t.Helper()
	before := w.versions()
	time.Sleep(settle)
	if after := w.versions(); after != before {
		w.t.Errorf("was %s, is %s", before, after)
	}
}

// state is what the ConfigurationState says: the condition's status and the errors, the warnings.
func (w *world) state() string {
	w.t.Helper()
	s := &v1beta1.ConfigurationState{}
	err := w.Get(context.Background(), client.ObjectKey{Namespace: w.namespace, Name: configuration.ControllerState}, s)
	if apierrors.IsNotFound(err) {
		return ""
	}
	w.must(err)
	for _, c := range s.Status.Conditions {
		if c.Type == v1beta1.ConditionLegacyConfigMapValid {
			return strings.Join(append([]string{string(c.Status), s.Status.ErrorSummary}, s.Status.Warnings...), "|")
		}
	}
	return ""
}

// events on the ConfigMap, the oldest first: type reason message.
func (w *world) events() []string {
	w.t.Helper()
	var list corev1.EventList
	w.must(w.List(context.Background(), &list, client.InNamespace(w.namespace)))
	slices.SortFunc(list.Items, func(a, b corev1.Event) int { return strings.Compare(a.ResourceVersion, b.ResourceVersion) })
	var out []string
	for _, e := range list.Items {
		if e.InvolvedObject.Kind == "ConfigMap" {
			out = append(out, fmt.Sprintf("%s %s %s x%d", e.Type, e.Reason, e.Message, e.Count))
		}
	}
	return out
}

// says waits for an event.
func (w *world) says(want string) {
	w.t.Helper()
	for end := time.Now().Add(patience); !slices.Contains(w.events(), want); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("no event\n%s\namong\n%s", want, strings.Join(w.events(), "\n"))
		}
	}
}

// edit changes a resource as a user does.
func edit[T client.Object](w *world, o T, name string, change func(T)) {
	w.t.Helper()
	for {
		w.must(w.Get(context.Background(), client.ObjectKey{Namespace: w.namespace, Name: name}, o))
		change(o)
		if err := w.Update(context.Background(), o); !apierrors.IsConflict(err) {
			w.must(err)
			return
		}
	}
}
