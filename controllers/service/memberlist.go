package service

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// Belongings makes the Secret that the speakers encrypt their gossip with, and says who owns what the controller makes, so
// that it goes when the installation does. As a Runnable it works on the leader only.
type Belongings struct {
	// Client writes, Live reads from the API server: there is no right to watch Secrets.
	Client client.Client
	Live   client.Reader
	// Namespace of all of them.
	Namespace string
	// Secret to make if it is not there; one that is there is never changed.
	Secret string
	// Deployment of the controller. What owns it owns what is made; empty: nobody does.
	Deployment string
}

// Start is of manager.Runnable.
func (b *Belongings) Start(ctx context.Context) error {
	log := ctrl.LoggerFrom(ctx).WithName("belongings")
	for {
		pause := recheck
		if err := b.ensure(ctx); err != nil && ctx.Err() == nil {
			log.Error(err, "making the memberlist Secret")
			pause = again
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// ensure makes the Secret if it is not there.
func (b *Belongings) ensure(ctx context.Context) error {
	var there corev1.Secret
	err := b.Live.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: b.Secret}, &there)
	if !apierrors.IsNotFound(err) {
		return err
	}
	owners, err := b.Owners(ctx)
	if err != nil {
		return err // what nobody owns would be left behind
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

// Owners returns who owns what the controller makes: the resource that its Deployment is made for, so that a Deployment
// that is deleted and restored changes no key; the Deployment itself where it has no controller.
func (b *Belongings) Owners(ctx context.Context) ([]metav1.OwnerReference, error) {
	if b.Deployment == "" {
		return nil, nil
	}
	var d appsv1.Deployment
	if err := b.Live.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: b.Deployment}, &d); err != nil {
		return nil, fmt.Errorf("reading Deployment %s: %w", b.Deployment, err)
	}
	owner := metav1.OwnerReference{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment", Name: d.Name, UID: d.UID}
	if c := metav1.GetControllerOf(&d); c != nil {
		// Not blocking the owner's deletion, which would need a right to its finalizers.
		owner = metav1.OwnerReference{APIVersion: c.APIVersion, Kind: c.Kind, Name: c.Name, UID: c.UID}
	}
	return []metav1.OwnerReference{owner}, nil
}
