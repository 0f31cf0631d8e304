package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// lastAnswers is how long requests under way are waited for at the end.
const lastAnswers = timeoutSeconds * time.Second

// Handler serves all reviews and the conversion.
func Handler(reader client.Reader, scheme *runtime.Scheme) http.Handler {
	review := &admission.Webhook{Handler: &Reviewer{Reader: reader, Decoder: admission.NewDecoder(scheme)}}
	mux := http.NewServeMux()
	for _, k := range kinds {
		mux.Handle(k.path(), review)
	}
	mux.Handle(DeletionPath, review)
	mux.HandleFunc(ConversionPath, Convert)
	return mux
}

// Listener is the webhook server, in each replica of the operator whichever is the leader. It is a manager.Runnable.
type Listener struct {
	// Address to listen on.
	Address string
	// Certificate is asked for each connection.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Handler of the requests.
	Handler http.Handler
	// HTTP2 offers HTTP/2. API servers do not use it for webhooks: it would bind each of them to one replica.
	HTTP2 bool
	// Bound is called with the address that is listened on; nil: nobody wants to know.
	Bound func(net.Addr)

	serving, draining atomic.Bool
}

// NeedLeaderElection says that no Lease is needed.
func (*Listener) NeedLeaderElection() bool { return false }

// Start serves until the context ends, and then until the requests under way are answered.
func (l *Listener) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.Address)
	if err != nil {
		return err
	}
	if l.Bound != nil {
		l.Bound(listener.Addr())
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(l.HTTP2)
	logger := log.FromContext(ctx).WithName("webhook")
	server := &http.Server{
		Handler:           l.Handler,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: l.Certificate},
		Protocols:         &protocols,
		ReadHeaderTimeout: 10 * time.Second,
		// Handshakes that fail are the business of whoever tries them.
		ErrorLog:    slog.NewLogLogger(logr.ToSlogHandler(logger), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return log.IntoContext(context.WithoutCancel(ctx), logger) },
	}
	// API servers keep a connection for 90 s and use it again unasked. If the node of this replica has lost its power in
	// between, they would wait for an answer that never comes, once for each webhook. A new connection goes to a replica that
	// lives, for the price of a handshake.
	server.SetKeepAlivesEnabled(false)
	stopped := make(chan error, 1)
	go func() { stopped <- server.ServeTLS(listener, "", "") }()
	l.serving.Store(true)
	defer l.serving.Store(false)
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
	defer cancel()
	err = server.Shutdown(end)
	if served := <-stopped; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// Drain announces the end when the context ends, and returns a context that ends that much later. In between, this replica
// is not ready any more, but answers: others must first learn that it is going.
func (l *Listener) Drain(ctx context.Context, during time.Duration) context.Context {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		l.draining.Store(true)
		time.AfterFunc(during, cancel)
	})
	return later
}

// Ready is a check.
func (l *Listener) Ready(*http.Request) error {
	switch {
	case l.draining.Load():
		return errors.New("stopping")
	case !l.serving.Load():
		return errors.New("the webhook server has not started yet")
	}
	return nil
}
