package rollout

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/render"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func metalLB() *v1beta1.MetalLB {
	return &v1beta1.MetalLB{ObjectMeta: metav1.ObjectMeta{Name: Name, Namespace: "lb", Generation: 7}}
}

func deployment(updated, available int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Generation: 2},
		Status:     appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: updated, UpdatedReplicas: updated, AvailableReplicas: available},
	}
}

func daemonSet(desired, updated, ready int32) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Generation: 2},
		Status: appsv1.DaemonSetStatus{ObservedGeneration: 2, DesiredNumberScheduled: desired, CurrentNumberScheduled: desired,
			UpdatedNumberScheduled: updated, NumberReady: ready, NumberAvailable: ready},
	}
}

func onDelete(ds *appsv1.DaemonSet) *appsv1.DaemonSet {
	ds.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType
	return ds
}

// pod is one that is ready, where there is no reason why not.
func pod(component, node string, age int, reason string) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: render.PodLabels(component), CreationTimestamp: metav1.NewTime(start.Add(time.Duration(age) * time.Second))},
		Spec: corev1.PodSpec{NodeName: node}}
	switch {
	case reason == "":
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	case node == "":
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason}}
	default:
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}
	}
	return p
}

// after returns what is known when the workloads have been as they are for a time.
func after(d time.Duration, controller *appsv1.Deployment, speaker *appsv1.DaemonSet) Snapshot {
	m := metalLB()
	return Snapshot{MetalLB: m, Controller: controller, Speaker: speaker, Now: start.Add(d),
		Progress: Progress{}.Next(m, controller, speaker, start).Next(m, controller, speaker, start.Add(d))}
}

func (s Snapshot) with(change func(*Snapshot)) Snapshot { change(&s); return s }

