package configuration

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/testenv"
)

const valid = v1beta1.ConditionConfigurationValid

func TestStateIsWrittenOnceForEachChange(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	pod := w.pod("speaker-abc")
	s, c := w.state("speaker-abc")
	subnets, gateways := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, []netip.Addr{netip.MustParseAddr("192.0.2.1")}

	w.must(s.SetNetworks(ctx, subnets, gateways))
	w.must(s.Clear(ctx, "somethingElse"))
	w.expectCalls(c) // nothing to say yet
	w.must(s.Set(ctx, valid, Outcome{}))
	w.expectCalls(c, "get", "create", "status")
	got := w.get()
	if got.Status.Result != v1beta1.ConfigurationValid || got.Status.ErrorSummary != "" || len(got.Status.Warnings) != 0 {
		t.Errorf("status %+v", got.Status)
	}
	if !cmp.Equal(got.Status.Subnets, []string{"192.0.2.0/24"}) || !cmp.Equal(got.Status.Gateways, []string{"192.0.2.1"}) {
		t.Errorf("networks %v %v", got.Status.Subnets, got.Status.Gateways)
	}
	if d := cmp.Diff(map[string]string{v1beta1.LabelComponentType: "speaker", v1beta1.LabelNodeName: "n"}, got.Labels); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}}, got.OwnerReferences); d != "" {
		t.Error(d)
	}

	for range 3 {
		w.must(s.Set(ctx, valid, Outcome{}))
		w.must(s.SetNetworks(ctx, subnets, gateways))
		w.must(s.Seen(ctx, w.get()))
	}
	w.expectCalls(c)

	wrong := Outcome{Errors: []string{"BGPPeer a: one", "BGPPeer a: two"}, Warnings: []string{"odd"}}
	w.must(s.SetAll(ctx, map[string]Outcome{valid: wrong, v1beta1.ConditionPoolsValid: {Warnings: []string{"odd"}}}))
	w.expectCalls(c, "status")
	got = w.get()
	if got.Status.Result != v1beta1.ConfigurationInvalid || got.Status.ErrorSummary != "BGPPeer a: one\nBGPPeer a: two" || !cmp.Equal(got.Status.Warnings, []string{"odd"}) {
		t.Errorf("status %+v", got.Status)
	}
	if cond := meta.FindStatusCondition(got.Status.Conditions, valid); cond.Status != metav1.ConditionFalse || cond.Reason != ConfigurationError ||
		cond.Message != "configuration error: BGPPeer a: one\nBGPPeer a: two" {
		t.Errorf("condition %+v", cond)
	}
	if cond := meta.FindStatusCondition(got.Status.Conditions, v1beta1.ConditionPoolsValid); cond.Status != metav1.ConditionTrue || cond.Reason != Reconciled {
		t.Errorf("condition %+v", cond)
	}

	w.must(s.Clear(ctx, valid))
	w.must(s.Clear(ctx, v1beta1.ConditionPoolsValid))
	w.expectCalls(c, "status", "status")
	if got = w.get(); got.Status.Result != v1beta1.ConfigurationUnknown || len(got.Status.Conditions) != 0 || got.Status.ErrorSummary != "" {
		t.Errorf("status %+v", got.Status)
	}
}

func TestTransitionTimeChangesWithTheStatusOnly(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	long := metav1.NewTime(time.Now().Add(-time.Hour)).Rfc3339Copy()
	s, _ := w.state("")
	w.must(s.Set(ctx, valid, Outcome{Errors: []string{"x"}}))
	got := w.get()
	got.Status.Conditions[0].LastTransitionTime = long
	w.must(w.Status().Update(ctx, got))

	again, c := w.state("") // the process is started anew
	w.must(again.Set(ctx, valid, Outcome{Errors: []string{"x"}}))
	w.expectCalls(c, "get")
	w.must(again.Set(ctx, valid, Outcome{Errors: []string{"y"}}))
	if at := w.get().Status.Conditions[0].LastTransitionTime; !at.Equal(&long) {
		t.Errorf("another message changed the time to %v", at)
	}
	w.must(again.Set(ctx, valid, Outcome{}))
	if at := w.get().Status.Conditions[0].LastTransitionTime; time.Since(at.Time) > time.Minute {
		t.Errorf("the time of the transition is %v", at)
	}
}

