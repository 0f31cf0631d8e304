package service

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlevent "sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/bgp"
)

// pause is how long changes around the configuration are gathered: when a cluster starts, a thousand speakers report
// their networks, and only warnings depend on that.
const pause = time.Second

// later enqueues a request after a while, once however much happens in it.
func later(request reconcile.Request, after time.Duration) handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	add := func(q queue) { q.AddAfter(request, after) }
	return handler.Funcs{
		CreateFunc: func(_ context.Context, _ ctrlevent.CreateEvent, q queue) { add(q) },
		UpdateFunc: func(_ context.Context, _ ctrlevent.UpdateEvent, q queue) { add(q) },
		DeleteFunc: func(_ context.Context, _ ctrlevent.DeleteEvent, q queue) { add(q) },
	}
}

// surroundings lets pass what changes the nodes as the configuration sees them: their labels and addresses, the networks
// that their speakers report. Heartbeats are none of it, nor what else a ConfigurationState says.
var surroundings = predicate.Funcs{
	CreateFunc: func(e ctrlevent.CreateEvent) bool { return tells(e.Object) },
	DeleteFunc: func(e ctrlevent.DeleteEvent) bool { return tells(e.Object) },
	UpdateFunc: func(e ctrlevent.UpdateEvent) bool {
		switch before := e.ObjectOld.(type) {
		case *corev1.Node:
			now := e.ObjectNew.(*corev1.Node)
			return !maps.Equal(before.Labels, now.Labels) || !slices.Equal(before.Status.Addresses, now.Status.Addresses)
		case *v1beta1.ConfigurationState:
			now := e.ObjectNew.(*v1beta1.ConfigurationState)
			return !slices.Equal(before.Status.Subnets, now.Status.Subnets) || !slices.Equal(before.Status.Gateways, now.Status.Gateways)
		default:
			return true
		}
	},
}

// sessionNews lets pass what matters of a BGPSessionState to those who wait for the session: whether it is up, and why not.
var sessionNews = predicate.Funcs{
	UpdateFunc: func(e ctrlevent.UpdateEvent) bool {
		before, now := &e.ObjectOld.(*v1beta1.BGPSessionState).Status, &e.ObjectNew.(*v1beta1.BGPSessionState).Status
		up := func(s *v1beta1.BGPSessionStateStatus) bool { return s.BGPStatus == string(bgp.Established) }
		return up(before) != up(now) || before.LastError != now.LastError || before.BGPPeer != now.BGPPeer
	},
}

// tells says whether anything can depend on the object.
func tells(o client.Object) bool {
	s, ok := o.(*v1beta1.ConfigurationState)
	return !ok || len(s.Status.Subnets)+len(s.Status.Gateways) > 0
}
