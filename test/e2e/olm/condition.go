package olm

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"metallb.io/operator/test/e2e/product"
)

// Upgradeable is what OLM knew at some time of whether a version may be replaced.
type Upgradeable struct {
	At  time.Time
	CSV string
	metav1.Condition
}

func (u Upgradeable) String() string {
	return fmt.Sprintf("%s %s Upgradeable=%s (%s) %s", u.At.Format("15:04:05.000"), u.CSV, u.Status, u.Reason, u.Message)
}

// Conditions are what the versions of the operator said in their OperatorConditions, none missed.
type Conditions struct {
	mu   sync.Mutex
	said []Upgradeable
	err  error
}

// WatchConditions records them in a namespace until ctx ends.
func (o *OLM) WatchConditions(ctx context.Context, namespace string) (*Conditions, error) {
	c := &Conditions{}
	return c, o.watch(ctx, "v2", "operatorconditions", namespace, c.add)
}

// add takes down what OLM goes by: conditions that it has copied to the status from the present spec.
func (c *Conditions) add(e watch.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, is := e.Object.(*unstructured.Unstructured)
	if !is {
		c.err = fmt.Errorf("the watch of OperatorConditions: %v", e.Object)
		return
	}
	if e.Type == watch.Deleted {
		c.said = append(c.said, Upgradeable{time.Now(), o.GetName(), metav1.Condition{Reason: gone}})
		return
	}
	status, _, _ := unstructured.NestedMap(o.Object, "status")
	var of struct {
		Conditions []metav1.Condition `json:"conditions"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(status, &of); err != nil {
		c.err = err
		return
	}
	for _, condition := range of.Conditions {
		u := Upgradeable{time.Now(), o.GetName(), condition}
		if last, ok := c.last(u.CSV); condition.Type == "Upgradeable" && condition.ObservedGeneration == o.GetGeneration() &&
			(!ok || last.Status != u.Status || last.Reason != u.Reason) {
			c.said = append(c.said, u)
		}
	}
}

func (c *Conditions) last(csv string) (Upgradeable, bool) {
	for i := len(c.said) - 1; i >= 0; i-- {
		if c.said[i].CSV == csv {
			return c.said[i], true
		}
	}
	return Upgradeable{}, false
}

// Wait waits until a version has said this after a time, and returns when it first did.
func (c *Conditions) Wait(ctx context.Context, csv string, status metav1.ConditionStatus, reason string, after time.Time) (at time.Time, err error) {
	err = product.Until(ctx, fmt.Sprintf("%s to be Upgradeable=%s (%s)", csv, status, reason), func() (bool, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, u := range c.said {
			if u.CSV == csv && u.Status == status && u.Reason == reason && u.At.After(after) {
				at = u.At
				return c.err == nil, c.err
			}
		}
		return false, fmt.Errorf("said is\n%s%w", c.since(after), c.err)
	})
	return at, err
}

// Latest is when a version last began to give this reason; zero: never.
func (c *Conditions) Latest(csv, reason string) (at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.said {
		if u.CSV == csv && u.Reason == reason {
			at = u.At
		}
	}
	return at
}

// Since is what was said after a time, one line each.
func (c *Conditions) Since(after time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since(after)
}

func (c *Conditions) since(after time.Time) string {
	var b strings.Builder
	for _, u := range c.said {
		if u.At.After(after) {
			fmt.Fprintln(&b, u)
		}
	}
	return b.String()
}
