package metallb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/rollout"
)

func TestAResourceInAnyNamespaceIsInstalledReportedOnAndRemoved(t *testing.T) {
	c := newCluster(t)
	c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	for _, o := range c.installed(t, m) {
		owners := o.GetOwnerReferences()
		if o.GetNamespace() != "" && (len(owners) != 1 || owners[0].UID != m.UID || owners[0].Controller == nil || !*owners[0].Controller) {
			t.Errorf("%T %s has owners %v, so it would outlive the resource", o, o.GetName(), owners)
		}
	}

	// Status follows the workloads.
	c.condition(t, m, v1beta1.ConditionAvailable, metav1.ConditionFalse, rollout.ReasonRollingOut)
	c.condition(t, m, v1beta1.ConditionProgressing, metav1.ConditionTrue, rollout.ReasonRollingOut)
	c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionFalse, rollout.ReasonAsExpected)
	c.play(t, m.Namespace, 1, 3, 2)
	eventually(t, func() error {
		if got := c.condition(t, m, v1beta1.ConditionAvailable, metav1.ConditionFalse, rollout.ReasonRollingOut); !strings.Contains(got.Message, "1 of 3 nodes") {
			return fmt.Errorf("nodes without a speaker are not counted: %s", got.Message)
		}
		return nil
	})
	c.play(t, m.Namespace, 1, 3, 3)
	c.condition(t, m, v1beta1.ConditionAvailable, metav1.ConditionTrue, rollout.ReasonAsExpected)
	c.condition(t, m, v1beta1.ConditionProgressing, metav1.ConditionFalse, rollout.ReasonAsExpected)

	// A new specification is a rollout of its own, from the first status on that speaks of it.
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(m), m); err != nil {
		t.Fatal(err)
	}
	m.Spec.LogLevel = v1beta1.LogLevelDebug
	if err := c.Update(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		now := &v1beta1.MetalLB{}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(m), now); err != nil {
			return err
		}
		for _, got := range now.Status.Conditions {
			if got.ObservedGeneration != m.Generation {
				return fmt.Errorf("%s is of generation %d", got.Type, got.ObservedGeneration)
			}
			if got.Type == v1beta1.ConditionProgressing && got.Status != metav1.ConditionTrue {
				t.Errorf("the first status of a new specification says that it is rolled out: %s", got.Message)
			}
		}
		return nil
	})
	c.play(t, m.Namespace, 1, 3, 3)
	c.condition(t, m, v1beta1.ConditionProgressing, metav1.ConditionFalse, rollout.ReasonAsExpected)

	if err := c.Delete(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	t.Logf("everything is gone after %s", c.gone(t, m.Namespace).Round(time.Millisecond))
}

func TestWhatIsMissingAtStartOrNotAskedForAnyMoreIsPrunedAndNothingElse(t *testing.T) {
	c := newCluster(t)
	first := c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)

	others := map[string]map[string]string{ // name of a ClusterRoleBinding, its labels
		"metallb-of-an-earlier-version": {render.LabelManagedBy: render.Manager, render.LabelCRNamespace: m.Namespace},
		"with-one-label":                {render.LabelManagedBy: render.Manager},
		"with-the-other-label":          {render.LabelCRNamespace: m.Namespace},
		"made-by-helm":                  {render.LabelManagedBy: "Helm", render.LabelCRNamespace: m.Namespace},
	}
	for name, labels := range others {
		o := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		}
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Delete(context.Background(), o); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		})
	}
	left := func() (names []string) {
		for name := range others {
			err := c.Get(t.Context(), client.ObjectKey{Name: name}, &rbacv1.ClusterRoleBinding{})
			if err == nil {
				names = append(names, name)
			} else if !apierrors.IsNotFound(err) {
				t.Fatal(err)
			}
		}
		return names
	}
	eventually(t, func() error {
		if slices.Contains(left(), "metallb-of-an-earlier-version") {
			return fmt.Errorf("what an earlier version has rendered is left")
		}
		return nil
	})

	first.stop()
	if err := c.Delete(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	second := c.start(t)
	c.gone(t, m.Namespace)
	if got := left(); len(got) != 3 {
		t.Errorf("of others' objects only %v are left", got)
	}
	second.stop()
}

