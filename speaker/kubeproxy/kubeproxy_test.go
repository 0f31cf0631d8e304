package kubeproxy

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	type heard struct {
		answer
		seconds int // how often, one second apart
	}
	const up, refuses, down = healthy, unhealthy, silent
	for name, c := range map[string]struct {
		required bool
		heard    []heard
		want     bool
	}{
		"nothing is known, so it counts as delivering":     {false, nil, true},
		"it has never been there, as without kube-proxy":   {false, []heard{{down, 60}}, true},
		"it has never been healthy":                        {false, []heard{{refuses, 60}}, true},
		"healthy":                                          {false, []heard{{up, 1}}, true},
		"silent for as long as a restart takes":            {false, []heard{{up, 1}, {down, 10}}, true},
		"silent for longer":                                {false, []heard{{up, 1}, {down, 11}}, false},
		"silent, with an answer in between":                {false, []heard{{up, 1}, {down, 8}, {up, 1}, {down, 8}}, true},
		"a refusal or two":                                 {false, []heard{{up, 1}, {refuses, 3}}, true},
		"refusals for longer":                              {false, []heard{{up, 1}, {refuses, 4}}, false},
		"silence, and then refusals":                       {false, []heard{{up, 1}, {down, 8}, {refuses, 3}}, false},
		"refusals and silence in turn":                     {false, []heard{{up, 1}, {refuses, 2}, {down, 2}, {refuses, 2}, {down, 2}, {refuses, 2}}, true},
		"back for a moment":                                {false, []heard{{up, 1}, {down, 11}, {up, 2}}, false},
		"back for good":                                    {false, []heard{{up, 1}, {down, 11}, {up, 4}}, true},
		"required: nothing is known":                       {true, nil, false},
		"required: it has not answered":                    {true, []heard{{down, 60}}, false},
		"required: the first healthy answer is enough":     {true, []heard{{down, 3}, {up, 1}}, true},
		"required: silent for longer than a restart":       {true, []heard{{up, 1}, {down, 11}}, false},
		"required: back after a silence it must be stable": {true, []heard{{up, 1}, {down, 11}, {up, 1}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			j, now := judge{delivers: !c.required}, time.Unix(0, 0)
			for _, h := range c.heard {
				for range h.seconds {
					j.hear(h.answer, now)
					now = now.Add(time.Second)
				}
			}
			if j.delivers != c.want {
				t.Errorf("delivers: %t, want %t", j.delivers, c.want)
			}
		})
	}
}

func TestWhatAnotherProcessHasSeenIsBelieved(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	h := New(Automatic, DefaultURL, log)
	h.hear(silent, "refused", time.Now())
	h.Believe()
	if ok, _ := h.Delivers(); ok {
		t.Error("counts as delivering, though another process knows better")
	}
	h = New(Automatic, DefaultURL, log)
	h.hear(healthy, "", time.Now())
	h.Believe()
	if ok, _ := h.Delivers(); !ok {
		t.Error("does not trust its own eyes")
	}
}

// The real thing: an endpoint that is healthy, refuses, and is gone.
func TestHealth(t *testing.T) {
	var status atomic.Int32
	status.Store(http.StatusOK)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	defer s.Close()
	ctx, stop := context.WithCancel(context.Background())
	h, ended := New(Required, s.URL+"/healthz", slog.New(slog.DiscardHandler)), make(chan struct{})
	go func() {
		defer close(ended)
		_ = h.Run(ctx)
	}()
	defer func() {
		stop()
		<-ended
	}()
	becomes := func(what string, want bool) {
		t.Helper()
		start := time.Now()
		for end := start.Add(time.Minute); ; {
			select {
			case <-h.Changed():
			case <-time.After(time.Until(end)):
				t.Fatalf("%s: delivers is not %t", what, want)
			}
			if ok, last := h.Delivers(); ok == want {
				t.Logf("%s: after %v, %q", what, time.Since(start).Round(time.Millisecond), last)
				return
			}
		}
	}
	becomes("healthy", true)
	status.Store(http.StatusServiceUnavailable)
	becomes("refusing", false)
	status.Store(http.StatusOK)
	becomes("healthy again", true)
	s.Close()
	becomes("gone", false)
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		mode    Mode
		address string
		ok      bool
	}{
		"the default":                 {Automatic, DefaultURL, true},
		"another port":                {Required, "http://127.0.0.1:10257/healthz", true},
		"a mode that is none":         {"sometimes", DefaultURL, false},
		"an address without a scheme": {Automatic, "127.0.0.1:10256", false},
		"no address":                  {Automatic, "", false},
	} {
		if err := Check(c.mode, c.address); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
