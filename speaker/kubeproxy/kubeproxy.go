// Package kubeproxy asks kube-proxy on this node, at its health endpoint, whether what arrives here is delivered. What
// follows from that is decided elsewhere. It imports the standard library only.
package kubeproxy

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// DefaultURL is where kube-proxy answers unless it is configured otherwise (--healthz-bind-address).
const DefaultURL = "http://127.0.0.1:10256/healthz"

// Mode says what follows from its answers.
type Mode string

// The modes.
const (
	// Automatic: once kube-proxy has been healthy, its silence means that nothing is delivered. A node where it has never
	// been counts as delivering: there, something else does its work.
	Automatic Mode = "automatic"
	// Required: nothing is delivered before it has been healthy either.
	Required Mode = "required"
	// Ignored: it is not asked.
	Ignored Mode = "ignored"
)

// Check says what is wrong with a mode and an address.
func Check(m Mode, address string) error {
	switch m {
	case Automatic, Required, Ignored:
	default:
		return fmt.Errorf("%q is none of automatic, required and ignored", m)
	}
	if u, err := url.Parse(address); err != nil || u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("%q is no address such as %s", address, DefaultURL)
	}
	return nil
}

const (
	// every is the time between two questions, and the longest that one may take.
	every = time.Second
	// enough of an answer is read that the connection ends well.
	enough = 1 << 12
)

// Health is what is known of kube-proxy's. It is safe for concurrent use.
type Health struct {
	mode    Mode
	url     string
	log     *slog.Logger
	changed chan struct{} // size 1

	mu sync.Mutex
	judge
	last string // what was wrong with the last answer; empty: nothing, or there is none
}

// New knows nothing yet; Run asks.
func New(m Mode, address string, log *slog.Logger) *Health {
	return &Health{mode: m, url: address, log: log, changed: make(chan struct{}, 1), judge: judge{delivers: m != Required}}
}

// Delivers reports whether what arrives at this node is delivered, as far as is known, and what was wrong with the last answer.
func (h *Health) Delivers() (delivers bool, last string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.delivers, h.last
}

// Changed signals that Delivers may say something else.
func (h *Health) Changed() <-chan struct{} { return h.changed }

// Believe takes it from another process on this node, which has been here for longer, that kube-proxy worked and does not any
// more. It has no effect on one that has seen kube-proxy work itself.
func (h *Health) Believe() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mode == Automatic && !h.answered {
		h.answered, h.delivers = true, false
	}
}

// Run asks until the context ends.
func (h *Health) Run(ctx context.Context) error {
	if h.mode == Ignored {
		return nil
	}
	transport := &http.Transport{DisableKeepAlives: true} // it is to be seen that nobody listens
	client := &http.Client{Transport: transport, Timeout: every}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		a, words := ask(ctx, client, h.url)
		if ctx.Err() != nil {
			return nil
		}
		h.hear(a, words, time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// hear takes an answer.
func (h *Health) hear(a answer, words string, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, well := h.delivers, h.last == ""
	h.judge.hear(a, now)
	h.last = words
	if h.delivers != before {
		h.log.Info("kube-proxy on this node", "delivers", h.delivers, "answer", words)
	}
	if h.delivers != before || (words == "") != well {
		select {
		case h.changed <- struct{}{}:
		default:
		}
	}
}

func ask(ctx context.Context, client *http.Client, address string) (answer, string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return silent, err.Error()
	}
	response, err := client.Do(request)
	if err != nil {
		return silent, err.Error()
	}
	_, _ = io.CopyN(io.Discard, response.Body, enough)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return unhealthy, "it answers " + response.Status
	}
	return healthy, ""
}