// What is outside of any namespace belongs to the role that it binds, so that the garbage collector removes it with the
// operator's manifests if nobody else could. A role that is made again is another one.
func TestABindingGoesWithItsRole(t *testing.T) {
	c := newCluster(t)
	c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	role := &rbacv1.ClusterRole{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: render.SpeakerRole}, role); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "metallb-" + m.Namespace + "-" + render.Speaker}}
	belongs := func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(binding), binding); err != nil {
			return err
		}
		if o := binding.OwnerReferences; len(o) != 1 || o[0].Kind != "ClusterRole" || o[0].Name != role.Name || o[0].UID != role.UID {
			return fmt.Errorf("the owners of %s are %v, its role is %s", binding.Name, o, role.UID)
		}
		return nil
	}
	if err := belongs(); err != nil {
		t.Fatal(err)
	}
	again := role.DeepCopy()
	again.ObjectMeta = metav1.ObjectMeta{Name: role.Name, Labels: role.Labels}
	if err := errors.Join(c.Delete(t.Context(), role), c.Delete(t.Context(), binding)); err != nil { // the latter is the collector's work
		t.Fatal(err)
	}
	// Without its role it is not made again: nobody would remove it.
	if got := c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionTrue, rollout.ReasonApplyFailed); !strings.Contains(got.Message, binding.Name+" was not applied: the ClusterRole that it belongs to is missing") {
		t.Errorf("Degraded: %s", got.Message)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(binding), binding); !apierrors.IsNotFound(err) {
		t.Errorf("it was made without its role: %v", err)
	}
	if err := c.Create(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	role = again
	eventually(t, belongs)
}

func TestOneResourceIsServedAndTheOthersSayWhyNot(t *testing.T) {
	c := newCluster(t)
	first := c.create(t, c.newNamespace(t), rollout.Name)
	misnamed := c.create(t, first.Namespace, "another")
	time.Sleep(1100 * time.Millisecond) // creation is kept in whole seconds
	second := c.create(t, c.newNamespace(t), rollout.Name)
	c.start(t)

	c.installed(t, first)
	got := c.condition(t, second, v1beta1.ConditionDegraded, metav1.ConditionTrue, rollout.ReasonNotTheOldest)
	if !strings.Contains(got.Message, first.Namespace) {
		t.Errorf("the message does not say which one is served: %s", got.Message)
	}
	c.condition(t, second, v1beta1.ConditionAvailable, metav1.ConditionFalse, rollout.ReasonNotTheOldest)
	c.condition(t, misnamed, v1beta1.ConditionDegraded, metav1.ConditionTrue, rollout.ReasonWrongName)
	if objects, err := c.objects(t, second); !apierrors.IsNotFound(err) {
		t.Errorf("for the younger resource there is %v", objects)
	}

	if err := c.Delete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	c.gone(t, first.Namespace)
	c.installed(t, second)
	c.condition(t, second, v1beta1.ConditionDegraded, metav1.ConditionFalse, rollout.ReasonAsExpected)
	c.condition(t, misnamed, v1beta1.ConditionDegraded, metav1.ConditionTrue, rollout.ReasonWrongName)
}

func TestAResourceThatIsBeingDeletedIsNotServed(t *testing.T) {
	c := newCluster(t)
	c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name, func(m *v1beta1.MetalLB) { m.Finalizers = []string{"example.com/hold"} })
	c.installed(t, m)
	if err := c.Delete(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	c.gone(t, m.Namespace)
	second := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, second)
}

// Without a garbage collector and a namespace controller here, the operator's own part is what is seen.
func TestInANamespaceThatIsBeingDeletedNothingIsRestored(t *testing.T) {
	c := newCluster(t)
	o := c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	if err := c.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: m.Namespace}}); err != nil {
		t.Fatal(err)
	}
	c.gone(t, m.Namespace)
	time.Sleep(500 * time.Millisecond)
	writes := len(o.writes.since(0))
	time.Sleep(time.Second)
	if got := o.writes.since(writes); len(got) != 0 {
		t.Errorf("tried in vain: %v", got)
	}
}

