package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// lookAgain is the longest time between two passes, in case an event was missed or the clock was set.
	lookAgain = 10 * time.Minute
	// again is the wait after another replica was faster.
	again = 50 * time.Millisecond
)

// Reconciler keeps the Secret, the two places that name the authorities to trust, and the certificate that this replica
// presents. There is one request, and it says nothing.
type Reconciler struct {
	// Client writes; Live reads from the API server.
	Client client.Client
	Live   client.Reader
	// Secret that the replicas share.
	Secret types.NamespacedName
	// Hosts that API servers know the server by, at least one.
	Hosts []string
	// Lifetimes of what is made.
	Lifetimes Lifetimes
	// Configuration is the name of the ValidatingWebhookConfiguration, and Webhooks what it is to hold.
	Configuration string
	Webhooks      func(bundle []byte) []admissionregistrationv1.ValidatingWebhook
	// CRD is the name of the CRD that is converted, and Conversion how.
	CRD        string
	Conversion func(bundle []byte) *apiextensionsv1.CustomResourceConversion
	// Now is the clock; nil: time.Now.
	Now func() time.Time

	// What the last pass has seen. remembered outlives the Secret: what this replica presents stays trusted.
	remembered material
	placed     placement
	// What the server and the probe ask for, from other goroutines.
	serving atomic.Pointer[tls.Certificate]
	trusted atomic.Bool
}

// placement is since when a bundle is in its places without a break.
type placement struct {
	bundle string
	since  time.Time
}

// GetCertificate is for tls.Config.
func (r *Reconciler) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := r.serving.Load(); c != nil {
		return c, nil
	}
	return nil, errors.New("no serving certificate yet")
}

// Ready is a check: this replica has a certificate, and API servers have been told to trust it when that was last looked at.
func (r *Reconciler) Ready(*http.Request) error {
	switch c := r.serving.Load(); {
	case c == nil:
		return errors.New("no serving certificate yet")
	case !r.now().Before(c.Leaf.NotAfter):
		return errors.New("the serving certificate has expired")
	case !r.trusted.Load():
		return errors.New("the API server has not been told yet to trust the serving certificate")
	}
	return nil
}

// Reconcile reads the two places before the Secret, and writes only over what it has read. So what goes into a place was in
// the Secret at that time or later, and a replica that is behind cannot take a newer bundle out.
func (r *Reconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	places, placesErr := r.places(ctx)
	secret := &corev1.Secret{}
	if err := r.Live.Get(ctx, r.Secret, secret); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("reading Secret %s: %w", r.Secret, err)
	}
	m, due, err := r.renew(ctx, secret, places)
	if isRace(err) {
		return reconcile.Result{RequeueAfter: again}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("renewing the certificates in Secret %s: %w", r.Secret, err)
	}
	r.remembered = m
	if err := r.place(ctx, places, m.bundle()); err != nil || placesErr != nil {
		r.placed = placement{}
		r.present(ctx, m)
		if err := errors.Join(placesErr, err); !isRace(err) {
			return reconcile.Result{}, err
		}
		return reconcile.Result{RequeueAfter: again}, nil
	}
	now := r.now()
	if r.placed.bundle != string(m.bundle()) {
		r.placed = placement{string(m.bundle()), now}
		due = r.Lifetimes.known(now, m.serving.Leaf) // what waits for the bundle to be taken up
	}
	due = earlier(due, r.present(ctx, m))
	return reconcile.Result{RequeueAfter: max(again, min(lookAgain, due.Sub(now)))}, nil
}

// renew does what is to be done to the Secret, and returns what it holds then and when to look again.
func (r *Reconciler) renew(ctx context.Context, secret *corev1.Secret, places []place) (material, time.Time, error) {
	now := r.now()
	m := parse(secret.Data, r.Hosts, now)
	if !holds(places, m.bundle()) {
		r.placed = placement{}
	}
	changed := false
	for {
		step, due := decide(m, r.since(m), r.Lifetimes, now)
		if step == keep {
			if due.IsZero() {
				due = now.Add(lookAgain)
			}
			if !changed {
				return m, due, nil
			}
			return m, due, r.write(ctx, secret, m)
		}
		changed = true
		var err error
		if m, err = r.take(ctx, step, m, places, now); err != nil {
			return m, now, err
		}
	}
}

// take makes one step.
func (r *Reconciler) take(ctx context.Context, step step, m material, places []place, now time.Time) (material, error) {
	switch step {
	case makeAuthority:
		cert, key, err := newAuthority(now, r.Lifetimes.Authority)
		if err != nil {
			return m, err
		}
		if m.serving == nil { // the Secret was removed or damaged: what is presented until the new authority is trusted
			m.serving = r.serving.Load()
		}
		m = m.withAuthority(cert, key, slices.Concat(r.remembered.authorities, bundled(places)), now)
		if !m.trusts(m.serving, r.Hosts, now) {
			m.serving = nil
		}
		log.FromContext(ctx).Info("made a new certificate authority", "serial", cert.SerialNumber.Text(16), "until", cert.NotAfter, "trusted", len(m.authorities))
	case makeServing:
		cert, key, err := newServing(m.authorities[0], m.key, r.Hosts, now, r.Lifetimes.Serving)
		if err != nil {
			return m, err
		}
		m = m.withServing(cert, key)
		log.FromContext(ctx).Info("made a new serving certificate", "serial", cert.SerialNumber.Text(16), "until", cert.NotAfter, "hosts", r.Hosts)
	case dropExpired:
		m = m.withoutExpired(now)
	}
	return m, nil
}

// since is since when the material's bundle is in its places; zero: it is not.
func (r *Reconciler) since(m material) time.Time {
	if r.placed.bundle == string(m.bundle()) {
		return r.placed.since
	}
	return time.Time{}
}

// write stores the material, over the Secret as it was read.
func (r *Reconciler) write(ctx context.Context, secret *corev1.Secret, m material) error {
	data, err := m.data()
	if err != nil {
		return err
	}
	if secret.ResourceVersion == "" {
		return r.Client.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: r.Secret.Namespace, Name: r.Secret.Name},
			Data:       data,
		}, fieldOwner)
	}
	secret.Data = data
	return r.Client.Update(ctx, secret, fieldOwner)
}

// present chooses the certificate for new connections, and returns when to choose again. It is that of the Secret; but one
// that API servers cannot know yet waits for as long as they trust what is presented now.
func (r *Reconciler) present(ctx context.Context, m material) time.Time {
	now := r.now()
	current, since := r.serving.Load(), r.since(m)
	if current != nil && !current.Leaf.Equal(m.serving.Leaf) && m.trusts(current, r.Hosts, now) && !sameIssuer(current.Leaf, m.serving.Leaf) {
		if known := r.Lifetimes.known(since, current.Leaf); since.IsZero() || now.Before(known) {
			r.trusted.Store(!since.IsZero())
			return known // of no meaning while the bundle is not in its places: that is tried again anyway
		}
	}
	if current == nil || !current.Leaf.Equal(m.serving.Leaf) {
		log.FromContext(ctx).Info("presenting another certificate", "serial", m.serving.Leaf.SerialNumber.Text(16), "until", m.serving.Leaf.NotAfter)
		r.serving.Store(m.serving)
	}
	r.trusted.Store(!since.IsZero())
	return now.Add(lookAgain)
}

func sameIssuer(a, b *x509.Certificate) bool {
	return string(a.AuthorityKeyId) == string(b.AuthorityKeyId)
}

// isRace tells whether another replica has written first.
func isRace(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)
}

func (r *Reconciler) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}
