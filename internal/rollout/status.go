package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/render"
)

const (
	// namesInStatus and namesInMessage bound how many nodes are named.
	namesInStatus  = 10
	namesInMessage = 3
)

// Status returns the status of a resource that is served. What have says of transitions is kept.
func Status(s Snapshot, have []metav1.Condition, now time.Time) v1beta1.MetalLBStatus {
	status := v1beta1.MetalLBStatus{ObservedVersion: s.Version}
	status.Conditions, _ = Merge(have, Conditions(s), now)
	if s.Controller != nil {
		c := deploymentState(s.Controller)
		status.Controller = &v1beta1.ControllerStatus{Replicas: c.desired, Ready: s.Controller.Status.ReadyReplicas, Updated: c.updated}
	}
	if s.Speaker != nil {
		of := s.Speaker.Status
		status.Speaker = &v1beta1.SpeakerStatus{Nodes: of.DesiredNumberScheduled, Ready: of.NumberReady, Updated: of.UpdatedNumberScheduled}
		if s.withoutSpeaker() > 0 {
			without := s.unready()
			status.Speaker.WithoutReady = without[:min(len(without), namesInStatus)]
		}
	}
	return status
}

// NotServedStatus is that of a resource that is left alone; see NotServed.
func NotServedStatus(m, older *v1beta1.MetalLB, version string, now time.Time) v1beta1.MetalLBStatus {
	status := v1beta1.MetalLBStatus{ObservedVersion: version}
	status.Conditions, _ = Merge(m.Status.Conditions, NotServed(m, older), now)
	return status
}

// NeedsPods says whether it depends on the pods what there is to say: something lacks, or stands still.
func NeedsPods(s Snapshot) bool {
	return s.withoutSpeaker() > 0 || s.Progress.controller.stuck(s.Now) || s.Progress.speaker.stuck(s.Now)
}

// unready returns the nodes that have a speaker's pod and none that is ready, by name.
func (s Snapshot) unready() []v1beta1.NodeWithoutSpeaker {
	ready := map[string]bool{}
	for _, p := range s.pods(render.Speaker) {
		if isReady(p) {
			ready[nodeOf(p)] = true
		}
	}
	var out []v1beta1.NodeWithoutSpeaker
	for _, w := range s.failing(render.Speaker) {
		if !ready[w.Name] {
			out = append(out, w)
		}
	}
	return out
}

// failing returns by node, sorted by its name, why a component's youngest pod there is not ready. A pod that no node has
// been found for has an empty name.
func (s Snapshot) failing(component string) []v1beta1.NodeWithoutSpeaker {
	youngest := map[string]*corev1.Pod{}
	for _, p := range s.pods(component) {
		if before := youngest[nodeOf(p)]; before == nil || before.CreationTimestamp.Before(&p.CreationTimestamp) {
			youngest[nodeOf(p)] = p
		}
	}
	var out []v1beta1.NodeWithoutSpeaker
	for node, p := range youngest {
		if !isReady(p) {
			out = append(out, v1beta1.NodeWithoutSpeaker{Name: node, Reason: reasonOf(p)})
		}
	}
	slices.SortFunc(out, func(a, b v1beta1.NodeWithoutSpeaker) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (s Snapshot) pods(component string) []*corev1.Pod {
	var out []*corev1.Pod
	for i := range s.Pods {
		if s.Pods[i].Labels["component"] == component {
			out = append(out, &s.Pods[i])
		}
	}
	return out
}

// nodeOf is where a pod runs or, for one of a DaemonSet that waits, where it is to run.
func nodeOf(p *corev1.Pod) string {
	if p.Spec.NodeName != "" || p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil {
		return p.Spec.NodeName
	}
	if required := p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		for _, t := range required.NodeSelectorTerms {
			for _, f := range t.MatchFields {
				if f.Key == metav1.ObjectNameField && len(f.Values) == 1 {
					return f.Values[0]
				}
			}
		}
	}
	return ""
}

func isReady(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// reasonOf says in a word why a pod is not ready. What changes back and forth while nothing gets better has one word.
func reasonOf(p *corev1.Pod) string {
	if p.DeletionTimestamp != nil {
		return "Terminating"
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason != "" {
			return c.Reason
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		switch waiting := c.State.Waiting; {
		case waiting != nil && waiting.Reason == "ErrImagePull":
			return "ImagePullBackOff"
		case c.RestartCount > 0 || waiting != nil && waiting.Reason == "CrashLoopBackOff":
			return "CrashLoopBackOff"
		case waiting != nil && waiting.Reason != "":
			return waiting.Reason
		}
	}
	return cmp.Or(p.Status.Reason, "NotReady")
}

// names lists nodes with their reasons, in parentheses for a message; empty where there are none.
func names(of []v1beta1.NodeWithoutSpeaker) string {
	if len(of) == 0 {
		return ""
	}
	var list []string
	for _, w := range of[:min(len(of), namesInMessage)] {
		list = append(list, strings.TrimSpace(w.Name+" "+w.Reason))
	}
	if more := len(of) - namesInMessage; more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return " (" + strings.Join(list, ", ") + ")"
}