func TestNothingIsWrittenWithoutAChange(t *testing.T) {
	c := newCluster(t)
	o := c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	c.play(t, m.Namespace, 1, 3, 3)
	c.condition(t, m, v1beta1.ConditionAvailable, metav1.ConditionTrue, rollout.ReasonAsExpected)
	time.Sleep(time.Second) // the events of the last writes

	versions := func() map[string]string {
		found, err := c.objects(t, m)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(m), m); err != nil {
			t.Fatal(err)
		}
		is := map[string]string{"MetalLB": m.ResourceVersion}
		for _, f := range found {
			is[fmt.Sprintf("%T %s", f, f.GetName())] = f.GetResourceVersion()
		}
		return is
	}
	before, writes := versions(), len(o.writes.since(0))
	t.Logf("%d writes to install and report: %s", writes, strings.Join(o.writes.since(0), "\n\t"))
	time.Sleep(3 * time.Second)
	if diff := cmp.Diff(before, versions()); diff != "" {
		t.Errorf("resource versions:\n%s", diff)
	}
	if got := o.writes.since(writes); len(got) != 0 {
		t.Errorf("written while nothing happened: %v", got)
	}

	// What others may change asks for passes, not for writes.
	for i := range 20 {
		sa := &corev1.ServiceAccount{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: m.Namespace, Name: render.Speaker}, sa); err != nil {
			t.Fatal(err)
		}
		sa.ImagePullSecrets = append(sa.ImagePullSecrets, corev1.LocalObjectReference{Name: fmt.Sprint("theirs-", i)})
		if err := c.Update(t.Context(), sa); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Second)
	if got := o.writes.since(writes); len(got) > 20 {
		t.Errorf("%d writes for 20 changes by others", len(got))
	}
	// A change of a workload's status that changes no condition is not written either.
	writes = len(o.writes.since(0))
	d := &appsv1.Deployment{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: m.Namespace, Name: render.Controller}, d); err != nil {
		t.Fatal(err)
	}
	d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue}}
	if err := c.Status().Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if got := o.writes.since(writes); len(got) != 0 {
		t.Errorf("written: %v", got)
	}

	// After a restart everything is applied once, which changes nothing.
	before = versions()
	o.stop()
	o = c.start(t)
	eventually(t, func() error {
		if n := len(o.writes.since(0)); n < len(render.Objects(m, environment)) {
			return fmt.Errorf("%d applied", n)
		}
		return nil
	})
	time.Sleep(time.Second)
	if diff := cmp.Diff(before, versions()); diff != "" {
		t.Errorf("a restart changes resource versions:\n%s", diff)
	}
	if got := o.writes.since(0); len(got) != len(render.Objects(m, environment)) {
		t.Errorf("written at a restart: %v", got)
	}
}

func TestOfTwoOperatorsOneWorksAndTheOtherTakesOver(t *testing.T) {
	c := newCluster(t)
	elect := func(o *ctrl.Options) {
		o.LeaderElection, o.LeaderElectionID, o.LeaderElectionNamespace = true, "metallb-operator", operatorNamespace
		o.LeaderElectionReleaseOnCancel = true
	}
	first := c.start(t, elect)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	second := c.start(t, elect)
	c.play(t, m.Namespace, 1, 3, 3)
	c.condition(t, m, v1beta1.ConditionAvailable, metav1.ConditionTrue, rollout.ReasonAsExpected)
	if got := second.writes.since(0); len(got) != 0 {
		t.Errorf("the one that waits has written: %v", got)
	}
	first.stop()
	speaker := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: render.Speaker}}
	if err := c.Delete(t.Context(), speaker); err != nil {
		t.Fatal(err)
	}
	t.Logf("restored by the other operator after %s", eventually(t, func() error {
		return c.Get(t.Context(), client.ObjectKeyFromObject(speaker), speaker)
	}).Round(time.Millisecond))
}
