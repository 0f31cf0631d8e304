package metallb

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/rollout"
)

// report writes the status of every resource that says something else than it should.
func (r *Reconciler) report(ctx context.Context, s *snapshot, failed []rollout.ApplyError, now time.Time) error {
	var errs []error
	for _, m := range s.misnamed {
		errs = append(errs, r.patchStatus(ctx, m, rollout.NotServed(m, nil), now))
	}
	for _, m := range s.younger {
		errs = append(errs, r.patchStatus(ctx, m, rollout.NotServed(m, s.served), now))
	}
	if s.served != nil {
		controller, speaker := s.workloads()
		errs = append(errs, r.patchStatus(ctx, s.served, rollout.Conditions(rollout.Snapshot{
			MetalLB:     s.served,
			ApplyErrors: failed,
			PodSecurity: s.podSecurity,
			Controller:  controller,
			Speaker:     speaker,
			Progress:    r.progress,
			Now:         now,
		}), now))
	}
	return errors.Join(errs...)
}

func (r *Reconciler) patchStatus(ctx context.Context, m *v1beta1.MetalLB, want []metav1.Condition, now time.Time) error {
	// The API keeps whole seconds. Written so, a condition reads back as it was.
	conditions, changed := rollout.Merge(m.Status.Conditions, want, now.Truncate(time.Second))
	if !changed {
		return nil
	}
	after := m.DeepCopy()
	after.Status.Conditions = conditions
	err := r.Client.Status().Patch(ctx, after,
		client.MergeFromWithOptions(m, client.MergeFromWithOptimisticLock{}), client.FieldOwner(render.Manager))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // a newer version, or its end, is on its way to the cache and asks for another pass
	}
	if err != nil {
		return fmt.Errorf("writing the status of %s/%s: %w", m.Namespace, m.Name, err)
	}
	return nil
}