func TestConditions(t *testing.T) {
	deploymentRendered := render.Objects(metalLB(), render.Environment{Image: "i"})[6]
	invalid := apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: "Deployment"}, "controller",
		field.ErrorList{field.Invalid(field.NewPath("spec", "template", "spec", "containers").Index(0).Child("resources"), "2", "must be less than or equal to cpu limit")})
	unavailable := deployment(1, 0)
	unavailable.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue,
		Reason: "FailedCreate", Message: `pods "controller-1" is forbidden: exceeded quota`}}
	notObserved := daemonSet(3, 3, 3)
	notObserved.Generation++
	surplus := deployment(1, 1)
	surplus.Status.Replicas = 2
	notCreated := daemonSet(3, 1, 1)
	notCreated.Status.CurrentNumberScheduled = 1

	// Each condition: status, reason, and parts of the message.
	type want map[string][]string
	for name, c := range map[string]struct {
		in   Snapshot
		want want
	}{
		"a complete rollout is available and needs nobody": {
			after(0, deployment(1, 1), daemonSet(3, 3, 3)),
			want{
				"Available":   {"True", "AsExpected", "speaker on 3 nodes of 3"},
				"Progressing": {"False", "AsExpected", "up to date"},
				"Degraded":    {"False", "AsExpected"},
			},
		},
		"a fresh installation has nothing yet and progresses": {
			after(0, nil, nil),
			want{
				"Available":   {"False", "RollingOut", "No controller is ready", "no speakers yet"},
				"Progressing": {"True", "RollingOut", "to be created"},
				"Degraded":    {"False", "AsExpected"},
			},
		},
		"what the DaemonSet controller has not seen yet says nothing of the new specification": {
			after(0, deployment(1, 1), notObserved),
			want{"Available": {"True", "AsExpected"}, "Progressing": {"True", "RollingOut", "The controller is up to date.", "taken up"}, "Degraded": {"False"}},
		},
		"a speaker updated beside the old one keeps it available": {
			after(0, deployment(1, 1), daemonSet(3, 1, 3)),
			want{"Available": {"True", "AsExpected"}, "Progressing": {"True", "RollingOut", "of 3 pods 1 are up to date and 3 available"}, "Degraded": {"False"}},
		},
		"an old controller pod that is still there is progress to come": {
			after(0, surplus, daemonSet(3, 3, 3)),
			want{"Available": {"True"}, "Progressing": {"True", "RollingOut", "of 1 pods 1 are up to date and 1 available, 1 of an older specification among them."}},
		},
		"speakers that wait for the controller are not said to be up to date": {
			after(0, deployment(0, 1), daemonSet(3, 3, 3)).with(func(s *Snapshot) { s.SpeakersWait = true }),
			want{"Available": {"True", "AsExpected"}, "Progressing": {"True", "RollingOut", "The controller: of 1 pods 0 are up to date", "The speakers keep their version until it is up."}, "Degraded": {"False"}},
		},
		"a controller that does not come up is said to keep the speakers waiting": {
			after(Deadline, deployment(0, 1), daemonSet(3, 3, 3)).with(func(s *Snapshot) { s.SpeakersWait = true }),
			want{"Available": {"True", "AsExpected"}, "Progressing": {"True"}, "Degraded": {"True", "RolloutStuck", "No progress for 40s: the controller", "The speakers keep their version until it is up. See why: kubectl"}},
		},
		"nodes without a speaker are counted": {
			after(Deadline-1, deployment(1, 1), daemonSet(3, 3, 1)),
			want{"Available": {"False", "RollingOut", "2 of 3 nodes without a ready speaker"}, "Progressing": {"True", "RollingOut"}, "Degraded": {"False"}},
		},
		"a speaker that stands still until the deadline is stuck": {
			after(Deadline, deployment(1, 1), daemonSet(3, 3, 1)),
			want{
				"Available":   {"False", "RolloutStuck", "2 of 3 nodes"},
				"Progressing": {"True", "RollingOut"},
				"Degraded":    {"True", "RolloutStuck", "40s", "2 of 3 nodes", "kubectl -n lb describe pods -l app=metallb,component=speaker"},
			},
		},
		"a new image that cannot be pulled is stuck while the old pods keep it available": {
			after(Deadline, deployment(1, 1), daemonSet(3, 1, 3)),
			want{"Available": {"True", "AsExpected"}, "Degraded": {"True", "RolloutStuck", "0 of 3 nodes"}},
		},
		"a controller that stands still is stuck": {
			after(Deadline, deployment(1, 0), daemonSet(3, 3, 3)),
			want{"Available": {"False", "RolloutStuck", "No controller is ready"}, "Degraded": {"True", "RolloutStuck", "component=controller"}},
		},
		"a pod that may not be created is reported at once": {
			after(0, unavailable, daemonSet(3, 3, 3)),
			want{"Available": {"False", "RolloutStuck"}, "Degraded": {"True", "RolloutStuck", "exceeded quota"}},
		},
		"speaker pods that are not created point to the DaemonSet": {
			after(Deadline, deployment(1, 1), notCreated),
			want{"Degraded": {"True", "RolloutStuck", "not created on 2 nodes of 3", "describe daemonset speaker"}},
		},
		"no node to run on": {
			after(Deadline, deployment(1, 1), daemonSet(0, 0, 0)),
			want{"Available": {"False", "RolloutStuck", "No node is to run a speaker"}, "Degraded": {"True", "RolloutStuck", "spec.nodeSelector"}},
		},
		"a refused object keeps what runs and names the field": {
			after(0, deployment(1, 1), daemonSet(3, 3, 3)).with(func(s *Snapshot) {
				s.ApplyErrors = []ApplyError{{Object: deploymentRendered, Err: invalid}}
			}),
			want{
				"Available":   {"True", "AsExpected"},
				"Progressing": {"False", "ApplyFailed", "What runs is kept"},
				"Degraded":    {"True", "ApplyFailed", "Deployment lb/controller was not applied", "must be less than or equal to cpu limit", "controllerConfig"},
			},
		},
		"an object of somebody else is in the way": {
			after(0, nil, daemonSet(3, 3, 3)).with(func(s *Snapshot) {
				s.ApplyErrors = []ApplyError{{Object: deploymentRendered, Err: fmt.Errorf("get: %w", ErrForeign)}}
			}),
			want{"Degraded": {"True", "ApplyFailed", "Delete or rename that object"}},
		},
		"Pod Security that refuses the speaker is told with the command, whatever runs": {
			after(0, deployment(1, 1), daemonSet(3, 3, 3)).with(func(s *Snapshot) { s.PodSecurity = "restricted" }),
			want{
				"Available": {"True", "AsExpected"},
				"Degraded":  {"True", "PodSecurity", "kubectl label --overwrite namespace lb pod-security.kubernetes.io/enforce=privileged"},
			},
		},
		"Pod Security that allows the speaker is no problem": {
			after(0, deployment(1, 1), daemonSet(3, 3, 3)).with(func(s *Snapshot) { s.PodSecurity = "privileged" }),
			want{"Degraded": {"False", "AsExpected"}},
		},
		"of several problems the gravest gives the reason and all are told": {
			after(Deadline, deployment(1, 1), daemonSet(3, 3, 2)).with(func(s *Snapshot) {
				s.PodSecurity = "baseline"
				s.ApplyErrors = []ApplyError{{Object: deploymentRendered, Err: errors.New("timeout")}}
			}),
			want{"Degraded": {"True", "ApplyFailed", "timeout", "kubectl label", "1 of 3 nodes"}},
		},
		"nodes without a ready speaker are named, with why": {
			after(0, deployment(1, 1), daemonSet(6, 6, 1)).with(func(s *Snapshot) {
				s.Pods = []corev1.Pod{pod(render.Speaker, "e", 0, "CrashLoopBackOff"), pod(render.Speaker, "a", 0, ""), pod(render.Speaker, "d", 0, "ErrImagePull"),
					pod(render.Speaker, "c", 0, "CreateContainerConfigError"), pod(render.Speaker, "b", 0, "x"), pod(render.Controller, "g", 0, "x")}
			}),
			want{"Available": {"False", "RollingOut", "5 of 6 nodes without a ready speaker (b x, c CreateContainerConfigError, d ImagePullBackOff, 1 more)."}},
		},
		"a new speaker that does not come up is named though the old one is ready": {
			after(Deadline, deployment(1, 1), daemonSet(2, 1, 2)).with(func(s *Snapshot) {
				s.Pods = []corev1.Pod{pod(render.Speaker, "a", 0, ""), pod(render.Speaker, "a", 1, "ErrImagePull"), pod(render.Speaker, "b", 0, "")}
			}),
			want{
				"Available": {"True", "AsExpected"},
				"Degraded":  {"True", "RolloutStuck", "Not ready (a ImagePullBackOff)."},
			},
		},
		"a controller that finds no node": {
			after(Deadline, deployment(1, 0), daemonSet(2, 2, 2)).with(func(s *Snapshot) {
				s.Pods = []corev1.Pod{pod(render.Controller, "", 0, "Unschedulable")}
			}),
			want{"Degraded": {"True", "RolloutStuck", "Not ready (Unschedulable)."}},
		},
		"speakers that are replaced only once they are deleted are not in the way": {
			after(Deadline, deployment(1, 1), onDelete(daemonSet(3, 1, 3))),
			want{
				"Available":   {"True", "AsExpected"},
				"Progressing": {"False", "AsExpected", "2 of 3 pods are of an older specification until they are deleted"},
				"Degraded":    {"False", "AsExpected"},
			},
		},
		"fields without effect are named": {
			after(0, deployment(1, 1), daemonSet(3, 3, 3)).with(func(s *Snapshot) {
				s.MetalLB.Spec = v1beta1.MetalLBSpec{BGPBackend: v1beta1.BGPBackendFRR, Image: "x", FRRK8sConfig: &v1beta1.FRRK8sConfig{}}
			}),
			want{"Available": {"True", "AsExpected", "spec.bgpBackend frr is served by the one implementation", "without effect: spec.frrk8sConfig, spec.image"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Conditions(c.in)
			if len(got) != 3 {
				t.Fatalf("%d conditions", len(got))
			}
			for kind, want := range c.want {
				condition := meta.FindStatusCondition(got, kind)
				if condition == nil {
					t.Fatalf("no condition %s", kind)
				}
				if condition.ObservedGeneration != 7 {
					t.Errorf("%s: observedGeneration %d", kind, condition.ObservedGeneration)
				}
				if string(condition.Status) != want[0] || len(want) > 1 && condition.Reason != want[1] {
					t.Errorf("%s is %s %s: %s; want %v", kind, condition.Status, condition.Reason, condition.Message, want)
				}
				for _, part := range want[min(2, len(want)):] {
					if !strings.Contains(condition.Message, part) {
						t.Errorf("%s: message %q lacks %q", kind, condition.Message, part)
					}
				}
			}
		})
	}
}

