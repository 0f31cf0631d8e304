package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"metallb.io/operator/bench"
	"metallb.io/operator/controllers/service"
	"metallb.io/operator/internal/lbservice"
)

func name(i int) string { return fmt.Sprintf("s%05d", i) }

// create makes a Service like many: it has a selector, a port, a label and an annotation of somebody else's.
func (c *cluster) create(ctx context.Context, name string) (*corev1.Service, error) {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: apps, Name: name,
			Labels:      map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "bench"},
			Annotations: map[string]string{"example.com/owner": "team-" + name},
		},
		Spec: corev1.ServiceSpec{
			Type:                          corev1.ServiceTypeLoadBalancer,
			Selector:                      map[string]string{"app.kubernetes.io/name": name},
			Ports:                         []corev1.ServicePort{{Name: "https", Port: 443}},
			AllocateLoadBalancerNodePorts: ptr.To(false), // a cluster has 2768 of them
		},
	}
	return c.Admin.CoreV1().Services(apps).Create(ctx, svc, metav1.CreateOptions{})
}

// createAll makes Services number 0 to n-1 and calls then, if there is one, for each.
func (c *cluster) createAll(ctx context.Context, n int, then func(context.Context, *corev1.Service, int) error) error {
	return bench.Parallel(ctx, service.Writers, n, func(ctx context.Context, i int) error {
		svc, err := c.create(ctx, name(i))
		if err != nil || then == nil {
			return err
		}
		return then(ctx, svc, i)
	})
}

// status patches a Service's status as the controller does, with the same fields, in its name.
func (c *cluster) status(ctx context.Context, name, version, address string) error {
	body := map[string]any{
		"metadata": map[string]any{"resourceVersion": version, "annotations": map[string]any{lbservice.Prefix + lbservice.AllocatedFrom: "pool"}},
		"status": map[string]any{
			"loadBalancer": map[string]any{"ingress": []corev1.LoadBalancerIngress{{IP: address}}},
			"conditions": []metav1.Condition{{
				Type: service.ConditionAddressAllocated, Status: metav1.ConditionTrue, Reason: "Assigned",
				Message: fmt.Sprintf("Has %s of pool pool.", address), LastTransitionTime: metav1.Now(),
			}},
		},
	}
	return c.patch(ctx, name, body)
}

// clear makes a Service one that waits for an address.
func (c *cluster) clear(ctx context.Context, name string) error {
	return c.patch(ctx, name, map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{lbservice.Prefix + lbservice.AllocatedFrom: nil}},
		"status":   map[string]any{"loadBalancer": nil, "conditions": nil},
	})
}

func (c *cluster) patch(ctx context.Context, name string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = c.floor.CoreV1().Services(apps).Patch(ctx, name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: service.Component}, "status")
	return err
}

// pace calls work for each number below n, so many times a second; each call has a goroutine of its own, so that a slow
// one does not slow the pace.
func pace(ctx context.Context, n, perSecond int, work func(ctx context.Context, i int) error) error {
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	for i := range n {
		select {
		case <-tick.C:
			group.Go(func() {
				if err := work(ctx, i); err != nil {
					cancel(err)
				}
			})
			continue
		case <-ctx.Done():
		}
		break
	}
	group.Wait()
	return context.Cause(ctx)
}
