package rollout

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/render"
)

// Deadline is how long a workload may stand still short of its goal before it counts as stuck. It is ours because a
// DaemonSet has none, and a Deployment's does not count once it has been complete.
const Deadline = 40 * time.Second

// Progress remembers how far the two workloads were seen to be, and since when. The zero value has seen nothing.
type Progress struct {
	controller, speaker standing
}

// standing is how far a workload is, and since when it has been just so far.
type standing struct {
	at    state
	since time.Time
}

// state is the part of a workload's status that changes while it gets on.
type state struct {
	exists bool
	// current: the status speaks of the present specification.
	current bool
	// desired pods; how many of them are of the present specification, how many are available.
	desired, updated, available int32
	// surplus pods, which are of an older specification.
	surplus int32
	// onDelete: pods of an older specification are there to stay until somebody deletes them.
	onDelete bool
}

func (s state) complete() bool {
	return s.current && s.desired > 0 && (s.updated >= s.desired || s.onDelete) && s.available >= s.desired && s.surplus == 0
}

// Next returns the progress after the workloads were seen at the time now; nil is one that is absent. Who has seen
// nothing so far believes the resource's own condition: what was stuck is stuck until it moves.
func (p Progress) Next(m *v1beta1.MetalLB, d *appsv1.Deployment, ds *appsv1.DaemonSet, now time.Time) Progress {
	since := now
	if p == (Progress{}) && wasStuck(m) {
		since = now.Add(-Deadline)
	}
	if s := deploymentState(d); p.controller.since.IsZero() || s != p.controller.at {
		p.controller = standing{at: s, since: since}
	}
	if s := daemonSetState(ds); p.speaker.since.IsZero() || s != p.speaker.at {
		p.speaker = standing{at: s, since: since}
	}
	return p
}

// Due returns after which time from now the conditions change though nothing else does; 0: never.
func (p Progress) Due(now time.Time) time.Duration {
	var due time.Duration
	for _, s := range []standing{p.controller, p.speaker} {
		left := s.since.Add(Deadline).Sub(now)
		if !s.at.complete() && left > 0 && (due == 0 || left < due) {
			due = left
		}
	}
	return due
}

func (p Progress) complete() bool { return p.controller.at.complete() && p.speaker.at.complete() }

func (s standing) stuck(now time.Time) bool { return !s.at.complete() && now.Sub(s.since) >= Deadline }

func (s standing) describe(what string) string {
	switch {
	case s.at.complete() && s.at.updated < s.at.desired:
		return fmt.Sprintf("%s: %d of %d pods are of an older specification until they are deleted (updateStrategy OnDelete).", what, s.at.desired-s.at.updated, s.at.desired)
	case s.at.complete():
		return what + " is up to date."
	case !s.at.exists:
		return what + " is to be created."
	case !s.at.current:
		return what + "'s new specification is to be taken up."
	case s.at.desired == 0:
		return what + " has no node to run on."
	}
	older := ""
	if s.at.surplus > 0 {
		older = fmt.Sprintf(", %d of an older specification among them", s.at.surplus)
	}
	return fmt.Sprintf("%s: of %d pods %d are up to date and %d available%s.", what, s.at.desired, s.at.updated, s.at.available, older)
}

func wasStuck(m *v1beta1.MetalLB) bool {
	for _, c := range m.Status.Conditions {
		if c.Type == v1beta1.ConditionDegraded && c.Reason == ReasonRolloutStuck && c.ObservedGeneration == m.Generation {
			return true
		}
	}
	return false
}

func deploymentState(d *appsv1.Deployment) state {
	if d == nil {
		return state{}
	}
	desired := int32(1) // the API's default
	if d.Spec.Replicas != nil {
		desired = *d.Spec.Replicas
	}
	return state{
		exists:    true,
		current:   d.Status.ObservedGeneration >= d.Generation,
		desired:   desired,
		updated:   d.Status.UpdatedReplicas,
		available: d.Status.AvailableReplicas,
		surplus:   d.Status.Replicas - d.Status.UpdatedReplicas,
	}
}

func daemonSetState(ds *appsv1.DaemonSet) state {
	if ds == nil {
		return state{}
	}
	return state{
		exists:    true,
		current:   ds.Status.ObservedGeneration >= ds.Generation,
		desired:   ds.Status.DesiredNumberScheduled,
		updated:   ds.Status.UpdatedNumberScheduled,
		available: ds.Status.NumberAvailable,
		onDelete:  ds.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType,
	}
}

// stuck says for each workload that stands still what stands still and how to see why.
func (s Snapshot) stuck() []string {
	var messages []string
	ns := s.MetalLB.Namespace
	wait := ""
	if s.SpeakersWait {
		wait = " The speakers keep their version until it is up."
	}
	if failure := replicaFailure(s.Controller); failure != "" {
		messages = append(messages, fmt.Sprintf("The controller's pod is not created: %s.%s", failure, wait))
	} else if c := s.Progress.controller; c.stuck(s.Now) && c.at.exists {
		messages = append(messages, fmt.Sprintf("No progress for %s: %s%s%s See why: %s",
			Deadline, c.describe("the controller"), s.failure(render.Controller), wait, describePods(ns, render.Controller)))
	}
	speaker := s.Progress.speaker
	if !speaker.stuck(s.Now) || !speaker.at.exists {
		return messages
	}
	var message string
	switch status := s.Speaker.Status; {
	case speaker.at.current && speaker.at.desired == 0:
		message = "No node is to run a speaker: compare spec.nodeSelector and spec.speakerTolerations with: kubectl get nodes --show-labels"
	case speaker.at.current && status.CurrentNumberScheduled < status.DesiredNumberScheduled:
		message = fmt.Sprintf("The speaker's pods are not created on %s of %d. See why: kubectl -n %s describe daemonset %s",
			nodes(status.DesiredNumberScheduled-status.CurrentNumberScheduled), status.DesiredNumberScheduled, ns, render.Speaker)
	default:
		message = fmt.Sprintf("No progress for %s: %s %d of %s without a ready speaker.%s See why: %s",
			Deadline, speaker.describe("the speaker"), s.withoutSpeaker(), nodes(speaker.at.desired), s.failure(render.Speaker), describePods(ns, render.Speaker))
	}
	return append(messages, message)
}

// failure names the nodes whose newest pod of a component is not ready.
func (s Snapshot) failure(component string) string {
	if failing := s.failing(component); len(failing) > 0 {
		return " Not ready" + names(failing) + "."
	}
	return ""
}

// replicaFailure is what Kubernetes says when it cannot create the pods of a Deployment; empty if it can.
func replicaFailure(d *appsv1.Deployment) string {
	if d == nil {
		return ""
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return c.Message
		}
	}
	return ""
}

func describePods(namespace, component string) string {
	return fmt.Sprintf("kubectl -n %s describe pods -l app=metallb,component=%s", namespace, component)
}