func TestNotServedSaysWhyAndWhatToDo(t *testing.T) {
	m, older := metalLB(), metalLB()
	older.Namespace = "first"
	for reason, c := range map[string]struct {
		older *v1beta1.MetalLB
		part  string
	}{
		ReasonWrongName:    {nil, `must be named "metallb"`},
		ReasonNotTheOldest: {older, "namespace first is older"},
	} {
		for _, got := range NotServed(m, c.older) {
			wantReason, wantStatus := reason, metav1.ConditionFalse
			if got.Type == v1beta1.ConditionProgressing {
				wantReason = ReasonAsExpected
			} else if !strings.Contains(got.Message, c.part) {
				t.Errorf("%s: message %q lacks %q", got.Type, got.Message, c.part)
			}
			if got.Type == v1beta1.ConditionDegraded {
				wantStatus = metav1.ConditionTrue
			}
			if got.Reason != wantReason || got.Status != wantStatus || got.ObservedGeneration != 7 {
				t.Errorf("%s is %s %s, generation %d; want %s %s", got.Type, got.Status, got.Reason, got.ObservedGeneration, wantStatus, wantReason)
			}
		}
	}
}

func TestProgress(t *testing.T) {
	m, ctl := metalLB(), deployment(1, 1)
	p := Progress{}.Next(m, ctl, daemonSet(3, 1, 1), start)
	if due := p.Due(start); due != Deadline {
		t.Errorf("due in %s, want %s", due, Deadline)
	}
	if due := p.Due(start.Add(Deadline)); due != 0 {
		t.Errorf("when the deadline has passed nothing more is due, got %s", due)
	}
	// One pod more just before the deadline starts it anew.
	later := start.Add(Deadline - time.Second)
	p = p.Next(m, ctl, daemonSet(3, 2, 2), later)
	if p.speaker.stuck(later.Add(Deadline - 1)) {
		t.Error("stuck though it got on")
	}
	if !p.speaker.stuck(later.Add(Deadline)) {
		t.Error("not stuck though it stood still")
	}
	p = p.Next(m, ctl, daemonSet(3, 3, 3), later)
	if !p.complete() || p.Due(later) != 0 {
		t.Error("not complete, or something is due when it is")
	}
}

