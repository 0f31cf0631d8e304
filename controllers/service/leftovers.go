package service

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
)

// sweepEvery is the pause between two looks for what dead nodes have left. Tests make it short.
var sweepEvery = 5 * time.Second

// sweep removes, until the context ends, ServiceL2Statuses and ServiceBGPStatuses that nobody else would for long: Kubernetes removes them with the
// speaker's pod, and keeps that for as long as there is a Node of that name, also one whose plug was pulled.
func (r *Reconciler) sweep(ctx context.Context) error {
	log := ctrl.LoggerFrom(ctx).WithName("leftovers")
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if n, err := r.removeLeftovers(ctx); err != nil && ctx.Err() == nil {
			log.Error(err, "removing what nodes that are dead have reported")
		} else if n > 0 {
			log.Info("what dead nodes have reported is removed", "number", n)
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
	var onLAN v1beta1.ServiceL2StatusList
	var byBGP v1beta1.ServiceBGPStatusList
	for _, list := range []client.ObjectList{&onLAN, &byBGP} {
		if err := r.Client.List(ctx, list, client.InNamespace(r.Namespace), client.UnsafeDisableDeepCopy); err != nil {
			return 0, fmt.Errorf("listing %T: %w", list, err)
		}
	}
	known := make(map[string]bool, len(nodes.Items))
	for i := range nodes.Items {
		known[nodes.Items[i].Name] = heard(&nodes.Items[i])
	}
	gone := map[string]bool{}
	for _, s := range slices.Concat(leftovers(l2Reports(onLAN.Items), known), leftovers(bgpReports(byBGP.Items), known)) {
		node := s.node
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
		uid := s.GetUID()
		if err := r.Client.Delete(ctx, s.Object, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
			kubernetes.UpdateErrors.Inc()
			return removed, fmt.Errorf("deleting %T %s: %w", s.Object, s.GetName(), err)
		}
		kubernetes.Updates.Inc()
		removed++
	}
	return removed, nil
}

// report is what a node says that it announces of a Service: addresses, or prefixes.
type report struct {
	client.Object
	node string
	says []string
}

func l2Reports(statuses []v1beta1.ServiceL2Status) []report {
	out := make([]report, len(statuses))
	for i := range statuses {
		s := &statuses[i]
		out[i] = report{s, s.Status.Node, s.Status.Addresses}
	}
	return out
}

func bgpReports(statuses []v1beta1.ServiceBGPStatus) []report {
	out := make([]report, len(statuses))
	for i := range statuses {
		s := &statuses[i]
		out[i] = report{Object: s, node: s.Status.Node}
		for _, r := range s.Status.Routes {
			out[i].says = append(out[i].says, r.Prefix)
		}
	}
	return out
}

// leftovers are the reports of nodes that are gone, and of those that are not heard of where a node that is announces the
// same: a node that has only lost the API server may announce on. The nodes are by name, and whether they are heard of.
func leftovers(reports []report, nodes map[string]bool) []report {
	type announcement struct {
		service types.NamespacedName
		what    string
	}
	announced := map[announcement]bool{}
	var dead []report
	for _, s := range reports {
		switch {
		case s.node == "": // not written yet
		case nodes[s.node]:
			for _, what := range s.says {
				announced[announcement{about(s.Object), what}] = true
			}
		default:
			dead = append(dead, s)
		}
	}
	return slices.DeleteFunc(dead, func(s report) bool {
		_, there := nodes[s.node]
		return there && slices.ContainsFunc(s.says, func(what string) bool { return !announced[announcement{about(s.Object), what}] })
	})
}
