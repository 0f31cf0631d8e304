// Package rollout turns what is known of an installation into the conditions of its MetalLB resource: is it available,
// is it still rolling out, does it need a person. It owns their reasons and messages. It is pure: no client, and no
// clock but the times that it is given.
package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/api/v1beta1"
)

// Reasons of conditions. Every condition has AsExpected while there is nothing to say.
const (
	ReasonAsExpected   = "AsExpected"
	ReasonRollingOut   = "RollingOut"
	ReasonApplyFailed  = "ApplyFailed"
	ReasonPodSecurity  = "PodSecurity"
	ReasonRolloutStuck = "RolloutStuck"
	ReasonNotTheOldest = "NotTheOldest"
	ReasonWrongName    = "IncorrectMetalLBResourceName"
)

// Name is the one name that a MetalLB resource may have.
const Name = "metallb"

// CompareAge puts the MetalLB resource first that is served where there are several of that name: the oldest, and of two of
// the same second the first by namespace.
func CompareAge(a, b *v1beta1.MetalLB) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace))
}

// PodSecurityLabel is the label of a namespace that says which pods are refused there (Kubernetes: Pod Security
// Admission).
const PodSecurityLabel = "pod-security.kubernetes.io/enforce"

// Snapshot is what is known of the installation of one MetalLB resource.
type Snapshot struct {
	MetalLB *v1beta1.MetalLB
	// ApplyErrors are the objects that could not be brought into their desired state.
	ApplyErrors []ApplyError
	// PodSecurity is the value of PodSecurityLabel of the resource's namespace.
	PodSecurity string
	// Controller and Speaker as they are in the cluster; nil where absent.
	Controller *appsv1.Deployment
	Speaker    *appsv1.DaemonSet
	// Pods of the two, as far as they were looked at: they are needed where NeedsPods says so.
	Pods []corev1.Pod
	// SpeakersWait for the controller (see there), and so are not yet as they are to be.
	SpeakersWait bool
	// Progress of the two, up to Now.
	Progress Progress
	Now      time.Time
	// Version of the operator.
	Version string
}

// Conditions returns the conditions of a resource that is served, without their times.
func Conditions(s Snapshot) []metav1.Condition {
	degraded := s.degraded()
	progressing := condition(v1beta1.ConditionProgressing, false, ReasonAsExpected, "Controller and speakers are up to date.")
	if speaker := s.Progress.speaker; speaker.at.onDelete && speaker.at.updated < speaker.at.desired {
		progressing.Message = "The controller is up to date. " + speaker.describe("The speaker")
	}
	switch {
	case len(s.ApplyErrors) > 0:
		progressing.Reason = ReasonApplyFailed
		progressing.Message = "What runs is kept; applying is tried again. See the condition Degraded."
	case s.SpeakersWait:
		progressing = condition(v1beta1.ConditionProgressing, true, ReasonRollingOut,
			s.Progress.controller.describe("The controller")+" The speakers keep their version until it is up.")
	case !s.Progress.complete():
		progressing = condition(v1beta1.ConditionProgressing, true, ReasonRollingOut,
			s.Progress.controller.describe("The controller")+" "+s.Progress.speaker.describe("The speaker"))
	}
	available := condition(v1beta1.ConditionAvailable, true, ReasonAsExpected, s.availableMessage())
	if missing := s.missing(); missing != "" {
		available = condition(v1beta1.ConditionAvailable, false, ReasonRollingOut, missing)
		if degraded.Status == metav1.ConditionTrue {
			available.Reason = degraded.Reason
		}
	}
	return withGeneration(s.MetalLB, available, progressing, degraded)
}

// NotServed returns the conditions of a resource that is left alone: because of its name, or because older, if not nil,
// is.
func NotServed(m, older *v1beta1.MetalLB) []metav1.Condition {
	reason := ReasonWrongName
	message := fmt.Sprintf("Nothing is installed for this resource: a MetalLB must be named %q. Create it under that name and delete this one.", Name)
	if older != nil {
		reason = ReasonNotTheOldest
		message = fmt.Sprintf("Nothing is installed for this resource: there is one MetalLB per cluster, and the one in namespace %s is older. "+
			"Delete this one, or delete that one and this one takes over.", older.Namespace)
	}
	return withGeneration(m,
		condition(v1beta1.ConditionAvailable, false, reason, message),
		condition(v1beta1.ConditionProgressing, false, ReasonAsExpected, "Nothing is rolled out for this resource."),
		condition(v1beta1.ConditionDegraded, true, reason, message))
}

