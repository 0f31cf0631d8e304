package service

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// OwnedLock returns a lock of the leader election whose Lease belongs to owners from the moment that it is made. The
// election makes the Lease again whenever it is gone, also while the installation is being removed; one without an
// owner would then stay for ever.
func OwnedLock(leases coordinationclient.LeasesGetter, namespace, name, identity string, owners func(context.Context) ([]metav1.OwnerReference, error)) resourcelock.Interface {
	return &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name},
		Client:     ownedLeases{leases, owners},
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}
}

type ownedLeases struct {
	coordinationclient.LeasesGetter
	owners func(context.Context) ([]metav1.OwnerReference, error)
}

func (l ownedLeases) Leases(namespace string) coordinationclient.LeaseInterface {
	return ownedLease{l.LeasesGetter.Leases(namespace), l.owners}
}

type ownedLease struct {
	coordinationclient.LeaseInterface
	owners func(context.Context) ([]metav1.OwnerReference, error)
}

func (l ownedLease) Create(ctx context.Context, lease *coordinationv1.Lease, opts metav1.CreateOptions) (*coordinationv1.Lease, error) {
	owners, err := l.owners(ctx)
	if err != nil {
		return nil, err // the election tries again
	}
	lease.OwnerReferences = owners
	return l.LeaseInterface.Create(ctx, lease, opts)
}
