package scrape

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
)

// asked is a guard whose API server is a function; it counts how often it is asked.
func asked(answers func(token, verb, path string) (int, error)) (*guard, *int, *time.Time) {
	n, now := 0, time.Unix(0, 0)
	g := &guard{
		next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("metrics")) }),
		ask: func(_ context.Context, token, verb, path string) (int, error) {
			n++
			return answers(token, verb, path)
		},
		log: logr.Discard(), now: func() time.Time { return now },
		asking: make(chan struct{}, askAtOnce), known: map[key]answer{},
	}
	return g, &n, &now
}

func get(g *guard, method, authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/metrics", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w
}

func TestWhoMayReadMetrics(t *testing.T) {
	g, n, now := asked(func(token, verb, path string) (int, error) {
		switch {
		case token == "broken":
			return 0, errors.New("no API server")
		case token != "reader" && token != "stranger":
			return http.StatusUnauthorized, nil
		case token == "reader" && verb == "get" && path == "/metrics":
			return http.StatusOK, nil
		}
		return http.StatusForbidden, nil
	})
	for _, c := range []struct {
		what, method, authorization string
		status, asked               int
	}{
		{"nobody", "GET", "", 401, 0},
		{"a user with a password", "GET", "Basic YTpi", 401, 0},
		{"no token", "GET", "Bearer ", 401, 0},
		{"a token that is too long", "GET", "Bearer " + strings.Repeat("x", longestToken+1), 401, 0},
		{"a token that nobody knows", "GET", "Bearer forged", 401, 1},
		{"a token without the right", "GET", "Bearer stranger", 403, 1},
		{"a reader", "GET", "Bearer reader", 200, 1},
		{"a reader again", "GET", "bearer reader", 200, 0},
		{"a reader that writes", "POST", "Bearer reader", 403, 1},
		{"an API server that is away", "GET", "Bearer broken", 500, 1},
		{"an API server that is away, again", "GET", "Bearer broken", 500, 1},
	} {
		before := *n
		w := get(g, c.method, c.authorization)
		if w.Code != c.status || *n-before != c.asked {
			t.Errorf("%s: status %d, asked %d times; want %d, %d", c.what, w.Code, *n-before, c.status, c.asked)
		}
		if (w.Body.String() == "metrics") != (c.status == 200) || (w.Header().Get("WWW-Authenticate") != "") != (c.status == 401) {
			t.Errorf("%s: %q, %v", c.what, w.Body, w.Header())
		}
	}
	before := *n
	*now = now.Add(keepAllowed)
	if get(g, "GET", "Bearer reader"); *n != before+1 {
		t.Error("what was allowed once is allowed for ever")
	}
}

// Who sends token after token can have neither our memory nor all of our requests.
func TestAFloodOfTokensIsBounded(t *testing.T) {
	g, _, _ := asked(func(token, _, _ string) (int, error) {
		if token == "reader" {
			return http.StatusOK, nil
		}
		return http.StatusUnauthorized, nil
	})
	get(g, "GET", "Bearer reader")
	for i := range 3 * remembered {
		get(g, "GET", fmt.Sprintf("Bearer %d", i))
	}
	if len(g.known) > remembered {
		t.Errorf("%d answers are kept", len(g.known))
	}
	for range askAtOnce {
		g.asking <- struct{}{}
	}
	if w := get(g, "GET", "Bearer one more"); w.Code != http.StatusTooManyRequests {
		t.Errorf("status %d", w.Code)
	}
	if w := get(g, "GET", "Bearer reader"); w.Code != http.StatusOK {
		t.Errorf("the reader that is known gets %d", w.Code)
	}
}
