package metallb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/rollout"
)

// report writes the status of every resource that says something else than it should.
func (r *Reconciler) report(ctx context.Context, s *snapshot, known rollout.Snapshot, now time.Time) error {
	now = now.Truncate(time.Second) // the API keeps whole seconds: written so, a condition reads back as it was
	var errs []error
	for _, m := range s.misnamed {
		errs = append(errs, r.patchStatus(ctx, m, rollout.NotServedStatus(m, nil, r.Version, now)))
	}
	for _, m := range s.younger {
		errs = append(errs, r.patchStatus(ctx, m, rollout.NotServedStatus(m, s.served, r.Version, now)))
	}
	if s.served != nil {
		errs = append(errs, r.patchStatus(ctx, s.served, rollout.Status(known, s.served.Status.Conditions, now)))
	}
	return errors.Join(errs...)
}

// known is what there is to tell of the served resource; the zero value where there is none.
func (r *Reconciler) known(s *snapshot, failed []rollout.ApplyError, now time.Time) rollout.Snapshot {
	if s.served == nil {
		return rollout.Snapshot{}
	}
	controller, speaker := s.workloads()
	return rollout.Snapshot{
		MetalLB:      s.served,
		ApplyErrors:  failed,
		PodSecurity:  s.podSecurity,
		Controller:   controller,
		Speaker:      speaker,
		SpeakersWait: s.speakersWait,
		Progress:     r.progress,
		Now:          now,
		Version:      r.Version,
	}
}

func (r *Reconciler) patchStatus(ctx context.Context, m *v1beta1.MetalLB, want v1beta1.MetalLBStatus) error {
	if equality.Semantic.DeepEqual(m.Status, want) {
		return nil
	}
	after := m.DeepCopy()
	after.Status = want
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
