package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/controllers/certificate"
	"metallb.io/operator/controllers/webhook"
)

const (
	// lastRequests is how long a replica that is to stop goes on answering API servers that have not heard of it yet.
	lastRequests = 5 * time.Second
	// shortestLife of a certificate: its times are whole seconds.
	shortestLife = 10 * time.Second
)

type webhookFlags struct {
	port               int
	http2, unmanaged   bool
	directory, service string
	lifetimes          certificate.Lifetimes
}

func (f *webhookFlags) declare(fs *flag.FlagSet) {
	fs.IntVar(&f.port, "webhook-port", 9443, "port of admission and conversion; 0: none")
	fs.BoolVar(&f.http2, "webhook-http2", false, "offer HTTP/2 there")
	fs.BoolVar(&f.unmanaged, "disable-cert-rotation", false,
		"take the serving certificate from --cert-dir, and leave the webhook configuration and the CRD of BGPPeer to whoever made it (OLM, cert-manager)")
	fs.StringVar(&f.directory, "cert-dir", "/tmp/k8s-webhook-server/serving-certs", "directory of tls.crt and tls.key, with --disable-cert-rotation; changes are noticed")
	fs.StringVar(&f.service, "cert-service-name", webhook.ServiceName, "Service in the operator's namespace by which API servers reach the port")
	fs.DurationVar(&f.lifetimes.Authority, "webhook-ca-lifetime", certificate.DefaultLifetimes.Authority, "validity of the certificate authority; it is renewed after two thirds of it")
	fs.DurationVar(&f.lifetimes.Serving, "webhook-cert-lifetime", certificate.DefaultLifetimes.Serving, "validity of the serving certificate; it is renewed after two thirds of it")
}

// check says what is wrong with the flags.
func (f *webhookFlags) check(namespace string) error {
	switch {
	case f.port == 0:
		return nil
	case f.unmanaged:
		return nil
	case namespace == "":
		return errors.New("give --namespace (or the environment variable POD_NAMESPACE): the webhooks' certificates are kept there; or --webhook-port=0")
	case f.lifetimes.Authority < shortestLife || f.lifetimes.Serving < shortestLife:
		return fmt.Errorf("--webhook-ca-lifetime and --webhook-cert-lifetime must be %s or more", shortestLife)
	}
	return nil
}

// webhooks is admission and conversion as this process serves them; the zero value serves none.
type webhooks struct {
	listener *webhook.Listener
	// rotation makes the certificates; nil: files has them.
	rotation *certificate.Reconciler
	files    *certwatcher.CertWatcher
}

// newWebhooks prepares what the flags ask for.
func newWebhooks(f *webhookFlags, namespace string) (*webhooks, error) {
	if err := f.check(namespace); err != nil || f.port == 0 {
		return &webhooks{}, err
	}
	w := &webhooks{listener: &webhook.Listener{Address: net.JoinHostPort("", strconv.Itoa(f.port)), HTTP2: f.http2}}
	if f.unmanaged {
		var err error
		if w.files, err = certwatcher.New(f.directory+"/tls.crt", f.directory+"/tls.key"); err != nil {
			return nil, fmt.Errorf("with --disable-cert-rotation the certificate must be in --cert-dir: %w", err)
		}
		w.listener.Certificate = w.files.GetCertificate
		return w, nil
	}
	server := webhook.Server{Namespace: namespace, Service: f.service}
	w.rotation = &certificate.Reconciler{
		Secret:        types.NamespacedName{Namespace: namespace, Name: webhook.SecretName},
		Hosts:         []string{server.Host()},
		Lifetimes:     f.lifetimes,
		Configuration: webhook.Configuration, Webhooks: server.Webhooks,
		CRD: webhook.ConvertedCRD, Conversion: server.Conversion,
	}
	w.listener.Certificate = w.rotation.GetCertificate
	return w, nil
}

// cacheObjects restricts the manager's cache to what is watched.
func (w *webhooks) cacheObjects() map[client.Object]cache.ByObject {
	if w.rotation == nil {
		return nil
	}
	return w.rotation.CacheObjects()
}

// setUp hands everything to the manager.
func (w *webhooks) setUp(mgr ctrl.Manager) error {
	if w.listener == nil {
		return nil
	}
	w.listener.Handler = webhook.Handler(mgr.GetAPIReader(), mgr.GetScheme())
	errs := []error{mgr.Add(w.listener), mgr.AddReadyzCheck("webhook", w.ready)}
	if w.files != nil {
		errs = append(errs, mgr.Add(w.files))
	}
	if w.rotation != nil {
		w.rotation.Client, w.rotation.Live = mgr.GetClient(), mgr.GetAPIReader()
		errs = append(errs, w.rotation.SetupWithManager(mgr))
	}
	return errors.Join(errs...)
}

// until returns the context in which the process lives: where it serves API servers, a little longer than it is told to.
func (w *webhooks) until(ctx context.Context) context.Context {
	if w.listener == nil {
		return ctx
	}
	return w.listener.Drain(ctx, lastRequests)
}

// ready while API servers can have an answer from this process.
func (w *webhooks) ready(req *http.Request) error {
	if err := w.listener.Ready(req); err != nil {
		return err
	}
	if w.rotation != nil {
		return w.rotation.Ready(req)
	}
	_, err := w.listener.Certificate(&tls.ClientHelloInfo{})
	return err
}
