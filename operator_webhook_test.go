package main

import (
	"context"
	"flag"
	"io"
	"strings"
	"testing"
	"time"
)

func TestWebhookFlags(t *testing.T) {
	for args, want := range map[string]string{
		"":                            "give --namespace",
		"--webhook-port=0":            "",
		"--webhook-ca-lifetime=1h":    "give --namespace",
		"-n --webhook-ca-lifetime=9s": "must be 10s or more",
		"-n --webhook-cert-lifetime=0s --webhook-ca-lifetime=60s":                                        "must be 10s or more",
		"-n --webhook-ca-lifetime=60s --webhook-cert-lifetime=20s --cert-service-name=x --webhook-http2": "",
		"--disable-cert-rotation --cert-dir=/nowhere":                                                    "with --disable-cert-rotation the certificate must be in --cert-dir: open /nowhere/tls.crt",
	} {
		f := &webhookFlags{}
		fs := flag.NewFlagSet("operator", flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		f.declare(fs)
		namespace := ""
		fields := strings.Fields(args)
		if len(fields) > 0 && fields[0] == "-n" {
			namespace, fields = "metallb-system", fields[1:]
		}
		if err := fs.Parse(fields); err != nil {
			t.Fatal(err)
		}
		w, err := newWebhooks(f, namespace)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", args, err, want)
		}
		if err == nil && f.port != 0 && (w.rotation.Hosts[0] != "x.metallb-system.svc" || len(w.cacheObjects()) != 3) {
			t.Errorf("%s: %v, %d kinds in the cache", args, w.rotation.Hosts, len(w.cacheObjects()))
		}
	}
}

// Without webhooks a process ends when it is told to, with them a little later and not ready any more.
func TestWhenTheOperatorEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	if (&webhooks{}).until(ctx) != ctx {
		t.Error("without webhooks it does not end with its context")
	}
	f := &webhookFlags{port: 9443}
	f.lifetimes.Authority, f.lifetimes.Serving = time.Hour, time.Hour
	w, err := newWebhooks(f, "a")
	if err != nil {
		t.Fatal(err)
	}
	later := w.until(ctx)
	cancel()
	time.Sleep(50 * time.Millisecond)
	if later.Err() != nil {
		t.Error("it ends at once")
	}
	if err := w.ready(nil); err == nil || err.Error() != "stopping" {
		t.Errorf("ready: %v", err)
	}
}
