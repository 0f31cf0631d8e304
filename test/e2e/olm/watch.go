package olm

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"metallb.io/operator/test/e2e/product"
)

// Phase is what a ClusterServiceVersion said of itself at some time.
type Phase struct {
	At                          time.Time
	CSV, Phase, Reason, Message string
}

func (p Phase) String() string {
	return fmt.Sprintf("%s %s %s (%s) %s", p.At.Format("15:04:05.000"), p.CSV, p.Phase, p.Reason, p.Message)
}

// History is the phases of all ClusterServiceVersions of a namespace, none missed: they last less than polling sees.
type History struct {
	mu     sync.Mutex
	phases []Phase
	err    error
}

// gone is the phase of a ClusterServiceVersion that is deleted.
const gone = "gone"

// Watch records the phases in a namespace until ctx ends. Copies of those in other namespaces are not looked at.
func (o *OLM) Watch(ctx context.Context, namespace string) (*History, error) {
	h := &History{}
	return h, o.watch(ctx, "v1alpha1", "clusterserviceversions", namespace, h.add)
}

// watch hands on the events of a kind of OLM's in a namespace until ctx ends. A watch that ends before is an event of the
// type Error.
func (o *OLM) watch(ctx context.Context, version, resource, namespace string, to func(watch.Event)) error {
	config, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig())
	if err != nil {
		return err
	}
	config.WarningHandlerWithContext = rest.NoWarnings{}
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	events, err := c.Resource(schema.GroupVersionResource{Group: "operators.coreos.com", Version: version, Resource: resource}).
		Namespace(namespace).Watch(ctx, metav1.ListOptions{LabelSelector: "!olm.copiedFrom"})
	if err != nil {
		return err
	}
	go func() {
		defer events.Stop()
		for e := range events.ResultChan() {
			to(e)
		}
		if ctx.Err() == nil {
			to(watch.Event{Type: watch.Error, Object: &metav1.Status{Message: "it ended"}})
		}
	}()
	return nil
}

func (h *History) add(e watch.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	csv, is := e.Object.(*unstructured.Unstructured)
	if !is && h.err == nil {
		h.err = fmt.Errorf("the watch of ClusterServiceVersions: %v", e.Object)
	}
	if !is {
		return
	}
	text := func(field string) string {
		s, _, _ := unstructured.NestedString(csv.Object, "status", field)
		return s
	}
	p := Phase{time.Now(), csv.GetName(), text("phase"), text("reason"), text("message")}
	if e.Type == watch.Deleted {
		p.Phase, p.Reason, p.Message = gone, "", ""
	}
	if last, ok := h.last(p.CSV); !ok || last.Phase != p.Phase || last.Reason != p.Reason {
		h.phases = append(h.phases, p)
	}
}

// last is what was recorded last of a ClusterServiceVersion.
func (h *History) last(csv string) (Phase, bool) {
	for i := len(h.phases) - 1; i >= 0; i-- {
		if h.phases[i].CSV == csv {
			return h.phases[i], true
		}
	}
	return Phase{}, false
}

// Last is what was recorded last of a ClusterServiceVersion, and what went wrong with recording.
func (h *History) Last(csv string) (Phase, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.last(csv)
	if h.err == nil && !ok {
		return p, fmt.Errorf("there is no %s", csv)
	}
	return p, h.err
}

// Since is what was recorded after a time.
func (h *History) Since(t time.Time) []Phase {
	h.mu.Lock()
	defer h.mu.Unlock()
	var after []Phase
	for _, p := range h.phases {
		if p.At.After(t) {
			after = append(after, p)
		}
	}
	return after
}

// Flaps are the phases by which a ClusterServiceVersion ceased to be Succeeded.
func (h *History) Flaps(csv string) (flaps []Phase) {
	succeeded := false
	for _, p := range h.Since(time.Time{}) {
		if p.CSV != csv {
			continue
		}
		if succeeded && p.Phase != "Succeeded" {
			flaps = append(flaps, p)
		}
		succeeded = p.Phase == "Succeeded"
	}
	return flaps
}

// WaitPhase waits until a ClusterServiceVersion has had a phase for a time, and returns when that began.
func (h *History) WaitPhase(ctx context.Context, csv, phase string, lasting time.Duration) (time.Time, error) {
	var since time.Time
	err := product.Until(ctx, fmt.Sprintf("%s to be %s for %s", csv, phase, lasting), func() (bool, error) {
		p, err := h.Last(csv)
		if err != nil {
			return false, err
		}
		since = p.At
		return p.Phase == phase && time.Since(since) >= lasting, fmt.Errorf("it is %s", p)
	})
	return since, err
}

func (h *History) String() string { return lines(h.Since(time.Time{})) }

func lines(phases []Phase) string {
	var b strings.Builder
	for _, p := range phases {
		fmt.Fprintln(&b, p)
	}
	return b.String()
}
