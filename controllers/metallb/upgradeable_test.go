package metallb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/rollout"
)

// operatorConditions is OLM's API as far as its schema matters here: what a condition must have, and that a status is
// written apart from the rest.
const operatorConditions = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: operatorconditions.operators.coreos.com}
spec:
  group: operators.coreos.com
  scope: Namespaced
  names: {kind: OperatorCondition, listKind: OperatorConditionList, plural: operatorconditions, singular: operatorcondition}
  versions:
  - name: v2
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              deployments: {type: array, items: {type: string}}
              conditions:
                type: array
                items:
                  type: object
                  required: [lastTransitionTime, message, reason, status, type]
                  properties:
                    lastTransitionTime: {type: string, format: date-time}
                    message: {type: string, maxLength: 32768}
                    observedGeneration: {type: integer, format: int64, minimum: 0}
                    reason: {type: string, minLength: 1, pattern: "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"}
                    status: {type: string, enum: ["True", "False", Unknown]}
                    type: {type: string}
`

// atOLM is where OLM would look.
var atOLM = types.NamespacedName{Namespace: operatorNamespace, Name: "metallb-operator.v9.0.0"}

// olm makes OLM's API be there until the test ends.
func (c *cluster) olm(t *testing.T) {
	t.Helper()
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(operatorConditions), &crd.Object); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Delete(context.Background(), crd); err != nil {
			t.Error(err)
		}
		eventually(t, func() error { // it goes only when all of it is gone
			if err := c.Get(context.Background(), client.ObjectKeyFromObject(crd), crd); client.IgnoreNotFound(err) != nil || err == nil {
				return errors.Join(errors.New("the API is still there"), err)
			}
			return nil
		})
	})
	eventually(t, func() error {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(operatorConditionKind)
		return c.List(t.Context(), list)
	})
}

// operatorCondition makes what OLM makes for an operator that it runs: the resource, and the rights to it.
func (c *cluster) operatorCondition(t *testing.T) {
	t.Helper()
	named := metav1.ObjectMeta{Namespace: atOLM.Namespace, Name: atOLM.Name}
	role := &rbacv1.Role{ObjectMeta: named, Rules: []rbacv1.PolicyRule{{
		Verbs: []string{"get", "update", "patch"}, APIGroups: []string{"operators.coreos.com"}, Resources: []string{"operatorconditions"}, ResourceNames: []string{atOLM.Name},
	}}}
	binding := &rbacv1.RoleBinding{ObjectMeta: named, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: atOLM.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: operatorNamespace, Name: "metallb-operator"}}}
	condition := newOperatorCondition()
	condition.SetNamespace(atOLM.Namespace)
	condition.SetName(atOLM.Name)
	condition.Object["spec"] = map[string]any{"deployments": []any{"metallb-operator-controller-manager"}}
	for _, o := range []client.Object{role, binding, condition} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Delete(context.Background(), o); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		})
	}
}

// upgradeable waits until OLM is told so, and returns the whole.
func (c *cluster) upgradeable(t *testing.T, status metav1.ConditionStatus, reason string) *unstructured.Unstructured {
	t.Helper()
	live := newOperatorCondition()
	eventually(t, func() error {
		if err := c.Get(t.Context(), atOLM, live); err != nil {
			return err
		}
		have, err := conditionsIn(live)
		if got := meta.FindStatusCondition(have, rollout.ConditionUpgradeable); err != nil || got == nil || got.Status != status || got.Reason != reason {
			return errors.Join(fmt.Errorf("OLM is told %+v, want %s %s", have, status, reason), err)
		}
		return nil
	})
	return live
}

// told lists the requests about OperatorConditions that changed something.
func told(o *operator) (requests []string) {
	for _, w := range o.writes.since(0) {
		if strings.Contains(w, "operatorconditions") {
			requests = append(requests, w)
		}
	}
	return requests
}

func TestOLMIsToldWhenNotToUpgrade(t *testing.T) {
	c := newCluster(t)
	c.olm(t)
	c.operatorCondition(t)
	c.atOLM = atOLM
	o := c.start(t)
	c.upgradeable(t, metav1.ConditionTrue, rollout.ReasonAsExpected) // without any MetalLB resource
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	c.play(t, m.Namespace, 1, 3, 1)
	c.upgradeable(t, metav1.ConditionFalse, rollout.ReasonRollingOut)
	c.play(t, m.Namespace, 1, 3, 3)
	c.upgradeable(t, metav1.ConditionTrue, rollout.ReasonAsExpected)
	c.play(t, m.Namespace, 1, 3, 2)
	during := c.upgradeable(t, metav1.ConditionFalse, rollout.ReasonRollingOut)
	if deployments, _, err := unstructured.NestedStringSlice(during.Object, "spec", "deployments"); err != nil || len(deployments) != 1 {
		t.Errorf("what OLM wrote is lost: %v, %v", deployments, err)
	}

	// Once for each change, though it looks with each event.
	before := told(o)
	if len(before) != 4 {
		t.Errorf("written %d times for 4 changes: %v", len(before), before)
	}
	for _, ready := range []int32{0, 1, 2} {
		c.play(t, m.Namespace, 1, 3, ready)
		eventually(t, func() error {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(m), m); err != nil {
				return err
			}
			if m.Status.Speaker == nil || m.Status.Speaker.Ready != ready {
				return fmt.Errorf("speakers: %+v, want %d ready", m.Status.Speaker, ready)
			}
			return nil
		})
	}
	if more := told(o); !slices.Equal(before, more) {
		t.Errorf("written without need: %v", more[len(before):])
	}

	// Who stops during a rollout leaves nothing that OLM waits for, and takes it up again.
	o.stop()
	c.upgradeable(t, metav1.ConditionTrue, rollout.ReasonOperatorStopped)
	again := c.start(t)
	c.upgradeable(t, metav1.ConditionFalse, rollout.ReasonRollingOut)
	c.play(t, m.Namespace, 1, 3, 3)
	c.upgradeable(t, metav1.ConditionTrue, rollout.ReasonAsExpected)
	quiet := told(again)
	again.stop()
	if more := told(again); !slices.Equal(quiet, more) {
		t.Errorf("an operator that stops at rest has written %v", more[len(quiet):])
	}
	c.upgradeable(t, metav1.ConditionTrue, rollout.ReasonAsExpected)
}

func TestARolloutThatStandsStillLetsOLMUpgrade(t *testing.T) {
	c := newCluster(t)
	c.olm(t)
	c.operatorCondition(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	now := time.Now()
	r := &Reconciler{Client: c.Client, Live: c.Client, Environment: environment, OperatorCondition: atOLM, Now: func() time.Time { return now }}
	pass := func() {
		t.Helper()
		if _, err := r.Reconcile(t.Context(), ctrl.Request{}); err != nil {
			t.Fatal(err)
		}
	}
	pass()
	c.play(t, m.Namespace, 1, 3, 2)
	pass()
	c.upgradeable(t, metav1.ConditionFalse, rollout.ReasonRollingOut)
	now = now.Add(rollout.Deadline)
	pass()
	c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionTrue, rollout.ReasonRolloutStuck)
	c.upgradeable(t, metav1.ConditionTrue, rollout.ReasonRolloutStuck)

	// Without an OperatorCondition OLM takes it for a yes; there is nothing to say and nothing wrong.
	condition := newOperatorCondition()
	condition.SetNamespace(atOLM.Namespace)
	condition.SetName(atOLM.Name)
	if err := c.Delete(t.Context(), condition); err != nil {
		t.Fatal(err)
	}
	c.play(t, m.Namespace, 1, 3, 3)
	pass()
	c.condition(t, m, v1beta1.ConditionDegraded, metav1.ConditionFalse, rollout.ReasonAsExpected)
}

// Neither the API's absence nor a right that OLM has not given yet keeps the operator from its work.
func TestWhatHindersTellingOLMHindersNothingElse(t *testing.T) {
	c := newCluster(t)
	c.atOLM = atOLM
	o := c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	c.play(t, m.Namespace, 1, 3, 3)
	c.condition(t, m, v1beta1.ConditionAvailable, metav1.ConditionTrue, rollout.ReasonAsExpected)

	c.olm(t)
	c.play(t, m.Namespace, 1, 3, 2)
	c.condition(t, m, v1beta1.ConditionAvailable, metav1.ConditionFalse, rollout.ReasonRollingOut)
	if requests := told(o); len(requests) > 0 {
		t.Errorf("without rights it tried %v", requests)
	}
	c.operatorCondition(t) // and no event comes with that
	c.upgradeable(t, metav1.ConditionFalse, rollout.ReasonRollingOut)
}

// Elsewhere than under OLM its API is not even asked for.
func TestWithoutOLMNothingIsToldToIt(t *testing.T) {
	c := newCluster(t)
	c.olm(t)
	c.operatorCondition(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	live := &asked{Reader: c.Client}
	r := &Reconciler{Client: c.Client, Live: live, Environment: environment}
	for range 2 {
		if _, err := r.Reconcile(t.Context(), ctrl.Request{}); err != nil {
			t.Fatal(err)
		}
	}
	c.installed(t, m)
	if len(live.kinds) == 0 || slices.Contains(live.kinds, operatorConditionKind.Kind) {
		t.Errorf("asked for %v", live.kinds)
	}
	if have, err := conditionsIn(c.object(t)); err != nil || len(have) > 0 {
		t.Errorf("written without having been told to: %v, %v", have, err)
	}
}

func (c *cluster) object(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	live := newOperatorCondition()
	if err := c.Get(t.Context(), atOLM, live); err != nil {
		t.Fatal(err)
	}
	return live
}

// asked notes of which kinds objects are read.
type asked struct {
	client.Reader
	kinds []string
}

func (a *asked) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	a.kinds = append(a.kinds, fmt.Sprintf("%T", o))
	if kind := o.GetObjectKind().GroupVersionKind().Kind; kind != "" {
		a.kinds = append(a.kinds, kind)
	}
	return a.Reader.Get(ctx, key, o, opts...)
}
