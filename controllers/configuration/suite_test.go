package configuration

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/testenv"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(testenv.Run(m))
}

// world is a namespace of a real API server.
type world struct {
	client.Client
	t         *testing.T
	scheme    *kruntime.Scheme
	namespace string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, scheme: kruntime.NewScheme()}
	w.must(errors.Join(clientgoscheme.AddToScheme(w.scheme), v1beta1.AddToScheme(w.scheme), v1beta2.AddToScheme(w.scheme)))
	var err error
	w.Client, err = client.New(testenv.Config(t), client.Options{Scheme: w.scheme})
	w.must(err)
	w.namespace = testenv.Namespace(t, w, nil)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) make(o client.Object) {
	w.t.Helper()
	o.SetNamespace(w.namespace)
	w.must(w.Create(context.Background(), o))
}

func (w *world) pod(name string) *corev1.Pod {
	w.t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "none"}}}}
	w.make(p)
	return p
}

// calls are the requests that a State has made.
type calls struct {
	client.Client
	mu   sync.Mutex
	made []string
	fail error // of every request, if set
}

// take returns the requests since the last call, without those for pods.
func (c *calls) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.made
	c.made = nil
	return out
}

func (c *calls) note(what string, o client.Object) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := o.(*corev1.Pod); !ok {
		c.made = append(c.made, what)
	}
	return c.fail
}

func (w *world) counted() *calls {
	w.t.Helper()
	inner, err := client.NewWithWatch(testenv.Config(w.t), client.Options{Scheme: w.scheme})
	w.must(err)
	c := &calls{}
	c.Client = interceptor.NewClient(inner, interceptor.Funcs{
		Get: func(ctx context.Context, inner client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if err := c.note("get", o); err != nil {
				return err
			}
			return inner.Get(ctx, key, o, opts...)
		},
		Create: func(ctx context.Context, inner client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := c.note("create", o); err != nil {
				return err
			}
			return inner.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, inner client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if err := c.note("update", o); err != nil {
				return err
			}
			return inner.Update(ctx, o, opts...)
		},
		SubResourceUpdate: func(ctx context.Context, inner client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			if err := c.note(sub, o); err != nil {
				return err
			}
			return inner.SubResource(sub).Update(ctx, o, opts...)
		},
	})
	return c
}

func (w *world) state(pod string) (*State, *calls) {
	c := w.counted()
	return &State{Client: c, Namespace: w.namespace, Name: "speaker-n", Component: Speaker, Node: "n", Pod: pod}, c
}

func (w *world) get() *v1beta1.ConfigurationState {
	w.t.Helper()
	s := &v1beta1.ConfigurationState{}
	w.must(w.Get(context.Background(), client.ObjectKey{Namespace: w.namespace, Name: "speaker-n"}, s))
	return s
}

func (w *world) expectCalls(c *calls, want ...string) {
	w.t.Helper()
	if got := c.take(); !slices.Equal(got, want) {
		w.t.Errorf("requests %v, want %v", got, want)
	}
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	w.t.Fatal("not within 10 s: " + what)
}
