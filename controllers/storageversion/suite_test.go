package storageversion

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"metallb.io/operator/controllers/webhook"
	"metallb.io/operator/internal/testenv"
)

const (
	peers = "bgppeers.metallb.io"
	pools = "addresspools.metallb.io"
	// soon is how long a test waits for what takes milliseconds when all is well.
	soon = 30 * time.Second
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(testenv.Run(m))
}

// world is an API server with the CRDs, a server that converts BGPPeers, and a Reconciler. What a test does to the CRDs is
// undone at its end.
type world struct {
	client.WithWatch
	*Reconciler
	t         *testing.T
	config    *rest.Config
	namespace string
	// converter is what the CRD of BGPPeer says while its objects are converted.
	converter *apiextensionsv1.CustomResourceConversion
	// before is called with each object before the Reconciler's patch of it is sent, writes counts these.
	before func(client.Object)
	writes int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, config: testenv.Config(t)}
	w.config.WarningHandler = rest.NoWarnings{}
	c, err := client.NewWithWatch(w.config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w.WithWatch = c
	w.namespace = testenv.Namespace(t, c, nil)
	server := httptest.NewTLSServer(http.HandlerFunc(webhook.Convert))
	t.Cleanup(server.Close)
	w.converter = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
		ConversionReviewVersions: []string{"v1"},
		ClientConfig: &apiextensionsv1.WebhookClientConfig{URL: ptr.To(server.URL + webhook.ConversionPath),
			CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})},
	}}
	counted := interceptor.NewClient(c, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			w.writes++
			if w.before != nil {
				w.before(o)
			}
			return c.Patch(ctx, o, p, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, name string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			w.writes++
			return c.SubResource(name).Patch(ctx, o, p, opts...)
		},
	})
	w.Reconciler = &Reconciler{Client: counted, Live: c, Recorder: w.recorder(w.config), Ready: func() error { return nil }, Page: 2}
	for _, name := range []string{peers, pools} {
		original := w.crd(name)
		t.Cleanup(func() { w.restore(original) })
	}
	w.setCRD(peers, func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Spec.Conversion = w.converter })
	return w
}

// recorder sends events to the API server, as the operator's does.
func (w *world) recorder(access *rest.Config) record.EventRecorder {
	events, err := typedcorev1.NewForConfig(access)
	if err != nil {
		w.t.Fatal(err)
	}
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: events.Events("")})
	w.t.Cleanup(broadcaster.Shutdown)
	return broadcaster.NewRecorder(w.Scheme(), corev1.EventSource{Component: "metallb-operator"})
}

func (w *world) crd(name string) *apiextensionsv1.CustomResourceDefinition {
	w.t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := w.Get(context.Background(), client.ObjectKey{Name: name}, crd); err != nil {
		w.t.Fatal(err)
	}
	return crd
}

// setCRD changes a CRD's specification.
func (w *world) setCRD(name string, change func(*apiextensionsv1.CustomResourceDefinition)) {
	w.t.Helper()
	eventually(w.t, func() error {
		crd := w.crd(name)
		change(crd)
		return w.Update(context.Background(), crd)
	})
}

// restore puts the CRD back, without objects.
func (w *world) restore(original *apiextensionsv1.CustomResourceDefinition) {
	w.setCRD(original.Name, func(crd *apiextensionsv1.CustomResourceDefinition) {
		original.Spec.DeepCopyInto(&crd.Spec)
		crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter}
	})
	eventually(w.t, func() error {
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(kindOf(original, storageVersion(original)))
		return w.DeleteAllOf(context.Background(), o, client.InNamespace(w.namespace))
	})
	eventually(w.t, func() error {
		crd := w.crd(original.Name)
		crd.Status.StoredVersions = original.Status.StoredVersions
		return w.Status().Update(context.Background(), crd)
	})
}

