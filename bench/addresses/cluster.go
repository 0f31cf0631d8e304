package main

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/bench/operand"
	"metallb.io/operator/controllers/configuration"
)

const (
	system = "metallb-system" // namespace of the configuration
	apps   = "apps"           // namespace of the Services
	// poolRange is what the controller gives from.
	poolRange = "10.64.0.0/16"
)

// cluster is an API server with what an installation of the controller finds there. Its administrator makes and deletes
// Services.
type cluster struct {
	*operand.Cluster
	// floor has the controller's own identity.
	floor      kubernetes.Interface
	kubeconfig string // of the controller's identity
}

func newCluster(ctx context.Context) (c *cluster, err error) {
	c = &cluster{}
	if c.Cluster, err = operand.New(ctx, system); err != nil {
		return c, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	here := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: system, Name: name} }
	if err := c.Create(ctx,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: apps}},
		&v1beta1.IPAddressPool{ObjectMeta: here("pool"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{poolRange}}},
		&v1beta1.L2Advertisement{ObjectMeta: here("all")},
	); err != nil {
		return c, err
	}
	// An API server that has just begun reads a kind's objects from etcd when it is asked for them for the first time. That is
	// no controller's doing, and clusters have long been asked. Meanwhile it tells who asks to come back after a second.
	_, err = configuration.Load(ctx, c.Objects, system)
	for _, statuses := range []client.ObjectList{
		&v1beta1.ConfigurationStateList{}, &v1beta1.ServiceL2StatusList{}, &v1beta1.ServiceBGPStatusList{}, &v1beta1.BGPSessionStateList{},
	} {
		err = errors.Join(err, c.Objects.List(ctx, statuses))
	}
	if err != nil {
		return c, fmt.Errorf("preparing the API server: %w", err)
	}
	id, err := c.Identify(ctx, "controller")
	if err != nil {
		return c, err
	}
	c.kubeconfig = id.Kubeconfig
	c.floor, err = kubernetes.NewForConfig(id.Config)
	return c, err
}
