package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// tracker sees Services as any client that watches them.
type tracker struct {
	mu       sync.Mutex
	versions map[string]string    // resource version by name
	added    map[string]time.Time // when each was seen for the first time
	goals    []*goal
	err      error // the watch has ended
}

// goal is that a number of Services is in some state.
type goal struct {
	reached func(*corev1.Service) bool
	n       int
	at      map[string]time.Time // when each was seen in that state
	done    chan struct{}
}

func newTracker(ctx context.Context, k kubernetes.Interface) (*tracker, error) {
	list, err := k.CoreV1().Services(apps).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(list.Items) > 0 {
		return nil, errors.New("there are Services already")
	}
	// A server that is short of time ends watches; this one goes on where it was.
	w, err := watchtools.NewRetryWatcherWithContext(ctx, list.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return k.CoreV1().Services(apps).Watch(ctx, options)
		},
	})
	if err != nil {
		return nil, err
	}
	t := &tracker{versions: map[string]string{}, added: map[string]time.Time{}}
	go func() {
		for e := range w.ResultChan() {
			t.see(e, time.Now())
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.err == nil {
			t.err = errors.New("the watch of Services has ended")
		}
	}()
	return t, nil
}

func (t *tracker) see(e watch.Event, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	svc, ok := e.Object.(*corev1.Service)
	if !ok || e.Type == watch.Deleted { // nobody deletes any
		t.err = fmt.Errorf("the watch of Services: %+v", e.Object)
		return
	}
	t.versions[svc.Name] = svc.ResourceVersion
	if _, ok := t.added[svc.Name]; !ok {
		t.added[svc.Name] = now
	}
	for _, g := range t.goals {
		if _, ok := g.at[svc.Name]; ok || len(g.at) == g.n {
			continue
		}
		if g.reached(svc) {
			if g.at[svc.Name] = now; len(g.at) == g.n {
				close(g.done)
			}
		}
	}
}

// expect begins to look for so many Services in a state. It sees what happens from now on, not what has happened.
func (t *tracker) expect(n int, reached func(*corev1.Service) bool) *goal {
	g := &goal{reached: reached, n: n, at: make(map[string]time.Time, n), done: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.goals = append(t.goals, g)
	return g
}

// wait returns when the goal is reached, with the time at which it was.
func (t *tracker) wait(ctx context.Context, g *goal) (time.Time, error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-g.done:
			var last time.Time
			for _, at := range g.at {
				if at.After(last) {
					last = at
				}
			}
			t.forget(g)
			return last, nil
		case <-ctx.Done():
		case <-tick.C:
		}
		t.mu.Lock()
		n, err := len(g.at), errors.Join(t.err, ctx.Err())
		t.mu.Unlock()
		if err != nil && n < g.n {
			return time.Time{}, fmt.Errorf("%d of %d Services came to where they should: %w", n, g.n, err)
		}
	}
}

func (t *tracker) forget(g *goal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.goals {
		if t.goals[i] == g {
			t.goals = append(t.goals[:i:i], t.goals[i+1:]...)
			return
		}
	}
}

func (t *tracker) version(name string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.versions[name]
}

func (t *tracker) addedAt(name string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.added[name]
}

// hasAddress says whether a Service has an address that begins so.
func hasAddress(prefix string) func(*corev1.Service) bool {
	return func(svc *corev1.Service) bool {
		in := svc.Status.LoadBalancer.Ingress
		return len(in) == 1 && strings.HasPrefix(in[0].IP, prefix)
	}
}

func hasNone(svc *corev1.Service) bool { return len(svc.Status.LoadBalancer.Ingress) == 0 }
