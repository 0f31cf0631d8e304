package setup

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// InstallResource waits until the operator in the namespace has been rolled out, so that it reviews what comes, and applies
// the MetalLB resource there. spec is JSON. A field that was applied before and is not in spec any more goes; what others
// wrote into other fields stays.
func InstallResource(ctx context.Context, c client.Client, log *slog.Logger, namespace, spec string) error {
	var fields map[string]any
	if err := json.Unmarshal([]byte(spec), &fields); err != nil {
		return fmt.Errorf("the specification is not JSON: %w", err)
	}
	if err := until(ctx, "the operator", func() (bool, error) {
		d := &appsv1.Deployment{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: OperatorDeployment}, d); err != nil {
			return false, err
		}
		return rolledOut(d)
	}); err != nil {
		return err
	}
	err := until(ctx, "the MetalLB resource to be applied", func() (bool, error) {
		o := metallb(namespace)
		if len(fields) > 0 {
			o.Object["spec"] = fields
		}
		err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), resourceOwner, client.ForceOwnership)
		return err == nil, err
	})
	if err == nil {
		log.Info("applied the MetalLB resource", "namespace", namespace, "spec", spec)
	}
	return err
}

// rolledOut tells whether all replicas have the present specification and have been ready for a while.
func rolledOut(d *appsv1.Deployment) (bool, error) {
	want := ptr.Deref(d.Spec.Replicas, 1)
	s := d.Status
	return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want,
		fmt.Errorf("%d of %d replicas of Deployment %s are available", s.AvailableReplicas, want, d.Name)
}
