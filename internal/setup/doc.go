// Package setup does what an installer that only knows manifests, such as Helm, cannot do with them: install and upgrade
// the CustomResourceDefinitions before anything uses them, make the MetalLB resource once there is somebody to review it,
// check that it all works, and take it away so that nothing is left pointing at what is gone. It knows the operator by its
// manifests (config/default); what runs inside of it is not its business.
//
// Each function repeats what fails until its context ends, and may be run again at any time.
package setup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
)

// The operator as config/manager has it.
const (
	OperatorDeployment = "metallb-operator-controller-manager"
	OperatorLease      = "metallb-operator"
)

// operatorPods are the labels by which config/manager selects the operator's pods.
var operatorPods = client.MatchingLabels{"control-plane": "controller-manager", "app.kubernetes.io/name": "metallb-operator"}

// ResourceName is the name of the one MetalLB resource.
const ResourceName = "metallb"

// Field managers: by whom the API server sees things written.
const (
	crdOwner      = client.FieldOwner("metallb-crds")
	resourceOwner = client.FieldOwner("metallb-setup")
)

// poll is how often the API server is asked for what is waited for.
const poll = 250 * time.Millisecond

// until asks again and again until done says yes. It gives up when the context ends, with what done said last, and at
// once on an error that will not pass.
func until(ctx context.Context, what string, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok {
			return nil
		}
		if lasting(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = errors.New("not yet")
			}
			return fmt.Errorf("waited in vain for %s: %w", what, err)
		case <-time.After(poll):
		}
	}
}

// lasting tells whether an API server refuses a request for what is in it. To be forbidden passes: rights that were just
// given take a moment.
func lasting(err error) bool {
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		return true
	}
	// Server-side apply of what the schema does not have; the status has no reason of its own for it.
	return err != nil && strings.Contains(err.Error(), "failed to create typed patch object")
}

// metallb is a MetalLB resource without a specification.
func metallb(namespace string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1beta1.GroupVersion.WithKind("MetalLB"))
	u.SetNamespace(namespace)
	u.SetName(ResourceName)
	return u
}
