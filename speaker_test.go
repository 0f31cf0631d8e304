package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"metallb.io/operator/speaker/members"
)

func TestSpeakerFlags(t *testing.T) {
	good := map[string]string{
		"METALLB_NODE_NAME": "node-1", "METALLB_POD_NAME": "speaker-1", "METALLB_ML_BIND_ADDR": "192.0.2.1", "METALLB_NAMESPACE": "metallb-system",
	}
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
		want []string // parts of the error; none: no error
	}{
		"the environment of the DaemonSet is enough": {nil, nil, nil},
		"flags win over the environment":             {map[string]string{"METALLB_NODE_NAME": ""}, []string{"--node-name", "node-2"}, nil},
		"all that is missing is said at once":        {map[string]string{"METALLB_NODE_NAME": "", "METALLB_POD_NAME": "", "METALLB_ML_BIND_ADDR": ""}, nil, []string{"METALLB_NODE_NAME", "METALLB_POD_NAME", "METALLB_ML_BIND_ADDR"}},
		"an address that is none":                    {nil, []string{"--ml-bindaddr", "node-1"}, []string{"--ml-bindaddr", "node-1"}},
		"a port that is none":                        {nil, []string{"--ml-bindport", "70000"}, []string{"--ml-bindport", "70000"}},
		"a port from the environment":                {map[string]string{"METALLB_ML_BIND_PORT": "7777"}, nil, nil},
		"a port from the environment that is none":   {map[string]string{"METALLB_ML_BIND_PORT": "gossip"}, nil, []string{"METALLB_ML_BIND_PORT", "gossip"}},
		"labels that are none":                       {map[string]string{"METALLB_ML_LABELS": "a=b=c"}, nil, []string{"--ml-labels"}},
		"an IPv6 node address":                       {map[string]string{"METALLB_ML_BIND_ADDR": "2001:db8::1"}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range good {
				t.Setenv(k, v)
			}
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			fs := flag.NewFlagSet("speaker", flag.ContinueOnError)
			run := speakerCommand(fs)
			if err := fs.Parse(c.args); err != nil {
				t.Fatal(err)
			}
			// Without access to an API server the command ends right after its flags are checked.
			t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			err := run(context.Background(), slog.New(slog.DiscardHandler))
			if err == nil {
				t.Fatal("started without an API server")
			}
			if len(c.want) == 0 && strings.Contains(err.Error(), "--ml") {
				t.Errorf("refused: %v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
		})
	}
}

func TestFollowSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secretkey")
	log := slog.New(slog.DiscardHandler)
	if b := readSecret(file, log); b != nil {
		t.Fatalf("read %q where there is nothing", b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan string, 10)
	done := make(chan error)
	go func() { done <- followSecret(ctx, file, func(b []byte) { got <- string(b) }, log) }()
	for _, content := range []string{"one\n", "two\n"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		select {
		case b := <-got:
			if b != content {
				t.Errorf("passed on %q, want %q", b, content)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%q was not passed on", content)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestServeSharesItsPort(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	done := make(chan error, 2)
	seen := map[string]bool{}
	for _, name := range []string{"old", "new"} {
		go func() {
			done <- serve(ctx, address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
		}()
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for end := time.Now().Add(5 * time.Second); len(seen) < 2; {
		if time.Now().After(end) {
			t.Fatalf("only %v answered", seen)
		}
		r, err := client.Get("http://" + address)
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		b, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		seen[string(b)] = true
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestRunAll(t *testing.T) {
	broken := errors.New("broken")
	waits := func(ctx context.Context) error { <-ctx.Done(); return nil }
	t.Run("one that fails ends all and is the error", func(t *testing.T) {
		err := runAll(t.Context(), t.Context(), waits, waits, func(context.Context) error { return broken })
		if !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("main may finish its work while the others still run", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		alive := make(chan struct{})
		err := runAll(ctx, t.Context(), func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			alive <- struct{}{} // received by one of the others, so it runs
			return nil
		}, func(ctx context.Context) error { <-alive; return waits(ctx) })
		if err != nil {
			t.Error(err)
		}
	})
}

// A speaker starts beside one of another installation, which shares no port, and is a member as soon as that one has gone.
func TestASpeakerWaitsForThePortOfTheGossip(t *testing.T) {
	other, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := members.Config{Node: "a", Instance: "b", Address: other.Addr().(*net.TCPAddr).AddrPort(), Log: slog.New(slog.DiscardHandler)}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := join(short, config); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("told to stop while it waits: %v", err)
	}
	go func() {
		time.Sleep(300 * time.Millisecond)
		_ = other.Close()
	}()
	began := time.Now()
	group, err := join(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 250*time.Millisecond || took > 5*time.Second {
		t.Errorf("it joined after %s", took)
	}
	if err := group.Close(); err != nil {
		t.Error(err)
	}
}
