// Package apiserver says how the API server is reached, how soon it is noticed that it is not, and how soon what is there is known.
package apiserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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
	// A connection on which nothing came for askAfter is asked whether the other side is there, and given up when it says nothing
	// for answerWithin more. By default that takes 45 s, while Services and endpoints change unseen.
	askAfter     = 3 * time.Second
	answerWithin = 5 * time.Second
	// requestTimeout is for one request over HTTP/1.1, from the dial to the end of the answer: the machine of an API server that
	// hangs goes on answering for it that it is there.
	requestTimeout = 15 * time.Second
	// CachePatience is how long controllers wait for their caches at the start, instead of ending: a container that ends again
	// and again is started after pauses of up to five minutes.
	CachePatience = 24 * time.Hour
)

// http2Health are client-go's only switches for askAfter and answerWithin, over HTTP/2.
var http2Health = map[string]time.Duration{"HTTP2_READ_IDLE_TIMEOUT_SECONDS": askAfter, "HTTP2_PING_TIMEOUT_SECONDS": answerWithin}

// Config says how the API server is reached: by the kubeconfig or the service account, under the name of whoever asks, and with
// patience while it is away.
func Config(userAgent string) (*rest.Config, error) {
	for name, d := range http2Health {
		if os.Getenv(name) == "" {
			if err := os.Setenv(name, fmt.Sprint(d.Seconds())); err != nil {
				return nil, err
			}
		}
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, err
	}
	config.UserAgent = userAgent
	config.WarningHandlerWithContext = rest.NoWarnings{} // that a kind is deprecated concerns those who write it
	config.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return patient{next} })
	return config, nil
}

// OverHTTP1 returns the same for who sends many small requests: over HTTP/1.1. HTTP/2 hands each request and each answer from
// one goroutine to the next, which costs the sender more than it saves him in connections. HTTP/1.1 has no pings, so TCP asks in
// their place whether the other side is there (tcp(7), TCP_KEEPIDLE and TCP_USER_TIMEOUT), and no request takes longer than
// requestTimeout. Watches do, and are not for it.
func OverHTTP1(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.NextProtos, config.Timeout = []string{"http/1.1"}, requestTimeout
	config.Dial = (&net.Dialer{
		Timeout:         dialTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: askAfter, Interval: time.Second, Count: int(answerWithin / time.Second)},
		Control: func(_, _ string, c syscall.RawConn) error {
			var refused error
			err := c.Control(func(fd uintptr) {
				refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int((askAfter + answerWithin).Milliseconds()))
			})
			return errors.Join(err, refused)
		},
	}).DialContext
	return config
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
