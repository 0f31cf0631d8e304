package metallb

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/rollout"
)

func TestARefusedObjectIsReportedAndRetriedWhileTheRestGoesOn(t *testing.T) {
	c := newCluster(t)
	o := c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	c.play(t, m.Namespace, 1, 3, 3)
	c.condition(t, m, v1beta1.ConditionAvailable, metav1.ConditionTrue, rollout.ReasonAsExpected)
	read := func() {
		t.Helper()
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(m), m); err != nil {
			t.Fatal(err)
		}
	}
	set := func(change func(*v1beta1.MetalLBSpec)) {
		t.Helper()
		read()
		before := m.DeepCopy()
		change(&m.Spec)
		if err := c.Patch(t.Context(), m, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	controller := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: m.Namespace, Name: render.Controller}
	if err := c.Get(t.Context(), key, controller); err != nil {
		t.Fatal(err)
	}
	writes := len(o.writes.since(0))
	set(func(s *v1beta1.MetalLBSpec) {
		s.LogLevel = v1beta1.LogLevelDebug
		s.ControllerConfig = &v1beta1.ControllerConfig{WorkloadConfig: v1beta1.WorkloadConfig{Resources: &corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
		}}}
	})
	degraded := c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionTrue, rollout.ReasonApplyFailed)
	for _, part := range []string{"resources.requests", "must be less than or equal to cpu limit", "controllerConfig"} {
		if !strings.Contains(degraded.Message, part) {
			t.Errorf("message %q lacks %q", degraded.Message, part)
		}
	}
	read()
	reported := m.ResourceVersion
	c.condition(t, m, v1beta1.ConditionProgressing, metav1.ConditionFalse, rollout.ReasonApplyFailed)
	c.condition(t, m, v1beta1.ConditionAvailable, metav1.ConditionTrue, rollout.ReasonAsExpected) // what ran before goes on
	after := &appsv1.Deployment{}
	if err := c.Get(t.Context(), key, after); err != nil {
		t.Fatal(err)
	}
	if after.Generation != controller.Generation {
		t.Error("the refused Deployment has changed")
	}
	eventually(t, func() error {
		speaker := &appsv1.DaemonSet{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: m.Namespace, Name: render.Speaker}, speaker); err != nil {
			return err
		}
		if args := speaker.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--log-level=debug") {
			return fmt.Errorf("the speaker is kept from its change: %v", args)
		}
		return nil
	})
	attempts := func() (n int) {
		for _, w := range o.writes.since(writes) {
			if strings.HasSuffix(w, "/deployments/controller") {
				n++
			}
		}
		return n
	}
	eventually(t, func() error {
		if n := attempts(); n < 4 {
			return fmt.Errorf("tried %d times", n)
		}
		return nil
	})
	read()
	if m.ResourceVersion != reported { // requests are not counted: one that conflicts with a newer version writes nothing
		t.Error("a failure that goes on is written to the status again")
	}
	set(func(s *v1beta1.MetalLBSpec) { s.ControllerConfig = nil })
	c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionFalse, rollout.ReasonAsExpected)
}

// The operator may look at the pods where it installs, and names the nodes of those that are not ready.
func TestNodesWithoutAReadySpeakerAreNamed(t *testing.T) {
	c := newCluster(t)
	c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	for node, reason := range map[string]string{"node-a": "", "node-b": "ErrImagePull"} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: node, Labels: render.PodLabels(render.Speaker)},
			Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: render.Speaker, Image: "i"}}}}
		if err := c.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		if reason != "" {
			pod.Status.Conditions[0].Status = corev1.ConditionFalse
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: render.Speaker, Image: "i", ImageID: "i", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}
		}
		if err := c.Status().Update(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	c.play(t, m.Namespace, 1, 2, 1)
	want := v1beta1.MetalLBStatus{ObservedVersion: "v9",
		Controller: &v1beta1.ControllerStatus{Replicas: 1, Ready: 1, Updated: 1},
		Speaker:    &v1beta1.SpeakerStatus{Nodes: 2, Ready: 1, Updated: 2, WithoutReady: []v1beta1.NodeWithoutSpeaker{{Name: "node-b", Reason: "ImagePullBackOff"}}},
	}
	eventually(t, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(m), m); err != nil {
			return err
		}
		got := m.Status
		got.Conditions = nil
		if diff := cmp.Diff(want, got); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	available := c.condition(t, m, v1beta1.ConditionAvailable, metav1.ConditionFalse, rollout.ReasonRollingOut)
	if !strings.Contains(available.Message, "1 of 2 nodes without a ready speaker (node-b ImagePullBackOff).") {
		t.Error(available.Message)
	}
}

