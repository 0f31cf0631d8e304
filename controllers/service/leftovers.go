package service

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
)

// sweepEvery is the pause between two looks for what dead nodes have left. Tests make it short.
var sweepEvery = 5 * time.Second

// sweep removes, until the context ends, ServiceL2Statuses that nobody else would for long: Kubernetes removes them with the
// speaker's pod, and keeps that for as long as there is a Node of that name, also one whose plug was pulled.
func (r *Reconciler) sweep(ctx context.Context) error {
	log := ctrl.LoggerFrom(ctx).WithName("leftovers")
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if n, err := r.removeLeftovers(ctx); err != nil && ctx.Err() == nil {
			log.Error(err, "removing ServiceL2Statuses of nodes that are dead")
		} else if n > 0 {
			log.Info("ServiceL2Statuses of dead nodes are removed", "number", n)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *Reconciler) removeLeftovers(ctx context.Context) (removed int, err error) {
	var nodes corev1.NodeList
	if err := r.Client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("listing Nodes: %w", err)
	}
	var statuses v1beta1.ServiceL2StatusList
	if err := r.Client.List(ctx, &statuses, client.InNamespace(r.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("listing ServiceL2Statuses: %w", err)
	}
	known := make(map[string]bool, len(nodes.Items))
	for i := range nodes.Items {
		known[nodes.Items[i].Name] = heard(&nodes.Items[i])
	}
	gone := map[string]bool{}
	for _, s := range leftovers(statuses.Items, known) {
		node := s.Status.Node
		if _, ok := known[node]; !ok { // one that has just come may not be in the cache yet
			if _, asked := gone[node]; !asked {
				err := r.Live.Get(ctx, client.ObjectKey{Name: node}, &corev1.Node{})
				if client.IgnoreNotFound(err) != nil {
					return removed, fmt.Errorf("reading Node %s: %w", node, err)
				}
				gone[node] = apierrors.IsNotFound(err)
			}
			if !gone[node] {
				continue
			}
		}
		if err := r.Client.Delete(ctx, s, client.Preconditions{UID: &s.UID}); client.IgnoreNotFound(err) != nil {
			kubernetes.UpdateErrors.Inc()
			return removed, fmt.Errorf("deleting ServiceL2Status %s: %w", s.Name, err)
		}
		kubernetes.Updates.Inc()
		removed++
	}
	return removed, nil
}

// leftovers are the statuses of nodes that are gone, and of those that are not heard of where a node that is announces the
// same: a node that has only lost the API server may announce on. The nodes are by name, and whether they are heard of.
func leftovers(statuses []v1beta1.ServiceL2Status, nodes map[string]bool) []*v1beta1.ServiceL2Status {
	type announcement struct{ namespace, service, address string }
	announced := map[announcement]bool{}
	var dead []*v1beta1.ServiceL2Status
	for i := range statuses {
		s := &statuses[i]
		switch {
		case s.Status.Node == "": // not written yet
		case nodes[s.Status.Node]:
			for _, a := range s.Status.Addresses {
				announced[announcement{s.Status.ServiceNamespace, s.Status.ServiceName, a}] = true
			}
		default:
			dead = append(dead, s)
		}
	}
	return slices.DeleteFunc(dead, func(s *v1beta1.ServiceL2Status) bool {
		_, there := nodes[s.Status.Node]
		return there && slices.ContainsFunc(s.Status.Addresses, func(a string) bool {
			return !announced[announcement{s.Status.ServiceNamespace, s.Status.ServiceName, a}]
		})
	})
}
