package main

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"time"

	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
)

const (
	// dialTimeout bounds one attempt to connect to the API server: one that began while it was away must not outlast its return.
	dialTimeout = 2 * time.Second
	// dialPause is between two attempts.
	dialPause = 500 * time.Millisecond
	// starting is for how long after its return the API server may still be starting: it listens before it knows who may do what.
	starting = 10 * time.Second
	// cachePatience is how long controllers wait for their caches at the start, instead of ending: a container that ends again
	// and again is started after pauses of up to five minutes.
	cachePatience = 24 * time.Hour
)

// http2Health are client-go's only switches for how soon a connection that has fallen silent is given up; it takes 45 s by
// default, while Services and endpoints change unseen.
var http2Health = map[string]string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS": "3", "HTTP2_PING_TIMEOUT_SECONDS": "5"}

// apiServer says how the API server is reached: by the kubeconfig or the service account, under the component's name, and
// with patience while it is away.
func apiServer(component string) (*rest.Config, error) {
	for name, value := range http2Health {
		if os.Getenv(name) == "" {
			if err := os.Setenv(name, value); err != nil {
				return nil, err
			}
		}
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, err
	}
	config.UserAgent = userAgent(component)
	config.WarningHandlerWithContext = rest.NoWarnings{} // that a kind is deprecated concerns those who write it
	config.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return patient{next} })
	return config, nil
}

// patient repeats a GET that reaches nobody for as long as its context lasts, and one that waited so and is then refused for as
// long as the API server may be starting. To fail would be worse: client-go's informers, which ask so, wait for up to a minute
// after the next failures, and find an API server that is back that much later.
type patient struct{ next http.RoundTripper }

// RoundTrip is of http.RoundTripper.
func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	var away bool
	var back time.Time // when it answered first, after it was away
	for {
		res, err := p.next.RoundTrip(r)
		switch {
		case r.Method != http.MethodGet:
			return res, err
		case err == nil && away && res.StatusCode >= http.StatusBadRequest:
			if back.IsZero() {
				back = time.Now()
			}
			if time.Since(back) > starting || r.Context().Err() != nil {
				return res, nil
			}
			_ = res.Body.Close()
		case err == nil || !unreached(r.Context(), err):
			return res, err
		case !away:
			away = true
			ctrl.Log.Info("waiting for the API server", "path", r.URL.Path, "error", err.Error())
		}
		select {
		case <-time.After(dialPause):
		case <-r.Context().Done():
			return nil, cmp.Or(err, context.Cause(r.Context()))
		}
	}
}

// unreached says whether an error is of the network, and not of what is said over it: a certificate that is refused
// stays refused.
func unreached(ctx context.Context, err error) bool {
	var network net.Error
	return ctx.Err() == nil && errors.As(err, &network)
}
