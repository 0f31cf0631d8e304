package apiserver

import (
	"context"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"metallb.io/operator/internal/l2/l2test"
)

func TestMain(m *testing.M) { l2test.Main(m, (*testing.M).Run) }

// What is sent over HTTP/1.1 is not left hanging by an API server that falls silent without a word, neither what it has not
// received nor what it has received and not answered; nor by one that is there and does not answer.
func TestAnAPIServerThatFallsSilentIsGivenUp(t *testing.T) {
	l2test.Require(t)
	host := l2test.NewHost(t)
	host.Connect(t, "here", "there")
	l2test.IP(t, "addr add 192.0.2.1/24 dev here")
	host.IP(t, "addr add 192.0.2.2/24 dev there")
	received, ended := make(chan int, 1), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		received <- r.ProtoMajor
		if r.URL.Path != "/" {
			<-ended
		}
	}))
	host.Inside(t, func() (err error) {
		_ = server.Listener.Close()
		server.Listener, err = net.Listen("tcp", "192.0.2.2:0")
		return err
	})
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(ended) })
	config := configFor(server)
	to := func(config *rest.Config) *http.Client {
		t.Helper()
		c, err := rest.HTTPClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if err := <-patch(t.Context(), to(config), server.URL+"/"); err != nil || <-received != 2 {
		t.Fatalf("as it was given: error %v, or not HTTP/2", err)
	}
	idle := to(OverHTTP1(config))
	if err := <-patch(t.Context(), idle, server.URL+"/"); err != nil || <-received != 1 {
		t.Fatalf("error %v, or not HTTP/1.1", err)
	}
	began := time.Now()
	fails := func(what string, done chan error, within time.Duration) {
		t.Helper()
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("what was %s succeeded", what)
			}
			t.Logf("what was %s failed after %s: %v", what, time.Since(began).Round(100*time.Millisecond), err)
		case <-time.After(within - time.Since(began)):
			t.Errorf("what was %s is still waited for", what)
		}
	}
	unanswered := func() chan error {
		t.Helper()
		done := patch(t.Context(), to(OverHTTP1(config)), server.URL+"/hangs")
		select {
		case <-received:
		case err := <-done:
			t.Fatalf("not received: %v", err)
		}
		return done
	}
	fails("received and not answered", unanswered(), 2*requestTimeout)
	before := unanswered()
	time.Sleep(100 * time.Millisecond) // until TCP has the server's word that it was received

	host.IP(t, "route add blackhole 192.0.2.1/32") // what comes in is read, and nothing goes out
	began = time.Now()
	unreceived := patch(t.Context(), idle, server.URL+"/")
	fails("received before the silence", before, requestTimeout-2*time.Second)
	fails("not received", unreceived, requestTimeout-2*time.Second)
	host.IP(t, "route del blackhole 192.0.2.1/32") // so that the other connections hear of the server's end
}

// loopback is brought up in the namespace of its own that TestMain has the tests in.
func loopback(t *testing.T) {
	t.Helper()
	l2test.Require(t)
	l2test.IP(t, "link set lo up")
}

// configFor says how a server is reached.
func configFor(server *httptest.Server) *rest.Config {
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: authority, ServerName: "example.com"}}
}

// patch sends a PATCH, and then its error.
func patch(ctx context.Context, c *http.Client, url string) chan error {
	done := make(chan error, 1)
	go func() {
		r, err := http.NewRequestWithContext(ctx, http.MethodPatch, url, strings.NewReader("{}"))
		if err == nil {
			var res *http.Response
			if res, err = c.Do(r); err == nil {
				_, err = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		}
		done <- err
	}()
	return done
}
