package metallb

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/rollout"
)

// Workloads of MetalLB, made by kubectl or by MetalLB's own operator for the same resource, listen on ports of their nodes.
// They are not updated but replaced, once; and what is ours by then stays.
func TestWorkloadsThatHoldPortsAreReplaced(t *testing.T) {
	for name, by := range map[string]client.FieldOwner{"made by kubectl": "kubectl-client-side-apply", "made by MetalLB's operator": render.Manager} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			m := c.create(t, c.newNamespace(t), rollout.Name)
			old := map[string]client.Object{render.Controller: &appsv1.Deployment{}, render.Speaker: &appsv1.DaemonSet{}}
			for component, o := range old {
				o.SetNamespace(m.Namespace)
				o.SetName(component)
				o.SetLabels(render.PodLabels(component))
				o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: v1beta1.GroupVersion.String(), Kind: "MetalLB", Name: m.Name, UID: m.UID, Controller: ptr.To(true)}})
				selector := &metav1.LabelSelector{MatchLabels: render.PodLabels(component)}
				pods := podTemplate(o)
				pods.Labels = render.PodLabels(component)
				pods.Spec = corev1.PodSpec{
					HostNetwork: component == render.Speaker,
					Containers:  []corev1.Container{{Name: component, Image: "old", Ports: []corev1.ContainerPort{{Name: "monitoring", ContainerPort: 7472}}}},
				}
				switch o := o.(type) {
				case *appsv1.Deployment:
					o.Spec.Selector = selector
				case *appsv1.DaemonSet:
					o.Spec.Selector = selector
				}
				if err := c.Create(t.Context(), o, by); err != nil {
					t.Fatal(err)
				}
			}
			c.start(t)
			for component, o := range old {
				live := c.workload(m, component)
				eventually(t, func() error {
					if err := c.Get(t.Context(), client.ObjectKeyFromObject(live), live); err != nil {
						return err
					}
					if live.GetUID() == o.GetUID() {
						return fmt.Errorf("the %s is the old one still", component)
					}
					return nil
				})
				if got := podTemplate(live).Spec.Containers; len(got) != 1 || got[0].Image != environment.Image || len(got[0].Ports) > 0 {
					t.Errorf("the %s has the containers %+v", component, got)
				}
			}
			c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionFalse, rollout.ReasonAsExpected)
			c.installed(t, m)
		})
	}
}
