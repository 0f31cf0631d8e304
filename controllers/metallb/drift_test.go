package metallb

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/rollout"
)

// restoreBar is within which time a deleted or edited object is to be as it was.
const restoreBar = 2 * time.Second

func TestADeletedObjectIsRestored(t *testing.T) {
	c := newCluster(t)
	c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name, twoControllers)
	for _, o := range c.installed(t, m) {
		if err := c.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		again := o.DeepCopyObject().(client.Object)
		took := eventually(t, func() error {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), again); err != nil {
				return err
			}
			if again.GetUID() == o.GetUID() {
				return fmt.Errorf("%T %s is not deleted yet", o, o.GetName())
			}
			return nil
		})
		t.Logf("%T %s: %s", o, o.GetName(), took.Round(time.Millisecond))
		if took > restoreBar {
			t.Errorf("%T %s took %s", o, o.GetName(), took)
		}
	}
}

func TestAnEditedObjectIsRestored(t *testing.T) {
	c := newCluster(t)
	c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name, twoControllers)
	c.installed(t, m)

	meta := map[string]func(o client.Object){
		"its labels removed": func(o client.Object) { o.SetLabels(nil) },
		"the operator's label changed": func(o client.Object) {
			o.SetLabels(map[string]string{render.LabelManagedBy: "somebody", render.LabelCRNamespace: m.Namespace})
		},
		"its owner removed": func(o client.Object) { o.SetOwnerReferences(nil) },
	}
	pod := map[string]func(*corev1.PodSpec){
		"another image":       func(p *corev1.PodSpec) { p.Containers[0].Image = "evil" },
		"an argument removed": func(p *corev1.PodSpec) { p.Containers[0].Args = p.Containers[0].Args[:1] },
		"a variable changed":  func(p *corev1.PodSpec) { p.Containers[0].Env[0] = corev1.EnvVar{Name: "METALLB_NAMESPACE", Value: "x"} },
		"a variable removed":  func(p *corev1.PodSpec) { p.Containers[0].Env = p.Containers[0].Env[1:] },
		"a variable added": func(p *corev1.PodSpec) {
			p.Containers[0].Env = append(p.Containers[0].Env, corev1.EnvVar{Name: "A", Value: "b"})
		},
		"a container added": func(p *corev1.PodSpec) {
			p.Containers = append(p.Containers, corev1.Container{Name: "more", Image: "evil"})
		},
		"an init container added":   func(p *corev1.PodSpec) { p.InitContainers = []corev1.Container{{Name: "first", Image: "evil"}} },
		"a node selector added":     func(p *corev1.PodSpec) { p.NodeSelector["no"] = "where" },
		"the node selector removed": func(p *corev1.PodSpec) { p.NodeSelector = nil },
		"a toleration added":        func(p *corev1.PodSpec) { p.Tolerations = append(p.Tolerations, corev1.Toleration{Operator: "Exists"}) },
		"another ServiceAccount":    func(p *corev1.PodSpec) { p.ServiceAccountName, p.DeprecatedServiceAccount = "default", "default" },
		"another priority":          func(p *corev1.PodSpec) { p.PriorityClassName = "low" },
		"more rights in the kernel": func(p *corev1.PodSpec) {
			p.Containers[0].SecurityContext.Capabilities.Add = []corev1.Capability{"SYS_ADMIN"}
		},
		"a privileged container": func(p *corev1.PodSpec) {
			p.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
		},
		"the host's processes seen":  func(p *corev1.PodSpec) { p.HostPID = true },
		"the host's network toggled": func(p *corev1.PodSpec) { p.HostNetwork = !p.HostNetwork },
		"other resources":            func(p *corev1.PodSpec) { p.Containers[0].Resources = corev1.ResourceRequirements{} },
		"a probe removed":            func(p *corev1.PodSpec) { p.Containers[0].LivenessProbe = nil },
		"a probe's default changed": func(p *corev1.PodSpec) {
			p.Containers[0].ReadinessProbe.SuccessThreshold, p.Containers[0].ReadinessProbe.PeriodSeconds = 1, 100
		},
		"a volume added": func(p *corev1.PodSpec) {
			p.Volumes = append(p.Volumes, corev1.Volume{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}})
		},
		"a default changed":   func(p *corev1.PodSpec) { p.DNSPolicy = corev1.DNSDefault },
		"another time to end": func(p *corev1.PodSpec) { p.TerminationGracePeriodSeconds = ptr.To[int64](0) },
	}
	for name, edit := range meta {
		for _, o := range render.Objects(m, environment) {
			if o.GetNamespace() != "" || name != "its owner removed" {
				c.restored(t, m, fmt.Sprintf("%T %s: %s", o, o.GetName(), name), o, edit)
			}
		}
	}
	for name, edit := range pod {
		for _, component := range []string{render.Controller, render.Speaker} {
			c.restored(t, m, component+": "+name, c.workload(m, component), func(o client.Object) { edit(&podTemplate(o).Spec) })
		}
	}
	c.restored(t, m, "controller: replicas", c.workload(m, render.Controller), func(o client.Object) { o.(*appsv1.Deployment).Spec.Replicas = ptr.To[int32](0) })
	c.restored(t, m, "controller: paused", c.workload(m, render.Controller), func(o client.Object) { o.(*appsv1.Deployment).Spec.Paused = true })
	c.restored(t, m, "speaker: update strategy", c.workload(m, render.Speaker), func(o client.Object) {
		o.(*appsv1.DaemonSet).Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	})
	c.restored(t, m, "speaker: surge", c.workload(m, render.Speaker), func(o client.Object) {
		o.(*appsv1.DaemonSet).Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxUnavailable: ptr.To(intstr.FromInt32(3))}
	})
	c.restored(t, m, "speaker: seconds until ready", c.workload(m, render.Speaker), func(o client.Object) {
		o.(*appsv1.DaemonSet).Spec.MinReadySeconds = 1000
	})
	evil := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "mallory"}}
	for _, o := range render.Objects(m, environment) {
		switch o.(type) {
		case *rbacv1.RoleBinding:
			c.restored(t, m, o.GetName()+": subjects", o, func(o client.Object) { o.(*rbacv1.RoleBinding).Subjects = evil })
		case *rbacv1.ClusterRoleBinding:
			c.restored(t, m, o.GetName()+": subjects", o, func(o client.Object) { o.(*rbacv1.ClusterRoleBinding).Subjects = evil })
		}
	}
	times := slices.Sorted(slices.Values(c.times))
	t.Logf("%d edits restored: median %s, worst %s", len(times), times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond))
	if worst := times[len(times)-1]; worst > restoreBar {
		t.Errorf("worst time %s, bar %s", worst, restoreBar)
	}
}

