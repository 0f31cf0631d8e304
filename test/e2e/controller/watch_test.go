package controller

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/test/e2e/product"
)

// label is what the Services of this test have.
const label = "promise"

// watched follows all Services in the order in which the API server changes them, and finds every promise that is broken.
type watched struct {
	r   *replicas
	api client.WithWatch

	mu       sync.Mutex
	services map[types.UID]*seen
	holders  map[string]types.UID
	broken   []string
	created  int
	deleted  int
	changed  int
	stop     func()
	done     chan struct{}
}

type seen struct {
	key     client.ObjectKey
	address string
}

func watch(r *replicas) *watched {
	config, err := clientcmd.BuildConfigFromFlags("", r.Kubeconfig())
	r.must(err)
	api, err := client.NewWithWatch(config, client.Options{Scheme: r.Scheme()})
	r.must(err)
	w := &watched{r: r, api: api, services: map[types.UID]*seen{}, holders: map[string]types.UID{}}
	w.resume()
	r.t.Cleanup(w.pause)
	return w
}

// resume begins with what there is.
func (w *watched) resume() {
	list := &corev1.ServiceList{}
	ctx := w.r.t.Context()
	w.r.must(w.api.List(ctx, list, client.MatchingLabels{label: "yes"}))
	there := map[types.UID]bool{}
	for i := range list.Items {
		there[list.Items[i].UID] = true
		w.take(kwatch.Modified, &list.Items[i])
	}
	w.mu.Lock()
	for uid, s := range w.services {
		if !there[uid] {
			w.forget(uid, s)
		}
	}
	w.mu.Unlock()
	// The API server ends this watch once or twice while a thousand Services come and go; it goes on after what it has seen.
	begun := 0
	from, err := watchtools.NewRetryWatcherWithContext(ctx, list.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (kwatch.Interface, error) {
			if begun++; begun > 1 {
				w.r.t.Logf("the API server has ended the watch of Services: it goes on after version %s", options.ResourceVersion)
			}
			return w.api.Watch(ctx, &corev1.ServiceList{}, client.MatchingLabels{label: "yes"}, &client.ListOptions{Raw: &options})
		},
	})
	w.r.must(err)
	done := make(chan struct{})
	w.stop, w.done = from.Stop, done
	go func() {
		defer close(done)
		for e := range from.ResultChan() {
			if svc, ok := e.Object.(*corev1.Service); ok {
				w.take(e.Type, svc)
			} else {
				w.r.t.Errorf("what happens to Services is not known any more: %+v", e.Object)
			}
		}
	}()
}

func (w *watched) pause() {
	if w.stop != nil {
		w.stop()
		<-w.done
		w.stop = nil
	}
}

func (w *watched) take(kind kwatch.EventType, svc *corev1.Service) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.services[svc.UID]
	if kind == kwatch.Deleted {
		if s != nil {
			w.forget(svc.UID, s)
		}
		return
	}
	if s == nil {
		s = &seen{key: client.ObjectKeyFromObject(svc)}
		w.services[svc.UID] = s
		w.created++
	}
	address := ""
	for _, ing := range svc.Status.LoadBalancer.Ingress {
		address += ing.IP
	}
	if address != s.address {
		w.changed++
	}
	switch holder, taken := w.holders[address]; {
	case address == s.address:
	case s.address != "":
		w.broken = append(w.broken, fmt.Sprintf("%s had %s and has %q", s.key, s.address, address))
	case taken:
		w.broken = append(w.broken, fmt.Sprintf("%s is given %s, which %s has", s.key, address, w.services[holder].key))
	default:
		s.address = address
		w.holders[address] = svc.UID
	}
}

// forget is of a Service that is gone. The caller holds mu.
func (w *watched) forget(uid types.UID, s *seen) {
	delete(w.services, uid)
	if s.address != "" {
		delete(w.holders, s.address)
	}
	w.deleted++
}

// present names the Services that there are.
func (w *watched) present() []client.ObjectKey {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]client.ObjectKey, 0, len(w.services))
	for _, s := range w.services {
		out = append(out, s.key)
	}
	return out
}

func (w *watched) counts() (created, deleted int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.created, w.deleted
}

