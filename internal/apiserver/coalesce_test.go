package apiserver

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

// wire is a connection on which bytes come when they come, and are kept until they are received.
type wire struct {
	net.Conn
	more  chan []byte
	kept  bytes.Buffer
	reads int
}

func (w *wire) Read(b []byte) (int, error) {
	for w.kept.Len() == 0 || len(w.more) > 0 {
		piece, ok := <-w.more
		if !ok {
			return 0, io.EOF
		}
		w.kept.Write(piece)
	}
	w.reads++
	return w.kept.Read(b)
}

// sending sends pieces with the same time between them, and says how long after that the last byte of each was received, and in
// how many reads of the connection.
func sending(w *wire, c net.Conn, pieces, size int, every time.Duration) (late []time.Duration, reads int) {
	reads = w.reads
	sent := make([]time.Time, pieces)
	go func() {
		for i := range sent {
			time.Sleep(every)
			sent[i] = time.Now()
			w.more <- make([]byte, size)
		}
	}()
	b := make([]byte, size)
	for i := range sent {
		if _, err := io.ReadFull(c, b); err != nil {
			panic(err)
		}
		late = append(late, time.Since(sent[i]))
	}
	return late, w.reads - reads
}

// event is the size of a change of a Service.
const event = 1250

func TestWhatComesInQuickSuccessionIsReceivedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{more: make(chan []byte, 1e6)}
		c := coalesce(w)
		atOnce := func(what string, pieces, size int, every time.Duration) {
			t.Helper()
			late, _ := sending(w, c, pieces, size, every)
			for i, d := range late {
				if d > 0 {
					t.Fatalf("%s: piece %d is received %s late", what, i, d)
				}
			}
		}
		atOnce("15 MB that are listed within a second", 1000, 15000, time.Millisecond)
		atOnce("40 changes a second, for a minute", 40*60, event, time.Second/40)
		atOnce("100 changes a second, for half a second", 50, event, time.Second/100)
		time.Sleep(10 * time.Second)
		atOnce("large pieces, for a minute", 20*60, plenty, time.Second/20)
		time.Sleep(10 * time.Second)

		const perSecond = 200
		late, _ := sending(w, c, 10*perSecond, event, time.Second/perSecond)
		if first := late[perSecond/10]; first > 0 {
			t.Errorf("%d changes a second: after a tenth of a second they are %s late", perSecond, first)
		}
		late, reads := sending(w, c, 60*perSecond, event, time.Second/perSecond)
		worst := slices.Max(late)
		t.Logf("%d changes a second: %.1f reads a second; the latest is received %s late", perSecond, float64(reads)/60, worst)
		if worst > pause {
			t.Errorf("a change is received %s late", worst)
		}
		if most := 60 * 2 * int(time.Second/pause); reads > most {
			t.Errorf("%d reads for %d changes, not at most %d", reads, len(late), most)
		}

		time.Sleep(2 * time.Second)
		atOnce("40 changes a second again", 40*60, event, time.Second/40)
	})
}

func TestAConnectionThatEndsIsKnownToEnd(t *testing.T) {
	w := &wire{more: make(chan []byte, 1)}
	w.more <- []byte("the last")
	close(w.more)
	if got, err := io.ReadAll(coalesce(w)); string(got) != "the last" || err != nil {
		t.Errorf("received %q, error %v", got, err)
	}
}

// The cache has a connection of its own: what else is asked and said does not wait.
func TestOnlyTheCacheIsToldLate(t *testing.T) {
	loopback(t)
	asked := make(chan string, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.RemoteAddr
		w.WriteHeader(http.StatusNotFound)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	config := configFor(server)
	dialed := 0
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed++
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	others, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-patch(t.Context(), others, server.URL); err != nil {
		t.Fatal(err)
	}
	c, err := NewCoalescingCache(config, cache.Options{HTTPClient: others})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetInformer(t.Context(), &corev1.Node{}); err == nil { // asks what kinds there are
		t.Fatal("there are Nodes")
	}
	close(asked)
	if first, second := <-asked, <-asked; second == "" || first == second || dialed != 2 {
		t.Errorf("asked from %q and %q, over %d connections", first, second, dialed)
	}
}