func (c *cluster) workload(m *v1beta1.MetalLB, component string) client.Object {
	for _, o := range render.Objects(m, environment) {
		if podTemplate(o) != nil && o.GetName() == component {
			return o
		}
	}
	return nil
}

// restored edits an object as a person would and waits until it is as before in all that applying can change.
func (c *cluster) restored(t *testing.T, m *v1beta1.MetalLB, what string, o client.Object, edit func(client.Object)) {
	t.Helper()
	var before string
	var edited client.Object
	eventually(t, func() (err error) { // until nobody writes in between
		live := o.DeepCopyObject().(client.Object)
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), live); err != nil {
			return err
		}
		if before, err = comparable(live); err != nil {
			return err
		}
		edit(live)
		edited = live
		return c.Update(t.Context(), live, client.FieldOwner("kubectl-edit"))
	})
	if after, err := comparable(edited); err != nil || after == before {
		t.Fatalf("%s: is no edit (%v)", what, err)
	}
	c.times = append(c.times, eventually(t, func() error {
		live := o.DeepCopyObject().(client.Object)
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), live); err != nil {
			return err
		}
		after, err := comparable(live)
		if err != nil {
			return err
		}
		if after != before {
			return fmt.Errorf("%s is not restored:\n%s", what, cmp.Diff(before, after))
		}
		return nil
	}))
}

// comparable is the object without the count of its templates, which the API server keeps.
func comparable(o client.Object) (string, error) {
	o = o.DeepCopyObject().(client.Object)
	annotations := o.GetAnnotations()
	delete(annotations, appsv1.DeprecatedTemplateGeneration)
	o.SetAnnotations(annotations)
	return typedFingerprint(o)
}

func TestWhatOthersMayAddStays(t *testing.T) {
	c := newCluster(t)
	c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	// What `kubectl rollout restart` does.
	speaker := c.workload(m, render.Speaker)
	restart := client.RawPatch("application/strategic-merge-patch+json",
		[]byte(`{"metadata":{"labels":{"team":"net"}},"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`))
	if err := c.Patch(t.Context(), speaker, restart, client.FieldOwner("kubectl-rollout")); err != nil {
		t.Fatal(err)
	}
	// An edit beside it is undone all the same.
	c.restored(t, m, "speaker", c.workload(m, render.Speaker), func(o client.Object) { podTemplate(o).Spec.HostPID = true })
	live := &appsv1.DaemonSet{}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(speaker), live); err != nil {
		t.Fatal(err)
	}
	if live.Labels["team"] != "net" || live.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] != "now" {
		t.Errorf("labels %v, pod annotations %v", live.Labels, live.Spec.Template.Annotations)
	}
}