func TestPodSecurityOfTheNamespaceIsReportedAndClearsItself(t *testing.T) {
	c := newCluster(t)
	c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	label := func(level string) {
		t.Helper()
		ns := &corev1.Namespace{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: m.Namespace}, ns); err != nil {
			t.Fatal(err)
		}
		before := ns.DeepCopy()
		if ns.Labels == nil {
			ns.Labels = map[string]string{}
		}
		ns.Labels[rollout.PodSecurityLabel] = level
		if err := c.Patch(t.Context(), ns, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionFalse, rollout.ReasonAsExpected)
	for _, level := range []string{"restricted", "baseline"} {
		label(level)
		got := c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionTrue, rollout.ReasonPodSecurity)
		if !strings.Contains(got.Message, "kubectl label --overwrite namespace "+m.Namespace) {
			t.Errorf("no command in: %s", got.Message)
		}
		label("privileged")
		c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionFalse, rollout.ReasonAsExpected)
	}
}

// An operator of another version brings the controller up first; speakers follow, and only then. What is no upgrade does
// not wait.
func TestAnUpgradeRollsTheControllerAndThenTheSpeakers(t *testing.T) {
	c := newCluster(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	now := time.Now()
	r := &Reconciler{Client: c.Client, Live: c.Client, Environment: environment, Now: func() time.Time { return now }}
	pass := func() {
		t.Helper()
		if _, err := r.Reconcile(t.Context(), ctrl.Request{}); err != nil {
			t.Fatal(err)
		}
	}
	images := func() (controller, speaker string) {
		t.Helper()
		for _, o := range []client.Object{c.workload(m, render.Controller), c.workload(m, render.Speaker)} {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
				t.Fatal(err)
			}
			controller, speaker = speaker, podTemplate(o).Spec.Containers[0].Image
		}
		return controller, speaker
	}
	old := environment.Image
	pass()
	c.play(t, m.Namespace, 1, 3, 3)
	pass()
	const upgraded = "registry.example.com/lb:v10"
	r = &Reconciler{Client: c.Client, Live: c.Client, Environment: environment, Now: r.Now}
	r.Environment.Image = upgraded
	for range 2 { // the second time nothing has changed
		pass()
		if controller, speaker := images(); controller != upgraded || speaker != old {
			t.Fatalf("the controller has %s, the speakers %s", controller, speaker)
		}
	}
	c.condition(t, m, v1beta1.ConditionProgressing, metav1.ConditionTrue, rollout.ReasonRollingOut)
	now = now.Add(rollout.Deadline)
	pass()
	if got := c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionTrue, rollout.ReasonRolloutStuck); !strings.Contains(got.Message, "The speakers keep their version") {
		t.Errorf("a controller that does not come up: %s", got.Message)
	}
	if available := c.condition(t, m, v1beta1.ConditionAvailable, metav1.ConditionTrue, rollout.ReasonAsExpected); available.Message == "" {
		t.Error("the load balancer is available and does not say so")
	}
	c.play(t, m.Namespace, 1, 3, 3)
	pass()
	if controller, speaker := images(); controller != upgraded || speaker != upgraded {
		t.Fatalf("the controller is up, and the speakers have %s", speaker)
	}
	// The way back takes the same order.
	r.Environment.Image = old
	pass()
	if controller, speaker := images(); controller != old || speaker != upgraded {
		t.Fatalf("on the way back the controller has %s, the speakers %s", controller, speaker)
	}
}

func TestARolloutThatStandsStillIsDegradedAtItsDeadline(t *testing.T) {
	c := newCluster(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	now := time.Now()
	r := &Reconciler{Client: c.Client, Live: c.Client, Environment: environment, Now: func() time.Time { return now }}
	pass := func() time.Duration {
		t.Helper()
		result, err := r.Reconcile(t.Context(), ctrl.Request{})
		if err != nil {
			t.Fatal(err)
		}
		return result.RequeueAfter
	}
	pass()
	c.play(t, m.Namespace, 1, 3, 2)
	now = now.Add(time.Second)
	if again := pass(); again != lookEvery { // a node lacks a ready speaker: it may be known why by then
		t.Errorf("looks again after %s, want %s", again, lookEvery)
	}
	now = now.Add(rollout.Deadline)
	if again := pass(); again != lookEvery {
		t.Errorf("looks again after %s, want %s", again, lookEvery)
	}
	c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionTrue, rollout.ReasonRolloutStuck)
	c.condition(t, m, v1beta1.ConditionAvailable, metav1.ConditionFalse, rollout.ReasonRolloutStuck)
	c.play(t, m.Namespace, 1, 3, 3)
	if again := pass(); again != 0 {
		t.Errorf("looks again after %s though nothing is due", again)
	}
	c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionFalse, rollout.ReasonAsExpected)
	c.condition(t, m, v1beta1.ConditionAvailable, metav1.ConditionTrue, rollout.ReasonAsExpected)
}
