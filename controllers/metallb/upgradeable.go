package metallb

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/rollout"
)

// lastWord is how long an operator that stops takes at most to say so.
const lastWord = 3 * time.Second

// operatorConditionKind is OLM's resource in which an operator says how it is. OLM makes one for each installed version, lets
// the operator's ServiceAccount get, update and patch it, and copies its spec.conditions to its status, which it goes by.
var operatorConditionKind = schema.GroupVersionKind{Group: "operators.coreos.com", Version: "v2", Kind: "OperatorCondition"}

func newOperatorCondition() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(operatorConditionKind)
	return u
}

// voice is what is said to OLM: one at a time, and nothing after the last word.
type voice struct {
	sync.Mutex
	ended bool
}

// tellOLM says whether the next version may be installed, where OLM runs the operator. The OperatorCondition is read each
// time, and not watched, for which OLM gives no right. That there is none is no error: OLM takes that for a yes.
func (r *Reconciler) tellOLM(ctx context.Context, want metav1.Condition, now time.Time) error {
	if r.OperatorCondition.Name == "" {
		return nil
	}
	r.toOLM.Lock()
	defer r.toOLM.Unlock()
	if r.toOLM.ended {
		return nil
	}
	return r.writeUpgradeable(ctx, now, want, func([]metav1.Condition) bool { return true })
}

// leaveUpgradeable waits until ctx ends and then sees to it that OLM waits for nobody who is not there any more.
func (r *Reconciler) leaveUpgradeable(ctx context.Context) error {
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWord)
	defer cancel()
	r.toOLM.Lock()
	defer r.toOLM.Unlock()
	r.toOLM.ended = true
	said := func(have []metav1.Condition) bool {
		return meta.IsStatusConditionFalse(have, rollout.ConditionUpgradeable)
	}
	if err := r.writeUpgradeable(ctx, r.now(), rollout.Stopped(), said); err != nil {
		log.FromContext(ctx).Error(err, "an upgrade by OLM waits until the operator runs again")
	}
	return nil
}

// writeUpgradeable writes the condition if it says something else than those that are there, and only if these are as asked for.
func (r *Reconciler) writeUpgradeable(ctx context.Context, now time.Time, want metav1.Condition, only func(have []metav1.Condition) bool) error {
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		live := newOperatorCondition()
		if err := r.Live.Get(ctx, r.OperatorCondition, live); err != nil {
			return err
		}
		have, err := conditionsIn(live)
		if err != nil || !only(have) {
			return err
		}
		merged, changed := rollout.Merge(have, []metav1.Condition{want}, now.Truncate(time.Second))
		if !changed {
			return nil
		}
		before := live.DeepCopy()
		if err := setConditions(live, merged); err != nil {
			return err
		}
		if err := r.Client.Patch(ctx, live, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(render.Manager)); err != nil {
			return err
		}
		log.FromContext(ctx).Info("told OLM whether an upgrade may begin", "operatorCondition", r.OperatorCondition, "upgradeable", want.Status, "reason", want.Reason)
		return nil
	})
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("telling OLM in OperatorCondition %s whether an upgrade may begin: %w", r.OperatorCondition, err)
	}
	return nil
}

// specConditions is the part of an OperatorCondition that is its operator's.
type specConditions struct {
	Conditions []metav1.Condition `json:"conditions"`
}

func conditionsIn(o *unstructured.Unstructured) ([]metav1.Condition, error) {
	spec, found, err := unstructured.NestedMap(o.Object, "spec")
	if err != nil || !found {
		return nil, err
	}
	var of specConditions
	err = runtime.DefaultUnstructuredConverter.FromUnstructured(spec, &of)
	return of.Conditions, err
}

func setConditions(o *unstructured.Unstructured, conditions []metav1.Condition) error {
	spec, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&specConditions{conditions})
	if err != nil {
		return err
	}
	return unstructured.SetNestedField(o.Object, spec["conditions"], "spec", "conditions")
}
