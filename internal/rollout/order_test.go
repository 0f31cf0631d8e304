package rollout

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"metallb.io/operator/internal/render"
)

func TestInAnUpgradeSpeakersWaitForTheController(t *testing.T) {
	running := func(image string) *appsv1.DaemonSet {
		ds := daemonSet(3, 3, 3)
		ds.Spec.Template.Spec.Containers = []corev1.Container{{Name: "sidecar", Image: "s"}, {Name: render.Speaker, Image: image}}
		return ds
	}
	controller := func(image string, change ...func(*appsv1.Deployment)) *appsv1.Deployment {
		d := deployment(1, 1)
		d.Spec.Template.Spec.Containers = []corev1.Container{{Name: render.Controller, Image: image}}
		for _, f := range change {
			f(d)
		}
		return d
	}
	for name, c := range map[string]struct {
		running    *appsv1.DaemonSet
		controller *appsv1.Deployment
		want       bool
	}{
		"no speakers yet, no controller yet":                    {nil, nil, false},
		"no speakers yet, a controller that does not come up":   {nil, controller("new", func(d *appsv1.Deployment) { d.Status.AvailableReplicas = 0 }), false},
		"the same image, whatever the controller does":          {running("new"), nil, false},
		"another image, no controller":                          {running("old"), nil, true},
		"another image, the controller has the old one":         {running("old"), controller("old"), true},
		"another image, the controller's is not taken up yet":   {running("old"), controller("new", func(d *appsv1.Deployment) { d.Generation++ }), true},
		"another image, the controller's first pod starts":      {running("old"), controller("new", func(d *appsv1.Deployment) { d.Status.UpdatedReplicas, d.Status.Replicas = 0, 1 }), true},
		"another image, the controller's old pod is there":      {running("old"), controller("new", func(d *appsv1.Deployment) { d.Status.Replicas = 2 }), true},
		"another image, the controller is not available":        {running("old"), controller("new", func(d *appsv1.Deployment) { d.Status.AvailableReplicas = 0 }), true},
		"another image, the controller is up":                   {running("old"), controller("new"), false},
		"another image, one of two controllers is up":           {running("old"), controller("new", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](2) }), false},
		"somebody has taken the container away, controller up":  {daemonSet(3, 3, 3), controller("new"), false},
		"somebody has taken the container away, controller old": {daemonSet(3, 3, 3), controller("old"), true},
	} {
		if got := SpeakersWait(running("new"), c.running, c.controller); got != c.want {
			t.Errorf("%s: wait %t, want %t", name, got, c.want)
		}
	}
}