// Merge writes conditions into those that a resource has: others' are left alone, and the time of a transition stays
// while the status does. It returns a new slice and whether it differs.
func Merge(have, want []metav1.Condition, now time.Time) ([]metav1.Condition, bool) {
	merged := slices.Clone(have)
	changed := false
	for _, w := range want {
		w.LastTransitionTime = metav1.NewTime(now)
		i := slices.IndexFunc(merged, func(c metav1.Condition) bool { return c.Type == w.Type })
		if i < 0 {
			merged, changed = append(merged, w), true
			continue
		}
		if merged[i].Status == w.Status {
			w.LastTransitionTime = merged[i].LastTransitionTime
		}
		if merged[i] != w {
			merged[i], changed = w, true
		}
	}
	return merged, changed
}

// degraded gathers everything that needs a person. The gravest gives the reason, the message names all.
func (s Snapshot) degraded() metav1.Condition {
	var reasons, messages []string
	add := func(reason, message string) {
		reasons, messages = append(reasons, reason), append(messages, message)
	}
	for _, e := range s.ApplyErrors {
		add(ReasonApplyFailed, e.message())
	}
	if s.PodSecurity == "baseline" || s.PodSecurity == "restricted" {
		add(ReasonPodSecurity, fmt.Sprintf("Namespace %[1]s enforces the Pod Security level %[2]s, which refuses the speaker's pods (host network, "+
			"NET_RAW). Allow them: kubectl label --overwrite namespace %[1]s %[3]s=privileged", s.MetalLB.Namespace, s.PodSecurity, PodSecurityLabel))
	}
	for _, message := range s.stuck() {
		add(ReasonRolloutStuck, message)
	}
	if len(reasons) == 0 {
		return condition(v1beta1.ConditionDegraded, false, ReasonAsExpected, "Nothing needs attention.")
	}
	return condition(v1beta1.ConditionDegraded, true, reasons[0], shorten(strings.Join(messages, " ")))
}

// missing says what keeps the load balancer from being available; empty: nothing.
func (s Snapshot) missing() string {
	var lacks []string
	if s.Controller == nil || s.Controller.Status.AvailableReplicas == 0 {
		lacks = append(lacks, "No controller is ready: Services get no new addresses.")
	}
	switch n := s.withoutSpeaker(); {
	case s.Speaker == nil || s.Speaker.Status.ObservedGeneration == 0:
		lacks = append(lacks, "There are no speakers yet.")
	case s.Speaker.Status.DesiredNumberScheduled == 0:
		lacks = append(lacks, "No node is to run a speaker: nothing is announced.")
	case n > 0:
		lacks = append(lacks, fmt.Sprintf("%d of %s without a ready speaker%s.", n, nodes(s.Speaker.Status.DesiredNumberScheduled), names(s.unready())))
	}
	return strings.Join(lacks, " ")
}

func (s Snapshot) availableMessage() string {
	if s.Speaker == nil {
		return ""
	}
	message := fmt.Sprintf("The controller is ready, and a speaker on %s of %d.", nodes(s.Speaker.Status.NumberReady), s.Speaker.Status.DesiredNumberScheduled)
	if backend := s.MetalLB.Spec.BGPBackend; backend != "" {
		message += fmt.Sprintf(" spec.bgpBackend %s is served by the one implementation of BGP that there is, inside the speaker.", backend)
	}
	if idle := withoutEffect(s.MetalLB.Spec); len(idle) > 0 {
		message += fmt.Sprintf(" Accepted for the sake of existing manifests, without effect: %s.", strings.Join(idle, ", "))
	}
	return message
}

// withoutSpeaker counts the nodes that should have a ready speaker and have none.
func (s Snapshot) withoutSpeaker() int32 {
	if s.Speaker == nil {
		return 0
	}
	return max(0, s.Speaker.Status.DesiredNumberScheduled-s.Speaker.Status.NumberReady)
}

// withoutEffect lists the fields that are set and change nothing, apart from bgpBackend.
func withoutEffect(spec v1beta1.MetalLBSpec) []string {
	var fields []string
	if spec.FRRK8sConfig != nil {
		fields = append(fields, "spec.frrk8sConfig")
	}
	if spec.Image != "" {
		fields = append(fields, "spec.image")
	}
	return fields
}

func withGeneration(m *v1beta1.MetalLB, conditions ...metav1.Condition) []metav1.Condition {
	for i := range conditions {
		conditions[i].ObservedGeneration = m.Generation
	}
	return conditions
}

func condition(kind string, status bool, reason, message string) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message}
	if status {
		c.Status = metav1.ConditionTrue
	}
	return c
}

func nodes(n int32) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}