func TestAnObjectOfSomebodyElseIsNotTouched(t *testing.T) {
	c := newCluster(t)
	c.start(t)
	ns := c.newNamespace(t)
	theirs := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: render.Controller},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}},
			},
		},
	}
	if err := c.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	m := c.create(t, ns, rollout.Name)
	c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionTrue, rollout.ReasonApplyFailed)
	live := &appsv1.Deployment{}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(theirs), live); err != nil {
		t.Fatal(err)
	}
	if live.ResourceVersion != theirs.ResourceVersion {
		t.Error("it was written to")
	}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: render.Speaker}, &appsv1.DaemonSet{}); err != nil {
		t.Errorf("the rest was not installed: %v", err)
	}
	if err := c.Delete(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	c.installed(t, m)
	c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionFalse, rollout.ReasonAsExpected)
}

func TestAnInstallationOfAnotherKindIsTakenOver(t *testing.T) {
	c := newCluster(t)
	ns := c.newNamespace(t)
	labels := map[string]string{"app": "metallb", "component": "speaker"}
	old := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: render.Speaker, Labels: labels},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					HostPID:        true,
					InitContainers: []corev1.Container{{Name: "cp", Image: "old"}},
					Containers:     []corev1.Container{{Name: "speaker", Image: "old", Env: []corev1.EnvVar{{Name: "OLD", Value: "1"}}}, {Name: "frr", Image: "old"}},
				},
			},
		},
	}
	// Its binding refers to a role that ours does not: the reference cannot be changed, only made anew.
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "metallb-speaker", Labels: labels},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "pod-lister"},
	}
	// Its controller is selected by other labels, which cannot be changed either.
	other := map[string]string{"app": "metallb", "component": "controller", "release": "old"}
	controller := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: render.Controller, Labels: other},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: other},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: other},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "controller", Image: "old"}}},
			},
		},
	}
	for _, o := range []client.Object{old, binding, controller} {
		if err := c.Create(t.Context(), o, client.FieldOwner("helm")); err != nil {
			t.Fatal(err)
		}
	}
	m := c.create(t, ns, rollout.Name)
	c.start(t)
	c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionFalse, rollout.ReasonAsExpected)

	fresh := &v1beta1.MetalLB{ObjectMeta: metav1.ObjectMeta{Namespace: c.newNamespace(t), Name: rollout.Name}} // where Kubernetes' defaults for our objects come from
	for _, component := range []string{render.Controller, render.Speaker} {
		want := c.workload(fresh, component)
		want.SetOwnerReferences(nil)
		want.SetLabels(nil) // or the operator removes what nobody has asked for
		if err := c.Create(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		live := c.workload(m, component)
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(live), live); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(podTemplate(want).Spec, podTemplate(live).Spec); diff != "" {
			t.Errorf("%s is not as if installed anew:\n%s", component, diff)
		}
	}
	live := &appsv1.DaemonSet{}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(old), live); err != nil {
		t.Fatal(err)
	}
	if live.UID != old.UID {
		t.Error("the speaker's DaemonSet was deleted, and its pods with it")
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(binding), binding); err != nil || binding.RoleRef.Name != render.SpeakerLocalRole {
		t.Errorf("the binding refers to %s (%v)", binding.RoleRef.Name, err)
	}
}

func TestAnObjectThatIsLeavingIsRestoredWhenItIsGone(t *testing.T) {
	c := newCluster(t)
	o := c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	speaker := &appsv1.DaemonSet{}
	key := client.ObjectKey{Namespace: m.Namespace, Name: render.Speaker}
	if err := c.Get(t.Context(), key, speaker); err != nil {
		t.Fatal(err)
	}
	uid := speaker.UID
	if err := c.Delete(t.Context(), speaker, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	if n := len(o.writes.since(0)); n > 20 {
		t.Errorf("%d writes while it leaves", n)
	}
	if err := c.Get(t.Context(), key, speaker); err != nil {
		t.Fatal(err)
	}
	speaker.Finalizers = nil // as the garbage collector does when the pods are gone
	if err := c.Update(t.Context(), speaker); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if err := c.Get(t.Context(), key, speaker); err != nil {
			return err
		}
		if speaker.UID == uid {
			return fmt.Errorf("it is still the old one")
		}
		return nil
	})
}