func TestAnOperatorThatRestartsDoesNotForgetThatTheRolloutIsStuck(t *testing.T) {
	s := after(Deadline, deployment(1, 1), daemonSet(3, 3, 1))
	m := s.MetalLB
	m.Status.Conditions, _ = Merge(nil, Conditions(s), s.Now)

	restarted := Progress{}.Next(m, s.Controller, s.Speaker, s.Now)
	s.Progress = restarted
	if got := meta.FindStatusCondition(Conditions(s), v1beta1.ConditionDegraded); got.Reason != ReasonRolloutStuck {
		t.Errorf("after a restart Degraded is %s %s", got.Status, got.Reason)
	}
	moved := daemonSet(3, 3, 2)
	s.Progress, s.Speaker = restarted.Next(m, s.Controller, moved, s.Now), moved
	if got := meta.FindStatusCondition(Conditions(s), v1beta1.ConditionDegraded); got.Status != metav1.ConditionFalse {
		t.Errorf("it moved, but Degraded is %s: %s", got.Status, got.Message)
	}
	m.Generation++
	if (Progress{}).Next(m, s.Controller, s.Speaker, s.Now).speaker.stuck(s.Now) {
		t.Error("a new specification starts stuck")
	}
}

func TestMerge(t *testing.T) {
	s := after(0, deployment(1, 1), daemonSet(3, 3, 3))
	others := metav1.Condition{Type: "Upgradeable", Status: metav1.ConditionTrue, Reason: "Theirs"}
	first, changed := Merge([]metav1.Condition{others}, Conditions(s), start)
	if !changed || first[0] != others || len(first) != 4 {
		t.Fatalf("changed %t: %v", changed, first)
	}
	again, changed := Merge(first, Conditions(s), start.Add(time.Hour))
	if changed || !cmp.Equal(first, again) {
		t.Errorf("the same once more is a change: %s", cmp.Diff(first, again))
	}
	s.MetalLB.Generation++
	generation, changed := Merge(first, Conditions(s), start.Add(time.Hour))
	if !changed || generation[1].ObservedGeneration != 8 || !generation[1].LastTransitionTime.Time.Equal(start) {
		t.Errorf("a new generation is written without moving the time of the transition: %v", generation[1])
	}
	broken := after(0, deployment(1, 0), daemonSet(3, 3, 3))
	down, changed := Merge(first, Conditions(broken), start.Add(time.Hour))
	if !changed || !down[1].LastTransitionTime.Time.Equal(start.Add(time.Hour)) || !down[3].LastTransitionTime.Time.Equal(start) {
		t.Errorf("times of transition: %v", down)
	}
	if first[1].Status != metav1.ConditionTrue {
		t.Error("Merge wrote into its input")
	}
}

