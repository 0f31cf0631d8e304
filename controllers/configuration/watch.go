package configuration

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"metallb.io/operator/api/v1beta1"
)

// SetupWithManager has a manager watch the resource: what somebody else makes of it is put right, and what could not be
// written is tried again.
func (s *State) SetupWithManager(mgr manager.Manager) error {
	ours := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetNamespace() == s.Namespace && o.GetName() == s.Name })
	// Once at the start in any case: what was deleted before the watch began gives no event.
	begin := func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: s.Namespace, Name: s.Name}})
		return nil
	}
	return ctrl.NewControllerManagedBy(mgr).Named("configurationstate").
		For(&v1beta1.ConfigurationState{}, builder.WithPredicates(ours)).
		WatchesRawSource(source.Func(begin)).
		Complete(reconcile.Func(func(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
			now := &v1beta1.ConfigurationState{}
			err := mgr.GetClient().Get(ctx, request.NamespacedName, now)
			switch {
			case apierrors.IsNotFound(err):
				now = nil
			case err != nil:
				return ctrl.Result{}, err
			}
			return ctrl.Result{}, s.Seen(ctx, now)
		}))
}
