package metallb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/testenv"
)

// operatorNamespace is where the overlay of the tests installs the operator: not where the resources are.
const operatorNamespace = "my-metallb-operator"

// soon is how long a test waits for what takes milliseconds when all is well.
const soon = 20 * time.Second

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	code := testenv.Run(m)
	if code == 0 {
		// client-go's watch of metadata ends without reading on, so its filter stays at its last send.
		known := goleak.IgnoreTopFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop")
		if err := goleak.Find(known); err != nil {
			fmt.Fprintln(os.Stderr, "operators that have stopped left goroutines:", err)
			code = 1
		}
	}
	os.Exit(code)
}

var scheme = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(s), v1beta1.AddToScheme(s)); err != nil {
		panic(err)
	}
	return s
})

// cluster is an API server on which config/default is installed as a user would do it.
type cluster struct {
	client.Client // an administrator's
	admin         *rest.Config
	times         []time.Duration // that restored took
	environment   render.Environment
	atOLM         types.NamespacedName // where its operators tell OLM whether to upgrade
}

// newCluster returns the cluster, without any MetalLB resource, and sees to it that none is left.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{admin: testenv.Config(t), environment: environment}
	var err error
	if c.Client, err = client.New(c.admin, client.Options{Scheme: scheme()}); err != nil {
		t.Fatal(err)
	}
	manifests, err := overlay()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range manifests {
		if o.GetKind() == "CustomResourceDefinition" {
			continue // there already
		}
		if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o.DeepCopy()), client.FieldOwner("kubectl"), client.ForceOwnership); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { c.clear(t) })
	return c
}

// clear removes all MetalLB resources and, as the garbage collector would, all that was made for them.
func (c *cluster) clear(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	var all v1beta1.MetalLBList
	if err := c.List(ctx, &all); err != nil {
		t.Fatal(err)
	}
	for _, m := range all.Items {
		m.Finalizers = nil
		if err := errors.Join(c.Update(ctx, &m), c.Delete(ctx, &m)); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	}
	for _, o := range c.operands(t) {
		if err := c.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	}
}

// operands lists all objects, in any namespace, that carry the operator's labels.
func (c *cluster) operands(t *testing.T) []client.Object {
	t.Helper()
	r := &Reconciler{Client: c.Client, Live: c.Client, Environment: c.environment}
	s, err := r.gather(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var found []client.Object
	for _, o := range s.objects {
		found = append(found, o)
	}
	return found
}

// overlay builds a user's kustomization on config/default: another namespace, another image.
var overlay = sync.OnceValues(func() ([]*unstructured.Unstructured, error) {
	root, err := testenv.Root()
	if err != nil {
		return nil, err
	}
	kustomize, err := kustomizeTool(root)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "overlay")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	base, err := filepath.Rel(dir, filepath.Join(root, "config", "default"))
	if err != nil {
		return nil, err
	}
	kustomization := fmt.Sprintf("namespace: %s\nresources: [%s]\nimages: [{name: metallb.io/metallb, newName: registry.example.com/lb, newTag: v9}]\n", operatorNamespace, base)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.Command(kustomize, "build", dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("kustomize build: %w: %s", err, stderr.String())
	}
	var objects []*unstructured.Unstructured
	for dec := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(out), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := dec.Decode(&o.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
})

// kustomizeTool is the path of the pinned kustomize: that of the environment variable KUSTOMIZE, or one that Go builds.
func kustomizeTool(root string) (string, error) {
	if path := os.Getenv("KUSTOMIZE"); path != "" {
		return path, nil
	}
	path, err := exec.Command("go", "-C", filepath.Join(root, "tools"), "tool", "-n", "kustomize").Output()
	if err != nil {
		return "", fmt.Errorf("building kustomize: %w", err)
	}
	return strings.TrimSpace(string(path)), nil
}

// operatorConfig is the access of the operator's own ServiceAccount, so that a right that is missing fails a test.
func (c *cluster) operatorConfig() *rest.Config {
	config := rest.CopyConfig(c.admin)
	config.Impersonate = serviceAccount(operatorNamespace, "metallb-operator")
	return config
}

func serviceAccount(namespace, name string) rest.ImpersonationConfig {
	return rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + namespace + ":" + name,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
	}
}

// operator is a running operator.
type operator struct {
	stop   func()
	writes *requests
}

// requests records what is not a read.
type requests struct {
	sync.Mutex
	seen []string
}

func (r *requests) since(n int) []string {
	r.Lock()
	defer r.Unlock()
	return append([]string(nil), r.seen[n:]...)
}

type recorder struct {
	*requests
	http.RoundTripper
}

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet && !strings.Contains(req.URL.Path, "/leases") {
		r.Lock()
		r.seen = append(r.seen, req.Method+" "+req.URL.Path)
		r.Unlock()
	}
	return r.RoundTripper.RoundTrip(req)
}

