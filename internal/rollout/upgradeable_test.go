package rollout

import (
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/internal/render"
)

func TestUpgradeable(t *testing.T) {
	refused := ApplyError{Object: render.Objects(metalLB(), render.Environment{Image: "i"})[6], Err: errors.New("no")}
	notObserved := daemonSet(3, 3, 3)
	notObserved.Generation++
	stuck := after(Deadline, deployment(1, 1), daemonSet(3, 1, 3))
	for name, c := range map[string]struct {
		in             Snapshot
		status, reason string
		parts          []string
	}{
		"without a MetalLB resource nothing is in the way": {Snapshot{}, "True", "AsExpected", []string{"no MetalLB resource"}},
		"what is complete may be replaced":                 {after(0, deployment(1, 1), daemonSet(3, 3, 3)), "True", "AsExpected", []string{"lb/metallb", "up to date"}},
		"what is complete for long may be replaced too":    {after(2*Deadline, deployment(1, 1), daemonSet(3, 3, 3)), "True", "AsExpected", nil},
		"an installation is waited for":                    {after(0, nil, nil), "False", "RollingOut", []string{"lb/metallb", "40s"}},
		"speakers that are rolled out are waited for":      {after(0, deployment(1, 1), daemonSet(3, 1, 3)), "False", "RollingOut", nil},
		"and so is a controller":                           {after(0, deployment(1, 0), daemonSet(3, 3, 3)), "False", "RollingOut", nil},
		"and speakers that are not begun with":             {after(0, deployment(1, 1), notObserved), "False", "RollingOut", nil},
		"and speakers that wait for the controller":        {after(0, deployment(1, 1), daemonSet(3, 3, 3)).with(func(s *Snapshot) { s.SpeakersWait = true }), "False", "RollingOut", nil},
		"up to the deadline":                               {after(Deadline-1, deployment(1, 1), daemonSet(3, 1, 3)), "False", "RollingOut", nil},
		"speakers that stand still are not waited for":     {stuck, "True", "RolloutStuck", []string{"lb/metallb", "Degraded", "Another version"}},
		"nor is a controller that stands still":            {after(Deadline, deployment(1, 0), daemonSet(3, 3, 3)), "True", "RolloutStuck", nil},
		"nor what cannot be applied": {
			after(0, deployment(1, 1), daemonSet(3, 1, 3)).with(func(s *Snapshot) { s.ApplyErrors = []ApplyError{refused} }),
			"True", "ApplyFailed", []string{"lb/metallb", "Degraded", "Another version"},
		},
		"a namespace that refuses speakers is not what another version mends": {
			after(0, deployment(1, 1), daemonSet(3, 1, 3)).with(func(s *Snapshot) { s.PodSecurity = "restricted" }), "False", "RollingOut", nil,
		},
		"pods that somebody is to delete are not waited for": {after(0, deployment(1, 1), onDelete(daemonSet(3, 1, 3))), "True", "AsExpected", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := Upgradeable(c.in)
			if got.Type != "Upgradeable" || string(got.Status) != c.status || got.Reason != c.reason || got.ObservedGeneration != 0 {
				t.Errorf("got %+v, want %s %s", got, c.status, c.reason)
			}
			for _, part := range c.parts {
				if !strings.Contains(got.Message, part) {
					t.Errorf("message %q lacks %q", got.Message, part)
				}
			}
		})
	}
}

// OLM is written to when a rollout begins and when it ends, not with each pod.
func TestWhatIsSaidToOLMDoesNotChangeDuringARollout(t *testing.T) {
	first := Upgradeable(after(0, deployment(1, 1), daemonSet(3, 0, 3)))
	for updated := range int32(3) {
		if got := Upgradeable(after(0, deployment(1, 1), daemonSet(3, updated, 2))); got != first {
			t.Errorf("with %d speakers updated: %+v, before: %+v", updated, got, first)
		}
	}
	if s := Stopped(); s.Status != metav1.ConditionTrue || s.Type != first.Type {
		t.Errorf("an operator that is not there is waited for: %+v", s)
	}
}