func TestStatusCounts(t *testing.T) {
	s := after(0, deployment(1, 1), daemonSet(12, 3, 1))
	s.Version = "v9"
	s.Controller.Status.ReadyReplicas = 1
	for i := range 11 {
		s.Pods = append(s.Pods, pod(render.Speaker, fmt.Sprintf("n%02d", i), 0, "ErrImagePull"))
	}
	got := Status(s, nil, start)
	if len(got.Speaker.WithoutReady) != 10 || got.Speaker.WithoutReady[9] != (v1beta1.NodeWithoutSpeaker{Name: "n09", Reason: "ImagePullBackOff"}) {
		t.Errorf("nodes without a ready speaker: %v", got.Speaker.WithoutReady)
	}
	got.Speaker.WithoutReady, got.Conditions = nil, nil
	want := v1beta1.MetalLBStatus{ObservedVersion: "v9",
		Controller: &v1beta1.ControllerStatus{Replicas: 1, Ready: 1, Updated: 1},
		Speaker:    &v1beta1.SpeakerStatus{Nodes: 12, Ready: 1, Updated: 3}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !NeedsPods(s) || NeedsPods(after(0, deployment(1, 1), daemonSet(3, 1, 3))) || !NeedsPods(after(Deadline, deployment(1, 1), daemonSet(3, 1, 3))) {
		t.Error("pods are needed where a node lacks a ready speaker or the rollout stands still, and only there")
	}
}

// A pod that is on its way to a node is that node's, one that ends is not ready, and a word stays though the state goes
// back and forth.
func TestWhyAPodIsNotReady(t *testing.T) {
	waits := pod(render.Speaker, "", 0, "Unschedulable")
	waits.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"a"}}}}}}}}
	ends := pod(render.Speaker, "b", 0, "")
	ends.DeletionTimestamp = &metav1.Time{Time: start}
	restarts := pod(render.Speaker, "c", 0, "x")
	restarts.Status.ContainerStatuses[0] = corev1.ContainerStatus{RestartCount: 1, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	lost := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: render.PodLabels(render.Speaker)}, Spec: corev1.PodSpec{NodeName: "d"},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}}}
	evicted := lost
	evicted.Spec.NodeName, evicted.Status.Reason = "e", "Evicted"
	s := Snapshot{Pods: []corev1.Pod{evicted, lost, restarts, ends, waits}}
	want := []v1beta1.NodeWithoutSpeaker{{Name: "a", Reason: "Unschedulable"}, {Name: "b", Reason: "Terminating"}, {Name: "c", Reason: "CrashLoopBackOff"},
		{Name: "d", Reason: "NotReady"}, {Name: "e", Reason: "Evicted"}}
	if diff := cmp.Diff(want, s.unready()); diff != "" {
		t.Error(diff)
	}
}

func TestLongMessagesAreCutAtARunesBorder(t *testing.T) {
	for i := range 4 {
		got := shorten(strings.Repeat("x", longest-i) + "äöü€€€")
		if len(got) > longest+4 || !strings.HasSuffix(got, " ...") || strings.ContainsRune(got, '\uFFFD') {
			t.Errorf("%d bytes, end %q", len(got), got[len(got)-10:])
		}
	}
}
