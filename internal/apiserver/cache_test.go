package apiserver

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	fcache "k8s.io/client-go/tools/cache/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// answers is how long the API server takes to say what there is.
const answers = 30 * time.Millisecond

// slow is an API server with one node.
type slow struct{ *fcache.FakeControllerSource }

func (s slow) Watch(options metav1.ListOptions) (watch.Interface, error) {
	time.Sleep(answers)
	return s.FakeControllerSource.Watch(options)
}

// library is a cache with one informer, in which the library's steps of 100 ms are.
type library struct {
	cache.Cache
	informer toolscache.SharedIndexInformer
	started  atomic.Bool
}

func (l *library) Start(ctx context.Context) error {
	l.started.Store(true)
	l.informer.RunWithContext(ctx)
	return nil
}

func (l *library) GetInformer(ctx context.Context, _ client.Object, options ...cache.InformerGetOption) (cache.Informer, error) {
	if len(options) == 0 && l.started.Load() && !toolscache.WaitForCacheSync(ctx.Done(), l.informer.HasSynced) {
		return nil, errors.New("not synced")
	}
	return l.informer, nil
}

func (l *library) WaitForCacheSync(ctx context.Context) bool {
	return toolscache.WaitForCacheSync(ctx.Done(), l.informer.HasSynced)
}

// watched is how long a watcher waits that does what the library's do, until it has been given the node.
func watched(t *testing.T, c cache.Cache) time.Duration {
	t.Helper()
	began := time.Now()
	informer, err := c.GetInformer(t.Context(), &corev1.Node{})
	if err != nil {
		t.Fatal(err)
	}
	var given []string
	registration, err := informer.AddEventHandlerWithOptions(toolscache.ResourceEventHandlerFuncs{AddFunc: func(o any) {
		given = append(given, o.(*corev1.Node).Name)
	}}, toolscache.HandlerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !c.WaitForCacheSync(t.Context()) || !toolscache.WaitForCacheSync(t.Context().Done(), registration.HasSynced) {
		t.Fatal("not synced")
	}
	took := time.Since(began)
	synctest.Wait()
	if !slices.Equal(given, []string{"node1"}) {
		t.Errorf("given %v", given)
	}
	return took
}

func filled(t *testing.T) *library {
	source := fcache.NewFakeControllerSource()
	source.Add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1"}})
	l := &library{informer: toolscache.NewSharedIndexInformer(slow{source}, &corev1.Node{}, 0, toolscache.Indexers{})}
	t.Cleanup(source.Shutdown)
	return l
}

func TestWatchersGoOnWhenTheCacheIsFilled(t *testing.T) {
	took := map[bool]time.Duration{}
	for _, prompt := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var c cache.Cache = filled(t)
			if prompt {
				c = &promptCache{Cache: c}
			}
			ctx, cancel := context.WithCancel(t.Context())
			if informer, err := c.GetInformer(ctx, &corev1.Node{}); err != nil || informer.HasSynced() {
				t.Fatalf("one that has not been started: error %v, or it is filled", err)
			}
			ended := make(chan error, 1)
			go func() { ended <- c.Start(ctx) }()
			synctest.Wait()
			took[prompt] = watched(t, c)
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	t.Logf("the library's watchers wait for %s, and ours for %s", took[false], took[true])
	if took[false] < 100*time.Millisecond {
		t.Error("the library has become as fast: ours is needed no more")
	}
	if took[true] > answers+2*shortestLook+answers/10 {
		t.Errorf("ours wait for %s", took[true])
	}
}

func TestACacheIsWaitedForUntilTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &promptCache{Cache: filled(t)}
		c.started.Store(true) // and nothing runs
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.GetInformer(ctx, &corev1.Node{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an informer that is not filled: error %v", err)
		}
		if c.WaitForCacheSync(ctx) {
			t.Error("a cache that is not filled is taken for one that is")
		}
	})
}
