// Package scrape decides who may read metrics: the bearer of a token that the API server knows (TokenReview) and whom it
// allows to get the path (SubjectAccessReview). It knows nothing of what the metrics are, nor how they are served.
//
// controller-runtime has a filter that does the same, with k8s.io/apiserver, gRPC and OpenTelemetry in tow: these would
// make the binary half as large again, in the process that has NET_RAW on every node. Hence this one.
package scrape

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	// keepAllowed and keepRefused are for how long an answer of the API server counts.
	keepAllowed = 30 * time.Second
	keepRefused = 10 * time.Second
	// longestToken in bytes; those of ServiceAccounts have about 1000.
	longestToken = 16 << 10
	// askAtOnce and remembered bound what somebody can make us do who sends token after token.
	askAtOnce  = 4
	remembered = 256
	// askTimeout is how long the API server may take.
	askTimeout = 10 * time.Second
)

// Filter lets through who may read the metrics. It has the form that controller-runtime's metrics server takes.
func Filter(config *rest.Config, client *http.Client) (metricsserver.Filter, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 5, 10
	tokens, err := authenticationclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	access, err := authorizationclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	a := reviews{tokens.TokenReviews(), access.SubjectAccessReviews()}
	return func(log logr.Logger, next http.Handler) (http.Handler, error) {
		return &guard{next: next, ask: a.ask, log: log, now: time.Now, asking: make(chan struct{}, askAtOnce), known: map[key]answer{}}, nil
	}, nil
}

// key is what was asked, without keeping the token.
type key [sha256.Size]byte

// answer is an HTTP status, 200 for yes, and until when it counts.
type answer struct {
	status int
	until  time.Time
}

type guard struct {
	next   http.Handler
	ask    func(ctx context.Context, token, verb, path string) (status int, err error)
	log    logr.Logger
	now    func() time.Time
	asking chan struct{}

	mu    sync.Mutex
	known map[key]answer
}

// ServeHTTP answers 401 to who is not known, 403 to who may not, 429 while too many are looked up and 500 where that fails.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := g.judge(r)
	if status == http.StatusOK {
		g.next.ServeHTTP(w, r)
		return
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	http.Error(w, http.StatusText(status), status)
}

func (g *guard) judge(r *http.Request) int {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > longestToken {
		return http.StatusUnauthorized
	}
	verb, path := strings.ToLower(r.Method), r.URL.Path
	k := key(sha256.Sum256([]byte(verb + "\x00" + path + "\x00" + token)))
	if status := g.recall(k); status != 0 {
		return status
	}
	select {
	case g.asking <- struct{}{}:
		defer func() { <-g.asking }()
	default:
		return http.StatusTooManyRequests
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	status, err := g.ask(ctx, token, verb, path)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			g.log.Info("cannot find out who asks for metrics", "error", err.Error())
		}
		return http.StatusInternalServerError
	}
	g.remember(k, status)
	return status
}

// recall returns the answer that still counts, 0 if there is none.
func (g *guard) recall(k key) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a, ok := g.known[k]; ok && g.now().Before(a.until) {
		return a.status
	}
	return 0
}

func (g *guard) remember(k key, status int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	keep := keepRefused
	if status == http.StatusOK {
		keep = keepAllowed
	}
	if len(g.known) >= remembered {
		for old, a := range g.known { // the refused ones first: they are what somebody can make many of
			if a.status != http.StatusOK || !g.now().Before(a.until) {
				delete(g.known, old)
			}
		}
		if len(g.known) >= remembered {
			clear(g.known)
		}
	}
	g.known[k] = answer{status, g.now().Add(keep)}
}

// reviews asks the API server.
type reviews struct {
	tokens authenticationclient.TokenReviewInterface
	access authorizationclient.SubjectAccessReviewInterface
}

func (a reviews) ask(ctx context.Context, token, verb, path string) (int, error) {
	review, err := a.tokens.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return 0, err
	}
	if !review.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	user := review.Status.User
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range user.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	may, err := a.access.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: verb, Path: path},
	}}, metav1.CreateOptions{})
	if err != nil {
		return 0, err
	}
	if !may.Status.Allowed || may.Status.Denied {
		return http.StatusForbidden, nil
	}
	return http.StatusOK, nil
}