// changes is the number of times that a Service was seen to have another address than before.
func (w *watched) changes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// served waits until a Service has its address.
func (w *watched) served(key client.ObjectKey) {
	w.r.t.Helper()
	w.r.must(product.Until(w.r.within(patience), key.String()+" to have an address", func() (bool, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, s := range w.services {
			if s.key == key {
				return s.address != "", nil
			}
		}
		return false, nil
	}))
}

// allServed waits until all Services have an address, and returns how long it waited.
func (w *watched) allServed() time.Duration {
	w.r.t.Helper()
	began := time.Now()
	w.r.must(product.Until(w.r.within(patience), "all Services to have an address", func() (bool, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, s := range w.services {
			if s.address == "" {
				return false, fmt.Errorf("%s has none", s.key)
			}
		}
		return true, nil
	}))
	return time.Since(began)
}

// judge says what was broken, and compares what was seen with what is.
func (w *watched) judge() {
	w.allServed()
	w.pause()
	list := &corev1.ServiceList{}
	w.r.must(w.api.List(w.r.t.Context(), list, client.MatchingLabels{label: "yes"}))
	for i := range list.Items {
		w.take(kwatch.Modified, &list.Items[i])
	}
	w.r.t.Logf("%d Services came and %d went: %d addresses were given twice, taken away or exchanged", w.created, w.deleted, len(w.broken))
	for _, text := range w.broken {
		w.r.t.Error(text)
	}
	if len(list.Items) != len(w.services) || w.created < *services {
		w.r.t.Errorf("%d Services were seen, %d are there; at least %d should have come", len(w.services), len(list.Items), *services)
	}
}

// auditLog is where the API server notes what controllers write.
var auditLog string

// written is what a pod wrote, or tried to, from that time on. What was on its way when it was stopped, and is refused because
// another one has the Lease or has served the Service, or the Service is gone, is none: that is what an object's version is for.
func (r *replicas) written(pod string, from time.Time) []string {
	r.t.Helper()
	file, err := os.Open(auditLog)
	r.must(err)
	defer file.Close()
	var out []string
	all := 0
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Verb string
			User struct {
				Extra map[string][]string
			}
			ObjectRef struct{ Resource, Subresource, Namespace, Name string }
			Time      time.Time          `json:"requestReceivedTimestamp"`
			Response  struct{ Code int } `json:"responseStatus"`
		}
		r.must(json.Unmarshal(lines.Bytes(), &e))
		if !slices.Contains(e.User.Extra["authentication.kubernetes.io/pod-name"], pod) {
			continue
		}
		refused := e.Response.Code == http.StatusConflict || e.Response.Code == http.StatusNotFound
		if all++; e.Time.After(from) && !refused && !strings.HasSuffix(e.ObjectRef.Resource, "reviews") {
			out = append(out, fmt.Sprintf("%s %s/%s %s/%s: %d", e.Verb, e.ObjectRef.Resource, e.ObjectRef.Subresource, e.ObjectRef.Namespace, e.ObjectRef.Name, e.Response.Code))
		}
	}
	r.must(lines.Err())
	if all == 0 {
		r.t.Errorf("the API server has noted nothing of %s at all", pod)
	}
	return out
}

const sigstop, sigcont, sigkill = syscall.SIGSTOP, syscall.SIGCONT, syscall.SIGKILL

func signal(pid int, s syscall.Signal) error { return syscall.Kill(pid, s) }

func running(pid int) bool { return pid > 0 && syscall.Kill(pid, 0) == nil }

// process finds the process of a controller's pod by its command and its environment; 0: it is not there.
func (r *replicas) process(pod string) int {
	r.t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	r.must(err)
	for _, dir := range dirs {
		command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if args := strings.Split(string(command), "\x00"); len(args) < 2 || !strings.HasSuffix(args[0], "metallb") || args[1] != "controller" {
			continue
		}
		environment, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if slices.Contains(strings.Split(string(environment), "\x00"), "METALLB_POD_NAME="+pod) {
			pid, err := strconv.Atoi(filepath.Base(dir))
			r.must(err)
			return pid
		}
	}
	return 0
}
