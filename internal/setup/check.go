package setup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
)

// twice is a pool that has an address twice. Only the operator sees that; the API server by itself would take it.
var twice = v1beta1.IPAddressPoolSpec{Addresses: []string{"198.51.100.0/31", "198.51.100.1/32"}}

// Check returns once the operator reviews configuration and, if resource is true, the MetalLB resource in the namespace is
// Available: controller and speakers run. It changes nothing.
func Check(ctx context.Context, c client.Client, log *slog.Logger, namespace string, resource bool) error {
	if err := until(ctx, "the operator to review configuration", func() (bool, error) { return reviewed(ctx, c, namespace) }); err != nil {
		return err
	}
	log.Info("the operator reviews configuration", "namespace", namespace)
	if !resource {
		return nil
	}
	var message string
	if err := until(ctx, "the MetalLB resource to be Available", func() (done bool, err error) {
		done, message, err = available(ctx, c, namespace)
		return done, err
	}); err != nil {
		return err
	}
	log.Info("the MetalLB resource is Available", "namespace", namespace, "message", message)
	return nil
}

// reviewed asks for a dry run that is to be refused.
func reviewed(ctx context.Context, c client.Client, namespace string) (bool, error) {
	pool := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "metallb-check"}, Spec: twice}
	switch err := c.Create(ctx, pool, client.DryRunAll); {
	case err == nil:
		return false, errors.New("a pool that has an address twice was taken: nobody looked at it")
	case apierrors.IsInvalid(err) && strings.Contains(err.Error(), "overlaps"):
		return true, nil
	case apierrors.IsInvalid(err):
		return false, errors.New("a pool that has an address twice was refused for another reason: " + err.Error())
	default:
		return false, err
	}
}

func available(ctx context.Context, c client.Client, namespace string) (done bool, message string, err error) {
	cr := &v1beta1.MetalLB{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ResourceName}, cr); err != nil {
		return false, "", err
	}
	condition := meta.FindStatusCondition(cr.Status.Conditions, v1beta1.ConditionAvailable)
	if condition == nil || condition.ObservedGeneration != cr.Generation {
		return false, "", errors.New("the operator has not looked at it yet")
	}
	return condition.Status == metav1.ConditionTrue, condition.Message, fmt.Errorf("condition Available is %s: %s", condition.Status, condition.Message)
}