// start runs an operator until the test ends or its stop is called.
func (c *cluster) start(t *testing.T, change ...func(*ctrl.Options)) *operator {
	t.Helper()
	o := &operator{writes: &requests{}}
	config := c.operatorConfig()
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return recorder{o.writes, rt} })
	options := ctrl.Options{
		Scheme:     scheme(),
		Cache:      CacheOptions(),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: controllerConfig(),
	}
	for _, f := range change {
		f(&options)
	}
	mgr, err := ctrl.NewManager(config, options)
	if err != nil {
		t.Fatal(err)
	}
	r := &Reconciler{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Environment: c.environment, Version: "v9", OperatorCondition: c.atOLM}
	if err := r.SetupWithManager(mgr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	o.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil && !strings.Contains(err.Error(), "leader election lost") {
				t.Errorf("the operator ended with: %v", err)
			}
		case <-time.After(soon):
			t.Error("the operator does not stop")
		}
	})
	t.Cleanup(o.stop)
	return o
}

func controllerConfig() config.Controller {
	return config.Controller{SkipNameValidation: ptr.To(true)} // more than one in this process
}

var environment = render.Environment{
	Image:           "registry.example.com/lb:v9",
	Account:         types.NamespacedName{Namespace: operatorNamespace, Name: "metallb-operator"},
	NetworkPolicies: true,
	APIServerPorts:  []int32{443, 6443},
}

// create makes a MetalLB resource.
func (c *cluster) create(t *testing.T, namespace, name string, change ...func(*v1beta1.MetalLB)) *v1beta1.MetalLB {
	t.Helper()
	m := &v1beta1.MetalLB{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	for _, f := range change {
		f(m)
	}
	if err := c.Create(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// twoControllers asks for all that there is only with more than one controller.
func twoControllers(m *v1beta1.MetalLB) {
	m.Spec.ControllerConfig = &v1beta1.ControllerConfig{Replicas: ptr.To[int32](2)}
}

// newNamespace makes a namespace in which speakers may run, or not.
func (c *cluster) newNamespace(t *testing.T) string {
	t.Helper()
	return testenv.Namespace(t, c.Client, nil)
}

// eventually waits until the function returns no error.
func eventually(t *testing.T, f func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := f()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > soon {
			t.Fatalf("not within %s: %v", soon, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// condition waits until a condition has this status and reason, and returns it.
func (c *cluster) condition(t *testing.T, m *v1beta1.MetalLB, kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	t.Helper()
	var found metav1.Condition
	eventually(t, func() error {
		now := &v1beta1.MetalLB{}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(m), now); err != nil {
			return err
		}
		got := meta.FindStatusCondition(now.Status.Conditions, kind)
		if got == nil || got.Status != status || got.Reason != reason || got.ObservedGeneration != now.Generation {
			return fmt.Errorf("%s/%s: %s is %+v (generation %d), want %s %s", m.Namespace, m.Name, kind, got, now.Generation, status, reason)
		}
		found = *got
		return nil
	})
	return found
}

// objects returns the objects that the resource is to have, as they are in the cluster.
func (c *cluster) objects(t *testing.T, m *v1beta1.MetalLB) ([]client.Object, error) {
	t.Helper()
	var found []client.Object
	for _, o := range render.Objects(m, c.environment) {
		live := o.DeepCopyObject().(client.Object)
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), live); err != nil {
			return nil, err
		}
		found = append(found, live)
	}
	return found, nil
}

// installed waits until all objects of the resource are there.
func (c *cluster) installed(t *testing.T, m *v1beta1.MetalLB) []client.Object {
	t.Helper()
	var found []client.Object
	eventually(t, func() (err error) {
		found, err = c.objects(t, m)
		return err
	})
	return found
}

// gone waits until nothing is left that was made for a resource in the namespace.
func (c *cluster) gone(t *testing.T, namespace string) time.Duration {
	t.Helper()
	return eventually(t, func() error {
		for _, o := range c.operands(t) {
			if o.GetLabels()[render.LabelCRNamespace] == namespace {
				return fmt.Errorf("%T %s/%s is left", o, o.GetNamespace(), o.GetName())
			}
		}
		return nil
	})
}

// play writes the workloads' status as the controllers of Kubernetes would: of so many nodes so many have a ready speaker.
func (c *cluster) play(t *testing.T, namespace string, controllers, nodes, ready int32) {
	t.Helper()
	d := &appsv1.Deployment{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: render.Controller}, d); err != nil {
		t.Fatal(err)
	}
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: controllers, AvailableReplicas: controllers}
	ds := &appsv1.DaemonSet{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: render.Speaker}, ds); err != nil {
		t.Fatal(err)
	}
	ds.Status = appsv1.DaemonSetStatus{ObservedGeneration: ds.Generation, DesiredNumberScheduled: nodes, CurrentNumberScheduled: nodes,
		UpdatedNumberScheduled: nodes, NumberReady: ready, NumberAvailable: ready}
	if err := errors.Join(c.Status().Update(t.Context(), d), c.Status().Update(t.Context(), ds)); err != nil {
		t.Fatal(err)
	}
}
