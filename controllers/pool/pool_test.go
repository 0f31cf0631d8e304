package pool

import (
	"context"
	"errors"
	"math"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/ipam"
	"metallb.io/operator/internal/testenv"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(testenv.Run(m))
}

func TestStatusOf(t *testing.T) {
	for name, c := range map[string]struct {
		usage ipam.Usage
		want  v1beta1.IPAddressPoolStatus
	}{
		"nothing":             {ipam.Usage{}, v1beta1.IPAddressPoolStatus{}},
		"some of both":        {ipam.Usage{Size4: 254, Used4: 4, Size6: 16, Used6: 16}, v1beta1.IPAddressPoolStatus{AssignedIPv4: 4, AvailableIPv4: 250, AssignedIPv6: 16}},
		"some reserved":       {ipam.Usage{Size4: 254, Used4: 4, Reserved4: 3, Size6: 16, Reserved6: 16}, v1beta1.IPAddressPoolStatus{AssignedIPv4: 4, AvailableIPv4: 247, ReservedIPv4: 3, ReservedIPv6: 16}},
		"kept though lost":    {ipam.Usage{Size4: 2, Used4: 1, Outside4: 3, Outside6: 1}, v1beta1.IPAddressPoolStatus{AssignedIPv4: 4, AvailableIPv4: 1, AssignedIPv6: 1}},
		"more than int64":     {ipam.Usage{Size6: 1 << 63, Used6: 0}, v1beta1.IPAddressPoolStatus{AvailableIPv6: math.MaxInt64}},
		"just below int64":    {ipam.Usage{Size6: 1 << 63, Used6: 2}, v1beta1.IPAddressPoolStatus{AssignedIPv6: 2, AvailableIPv6: math.MaxInt64 - 1}},
		"that many and more":  {ipam.Usage{Size6: math.MaxUint64, Used6: 5}, v1beta1.IPAddressPoolStatus{AssignedIPv6: 5, AvailableIPv6: math.MaxInt64}},
		"nothing but outside": {ipam.Usage{Outside4: 1}, v1beta1.IPAddressPoolStatus{AssignedIPv4: 1}},
	} {
		if d := cmp.Diff(c.want, statusOf(State{Usage: c.usage}, false)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestConditions(t *testing.T) {
	for name, c := range map[string]struct {
		state State
		want  string
	}{
		"well":                     {State{Usage: ipam.Usage{Size4: 10, Used4: 9}}, "Advertised True NearlyExhausted False AddressesFree"},
		"more than nine of ten":    {State{Usage: ipam.Usage{Size4: 19, Used4: 18}}, "Advertised True NearlyExhausted True NearlyExhausted: More than nine of ten IPv4"},
		"nine of ten and a half":   {State{Usage: ipam.Usage{Size4: 20, Used4: 18}}, "Advertised True NearlyExhausted False AddressesFree"},
		"with those reserved":      {State{Usage: ipam.Usage{Size4: 100, Used4: 90, Reserved4: 1}}, "Advertised True NearlyExhausted True NearlyExhausted: More than nine of ten IPv4"},
		"no tenth can be free":     {State{Usage: ipam.Usage{Size4: 4, Used4: 3}}, "Advertised True NearlyExhausted False AddressesFree"},
		"nothing left":             {State{Usage: ipam.Usage{Size4: 4, Used4: 3, Reserved4: 1}}, "Advertised True NearlyExhausted True Exhausted: No IPv4"},
		"nothing left of either":   {State{Usage: ipam.Usage{Size4: 4, Used4: 4, Size6: 1, Used6: 1}}, "Advertised True NearlyExhausted True Exhausted: No IPv4 and no IPv6"},
		"one exhausted counts":     {State{Usage: ipam.Usage{Size4: 100, Used4: 95, Size6: 1, Used6: 1}}, "Advertised True NearlyExhausted True Exhausted: No IPv6"},
		"without end":              {State{Usage: ipam.Usage{Size6: math.MaxUint64, Used6: 1 << 40}}, "Advertised True NearlyExhausted False AddressesFree"},
		"nobody answers":           {State{Usage: ipam.Usage{Size4: 4}, Unadvertised: "Lacks what it needs"}, "Advertised False: Lacks what it needs. NearlyExhausted False AddressesFree"},
		"no address, no complaint": {State{}, "Advertised True NearlyExhausted False AddressesFree"},
	} {
		got := ""
		for _, is := range statusOf(c.state, true).Conditions {
			got += " " + is.Type + " " + string(is.Status)
			switch {
			case is.Type == v1beta1.ConditionNearlyExhausted && is.Status == metav1.ConditionTrue:
				got += " " + is.Reason + ": " + strings.SplitAfter(is.Message, " address")[0]
			case is.Type == v1beta1.ConditionNearlyExhausted:
				got += " " + is.Reason
			case is.Status == metav1.ConditionFalse:
				got += ": " + is.Message
			}
		}
		if got = strings.TrimSuffix(got[1:], " address"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestStatusIsWrittenWhenItChanges(t *testing.T) {
	scheme := kruntime.NewScheme()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme)))
	real, err := client.NewWithWatch(testenv.Config(t), client.Options{Scheme: scheme})
	must(err)
	ctx, namespace := context.Background(), testenv.Namespace(t, real, nil)
	var writes atomic.Int32
	var stale *v1beta1.IPAddressPoolList // what a cache that lags behind says
	var broken error
	c := interceptor.NewClient(real, interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, inner client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			writes.Add(1)
			if broken != nil {
				return broken
			}
			return inner.SubResource(sub).Patch(ctx, o, patch, opts...)
		},
		List: func(ctx context.Context, inner client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if stale != nil {
				stale.DeepCopyInto(list.(*v1beta1.IPAddressPoolList))
				return nil
			}
			return inner.List(ctx, list, opts...)
		},
	})
	var states map[string]State
	r := &Reporter{Client: c, Namespace: namespace, Pools: func() map[string]State { return states }}
	pool := func() *v1beta1.IPAddressPool {
		return &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "p"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.0.2.0/28"}}}
	}
	p := pool()
	must(real.Create(ctx, p))
	now := time.Now()
	step := func(what string, wantWrites int32, want *v1beta1.IPAddressPoolStatus) {
		t.Helper()
		writes.Store(0)
		err := r.round(ctx, now)
		now = now.Add(interval)
		if broken == nil {
			must(err)
		} else if err == nil {
			t.Errorf("%s: no error", what)
		}
		if got := writes.Load(); got != wantWrites {
			t.Errorf("%s: %d writes, want %d", what, got, wantWrites)
		}
		must(real.Get(ctx, client.ObjectKeyFromObject(p), p))
		if p.Status != nil { // TestConditions judges them
			if has := len(p.Status.Conditions) > 0; has != (states["p"] != State{}) {
				t.Errorf("%s: conditions %v", what, p.Status.Conditions)
			}
			for _, is := range p.Status.Conditions {
				if is.ObservedGeneration != p.Generation || is.LastTransitionTime.IsZero() {
					t.Errorf("%s: %+v", what, is)
				}
			}
			p.Status.Conditions = nil
		}
		if d := cmp.Diff(want, p.Status); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	none, some := &v1beta1.IPAddressPoolStatus{AvailableIPv4: 16}, &v1beta1.IPAddressPoolStatus{AssignedIPv4: 1, AvailableIPv4: 15}

	step("nothing is known", 0, nil)
	states = map[string]State{}
	step("the pool is not in use yet", 0, nil)
	states["p"] = State{Usage: ipam.Usage{Size4: 16}}
	step("all is free", 1, none)
	step("nothing changes", 0, none)
	lagging := &v1beta1.IPAddressPoolList{}
	must(real.List(ctx, lagging, client.InNamespace(namespace)))
	states["p"] = State{Usage: ipam.Usage{Size4: 16, Used4: 1}}
	broken = errors.New("no way")
	step("a write fails", 1, none)
	broken = nil
	step("and is tried again", 1, some)
	stale = lagging
	step("the cache lags behind", 0, some)
	now = now.Add(lag)
	step("for so long that the status may have been changed", 1, some)
	stale = nil

	edited := p.DeepCopy()
	edited.Status.AssignedIPv4 = 7
	must(real.Status().Update(ctx, edited))
	now = now.Add(lag)
	step("somebody else's numbers are put right", 1, some)
	must(real.List(ctx, lagging, client.InNamespace(namespace)))
	must(real.Delete(ctx, p))
	p = pool()
	must(real.Create(ctx, p))
	stale = lagging
	states["p"] = State{Usage: ipam.Usage{Size4: 16, Used4: 2}}
	step("a pool of the same name that is not the one of the cache", 1, &v1beta1.IPAddressPoolStatus{AssignedIPv4: 2, AvailableIPv4: 14})
	stale = nil
	states["p"] = State{Usage: ipam.Usage{Size4: 16}}
	step("the new one", 1, none)
	states["p"] = State{Usage: ipam.Usage{Size4: 16}, Unadvertised: "Lacks somebody who answers"}
	step("nobody answers any more", 1, none)
	must(real.Get(ctx, client.ObjectKeyFromObject(p), p))
	if is := meta.FindStatusCondition(p.Status.Conditions, v1beta1.ConditionAdvertised); is == nil || is.Status != metav1.ConditionFalse || is.Message != "Lacks somebody who answers." {
		t.Errorf("nobody answers: %+v", is)
	}
	step("and says so once", 0, none)
	delete(states, "p")
	step("it is not usable any more", 1, &v1beta1.IPAddressPoolStatus{})
	step("and stays so", 0, &v1beta1.IPAddressPoolStatus{})
	must(real.Delete(ctx, p))
	must(r.round(ctx, now))
	if len(r.written) > 0 {
		t.Errorf("it remembers what is gone: %v", r.written)
	}
}
