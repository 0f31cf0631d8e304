package rollout

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"metallb.io/operator/internal/render"
)

// SpeakersWait says whether the speakers are to stay as they are for now: in an upgrade, which is another image, the
// controller comes first, and a version whose controller does not come up gets no further. The controller is the one that
// runs; running are the speakers that run, nil if none do; desired are the speakers as they are to be. What is no upgrade
// waits for nothing.
func SpeakersWait(desired, running *appsv1.DaemonSet, controller *appsv1.Deployment) bool {
	image := imageOf(desired.Spec.Template, render.Speaker)
	if running == nil || imageOf(running.Spec.Template, render.Speaker) == image {
		return false
	}
	return controller == nil || imageOf(controller.Spec.Template, render.Controller) != image || !deploymentState(controller).up()
}

// up: one pod at least of the present specification serves, and none of an older one is left.
func (s state) up() bool {
	return s.current && s.updated > 0 && s.surplus == 0 && s.available > 0
}

// imageOf is that of the container of a name; empty if there is none.
func imageOf(template corev1.PodTemplateSpec, container string) string {
	for _, c := range template.Spec.Containers {
		if c.Name == container {
			return c.Image
		}
	}
	return ""
}