// TestAPodTakesOver is an upgrade: for a while two pods of a node report.
func TestAPodTakesOver(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.pod("old")
	young := w.pod("new")
	a, ca := w.state("old")
	b, cb := w.state("new")
	w.must(a.Set(ctx, valid, Outcome{Errors: []string{"of old"}}))
	ca.take()
	w.must(b.Set(ctx, valid, Outcome{}))
	w.expectCalls(cb, "get", "update", "status")
	owner := func() string {
		if refs := w.get().OwnerReferences; len(refs) == 1 {
			return refs[0].Name
		}
		return fmt.Sprint(w.get().OwnerReferences)
	}
	if owner() != "new" || w.get().OwnerReferences[0].UID != young.UID {
		t.Fatalf("owner %s", owner())
	}
	// The old one finds out, by a watch or as it writes, and is silent.
	w.must(a.Set(ctx, valid, Outcome{Errors: []string{"of old again"}}))
	w.must(a.Seen(ctx, w.get()))
	w.must(a.SetNetworks(ctx, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, nil))
	if got := w.get(); got.Status.Result != v1beta1.ConfigurationValid || owner() != "new" || len(got.Status.Subnets) != 0 {
		t.Errorf("the old pod has written %+v", got)
	}
	// When the new pod goes, its report goes with it, and the old one reports again.
	w.must(w.Delete(ctx, w.get()))
	w.must(a.Seen(ctx, nil))
	if got := w.get(); owner() != "old" || got.Status.ErrorSummary != "of old again" || len(got.Status.Subnets) != 1 {
		t.Errorf("it is %+v", got)
	}
}

func TestStateIsPutRight(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s, c := w.state("")
	w.must(s.Seen(ctx, nil)) // before there is anything to say
	w.expectCalls(c)
	options := ctrl.Options{Scheme: w.scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: ctrlconfig.Controller{SkipNameValidation: ptr.To(true)}}
	mgr, err := ctrl.NewManager(testenv.Config(t), options)
	w.must(err)
	w.must(s.SetupWithManager(mgr))
	run, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- mgr.Start(run) }()
	t.Cleanup(func() {
		cancel()
		w.must(<-done)
	})
	w.must(s.Set(ctx, valid, Outcome{Warnings: []string{"odd"}}))
	right := func() bool {
		got := &v1beta1.ConfigurationState{}
		err := w.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: "speaker-n"}, got)
		return err == nil && got.Status.Result == v1beta1.ConfigurationValid && cmp.Equal(got.Status.Warnings, []string{"odd"}) && got.Labels[v1beta1.LabelNodeName] == "n"
	}
	w.must(w.Delete(ctx, w.get()))
	w.eventually("it is made again", right)
	edited := w.get()
	edited.Status.Warnings = nil
	w.must(w.Status().Update(ctx, edited))
	w.eventually("its status is put right", right)
	edited = w.get()
	edited.Labels = map[string]string{"mine": "stays"}
	w.must(w.Update(ctx, edited))
	w.eventually("its labels are put right", right)
	if w.get().Labels["mine"] != "stays" {
		t.Error("a label of somebody else is gone")
	}
	time.Sleep(300 * time.Millisecond)
	version := w.get().ResourceVersion
	c.take()
	time.Sleep(500 * time.Millisecond)
	if got := w.get().ResourceVersion; got != version {
		t.Errorf("it is written without a change: %s, %s", version, got)
	}
	w.expectCalls(c)
}

func TestWhatCouldNotBeWrittenIsWrittenLater(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s, c := w.state("")
	c.fail = errors.New("no way")
	if err := s.Set(ctx, valid, Outcome{Errors: []string{"x"}}); err == nil || !strings.Contains(err.Error(), "ConfigurationState speaker-n: no way") {
		t.Errorf("error %v", err)
	}
	c.fail = nil
	w.must(s.SetNetworks(ctx, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, nil))
	if got := w.get(); got.Status.ErrorSummary != "x" || len(got.Status.Subnets) != 1 {
		t.Errorf("status %+v", got.Status)
	}
	// A namespace that is gone is an error, not an endless loop.
	s, c = w.state("")
	s.Namespace = "not-there"
	if err := s.Set(ctx, valid, Outcome{}); !apierrors.IsNotFound(err) || len(c.take()) > 2*rounds {
		t.Errorf("error %v", err)
	}
}

func TestLongTextsAreCut(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s, _ := w.state("")
	var o Outcome
	for i := range 2000 {
		o.Errors = append(o.Errors, fmt.Sprintf("BGPPeer p%d: %s", i, strings.Repeat("ü", 100)))
		o.Warnings = append(o.Warnings, fmt.Sprintf("%d: %s", i, strings.Repeat("w", 5000)))
	}
	w.must(s.Set(ctx, valid, o))
	got := w.get().Status
	if m := got.Conditions[0].Message; len(m) > longestMessage || !strings.HasSuffix(m, " …") || !strings.HasPrefix(m, "configuration error: BGPPeer p0:") {
		t.Errorf("message of %d bytes: %.40s", len(m), m)
	}
	if len(got.Warnings) != mostWarnings || got.Warnings[mostWarnings-1] != "and 1901 more" || !strings.HasSuffix(got.Warnings[0], " …") {
		t.Errorf("%d warnings, the last %q", len(got.Warnings), got.Warnings[len(got.Warnings)-1])
	}
	if len(got.ErrorSummary) > longestSummary {
		t.Errorf("summary of %d bytes", len(got.ErrorSummary))
	}
}
