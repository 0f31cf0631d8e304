package service

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// SecretKey is the key of the memberlist Secret's data.
	SecretKey = "secretkey"
	// keyBytes is the length of the random key before it is written in base64.
	keyBytes = 32
	// again is the pause after an error, recheck the one after success: whoever deletes the Secret gets a new one.
	again, recheck = 2 * time.Second, time.Minute
)

// Belongings makes what the controller needs beside Services, and has it end with the controller's Deployment: the
// Secret that the speakers encrypt their gossip with, and the Lease of the leader election. It runs on the leader only.
type Belongings struct {
	// Client writes, Live reads from the API server: there is no right to watch Secrets.
	Client client.Client
	Live   client.Reader
	// Namespace of all of them.
	Namespace string
	// Secret to make if it is not there; empty: none. One that is there is never changed.
	Secret string
	// Lease of the leader election; empty: none.
	Lease string
	// Deployment that owns what is made; empty: nobody does.
	Deployment string
}

// Start is of manager.Runnable.
func (b *Belongings) Start(ctx context.Context) error {
	log := ctrl.LoggerFrom(ctx).WithName("belongings")
	for {
		pause := recheck
		if err := b.ensure(ctx); err != nil && ctx.Err() == nil {
			log.Error(err, "making the memberlist Secret and owning the Lease")
			pause = again
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func (b *Belongings) ensure(ctx context.Context) error {
	owners, ownerErr := b.owners(ctx)
	errs := []error{ownerErr}
	if b.Secret != "" {
		errs = append(errs, b.ensureSecret(ctx, owners)) // without an owner rather than not at all
	}
	if b.Lease != "" && len(owners) > 0 {
		errs = append(errs, b.ownLease(ctx, owners[0]))
	}
	return errors.Join(errs...)
}

func (b *Belongings) owners(ctx context.Context) ([]metav1.OwnerReference, error) {
	if b.Deployment == "" {
		return nil, nil
	}
	var d appsv1.Deployment
	if err := b.Live.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: b.Deployment}, &d); err != nil {
		return nil, fmt.Errorf("reading Deployment %s: %w", b.Deployment, err)
	}
	// Not blocking the owner's deletion, which would need a right to its finalizers.
	return []metav1.OwnerReference{{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment", Name: d.Name, UID: d.UID}}, nil
}

func (b *Belongings) ensureSecret(ctx context.Context, owners []metav1.OwnerReference) error {
	var there corev1.Secret
	err := b.Live.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: b.Secret}, &there)
	if !apierrors.IsNotFound(err) {
		return err
	}
	key := make([]byte, keyBytes)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	err = b.Client.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       b.Namespace,
			Name:            b.Secret,
			Labels:          map[string]string{"app.kubernetes.io/managed-by": Component},
			OwnerReferences: owners,
		},
		Data: map[string][]byte{SecretKey: []byte(base64.StdEncoding.EncodeToString(key))},
	}, client.FieldOwner(Component))
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (b *Belongings) ownLease(ctx context.Context, owner metav1.OwnerReference) error {
	// The election renews the Lease all the time.
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		var lease coordinationv1.Lease
		if err := b.Live.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: b.Lease}, &lease); err != nil {
			return err
		}
		if slices.Contains(lease.OwnerReferences, owner) {
			return nil
		}
		// An owner that it has from before may be of an installation that is gone.
		lease.OwnerReferences = []metav1.OwnerReference{owner}
		return b.Client.Update(ctx, &lease, client.FieldOwner(Component))
	})
}