// store makes objects while the CRD's storage version is another, and waits until the API server has taken up the present
// one again. The objects are stored in the version that was named.
func (w *world) store(crd, version string, objects ...*unstructured.Unstructured) {
	w.t.Helper()
	now := storageVersion(w.crd(crd))
	w.setStorage(crd, version)
	for _, o := range objects {
		if err := w.Create(w.t.Context(), o.DeepCopy()); err != nil {
			w.t.Fatal(err)
		}
		if got := w.storedIn(crd, o.GetName()); got != "metallb.io/"+version {
			w.t.Fatalf("%s is stored in %s", o.GetName(), got)
		}
	}
	w.setStorage(crd, now)
	if got := w.crd(crd).Status.StoredVersions; len(got) != 2 {
		w.t.Fatalf("the stored versions of %s are %v", crd, got)
	}
}

// setStorage changes the storage version, and waits until an object is stored in it.
func (w *world) setStorage(crd, version string) {
	w.t.Helper()
	w.setCRD(crd, func(crd *apiextensionsv1.CustomResourceDefinition) {
		for i := range crd.Spec.Versions {
			crd.Spec.Versions[i].Storage = crd.Spec.Versions[i].Name == version
		}
	})
	eventually(w.t, func() error {
		probe := peer("probe-" + version)
		if crd == pools {
			probe = pool("probe-" + version)
		}
		probe.SetNamespace(w.namespace)
		if err := w.Create(context.Background(), probe); err != nil {
			return err
		}
		got := w.storedIn(crd, probe.GetName())
		if err := w.Delete(context.Background(), probe); err != nil {
			return err
		}
		if got != "metallb.io/"+version {
			return fmt.Errorf("objects of %s are stored in %s still", crd, got)
		}
		return nil
	})
}

// storedIn is the apiVersion of what etcd holds.
func (w *world) storedIn(crd, name string) string {
	w.t.Helper()
	resource, group, _ := strings.Cut(crd, ".")
	text := testenv.Stored(w.t, group+"/"+resource+"/"+w.namespace+"/"+name)
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON([]byte(text)); err != nil {
		w.t.Fatalf("%v in %s", err, text)
	}
	return o.GetAPIVersion()
}

func (w *world) stored(crd string, names ...string) []string {
	w.t.Helper()
	out := make([]string, 0, len(names))
	for _, name := range names {
		out = append(out, w.storedIn(crd, name))
	}
	return out
}

// read returns an object as a version has it.
func (w *world) read(crd, version, name string) *unstructured.Unstructured {
	w.t.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kindOf(w.crd(crd), version))
	if err := w.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, o); err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) reconcile(crd string) (reconcile.Result, error) {
	return w.Reconcile(w.t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: crd}})
}

// event waits for an event about an object, with the reason and all of the texts in its message.
func (w *world) event(kind, namespace, name, reason string, texts ...string) {
	w.t.Helper()
	eventually(w.t, func() error {
		list := &corev1.EventList{}
		if err := w.List(w.t.Context(), list, client.InNamespace(namespace)); err != nil {
			return err
		}
		var messages []string
		for _, e := range list.Items {
			lacks := func(text string) bool { return !strings.Contains(e.Message, text) }
			if e.InvolvedObject.Kind != kind || e.InvolvedObject.Name != name || e.Reason != reason {
				continue
			}
			if !slices.ContainsFunc(texts, lacks) {
				return nil
			}
			messages = append(messages, e.Message)
		}
		return fmt.Errorf("the events %s about %s %s say %q", reason, kind, name, messages)
	})
}

func object(apiVersion, kind, name string, spec map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetAPIVersion("metallb.io/" + apiVersion)
	o.SetKind(kind)
	o.SetName(name)
	return o
}

// peer as MetalLB's first users of the resource wrote it.
func peer(name string) *unstructured.Unstructured {
	return object("v1beta1", "BGPPeer", name, map[string]any{"myASN": int64(64512), "peerASN": int64(64513), "peerAddress": "192.0.2.1", "holdTime": "0s"})
}

func pool(name string) *unstructured.Unstructured {
	return object("v1alpha1", "AddressPool", name, map[string]any{"protocol": "layer2", "addresses": []any{"192.0.2.0/28"}})
}

// in puts objects into the namespace of the world.
func (w *world) in(objects ...*unstructured.Unstructured) []*unstructured.Unstructured {
	for _, o := range objects {
		o.SetNamespace(w.namespace)
	}
	return objects
}

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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
