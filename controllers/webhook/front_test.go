package webhook

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
)

// front stands for the Service and for kube-proxy: it passes connections to the replicas that are ready, in turn, and
// learns late that one is not ready any more. Connections that it has made stay.
type front struct {
	url      string
	mu       sync.Mutex
	backends []*backend
	turn     int
}

type backend struct {
	address string
	ready   func() bool
	until   time.Time // while it is passed connections
}

func newFront(t *testing.T) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	f := &front{url: "https://localhost:" + port}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go f.pass(c)
		}
	}()
	return f
}

// join adds a replica; the function returned removes it.
func (f *front) join(address string, ready func() bool) func() {
	b := &backend{address: address, ready: ready}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.backends = append(f.backends, b)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.backends = slices.DeleteFunc(f.backends, func(other *backend) bool { return other == b })
	}
}

// next is where the next connection goes; empty: nowhere.
func (f *front) next() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var candidates []string
	for _, b := range f.backends {
		if b.ready() {
			b.until = time.Now().Add(unaware)
		}
		if time.Now().Before(b.until) {
			candidates = append(candidates, b.address)
		}
	}
	if len(candidates) == 0 {
		return ""
	}
	f.turn++
	return candidates[f.turn%len(candidates)]
}

func (f *front) pass(from net.Conn) {
	defer func() { _ = from.Close() }()
	to, err := net.Dial("tcp", f.next())
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].(*net.TCPConn).CloseWrite()
			done <- struct{}{}
		}()
	}
	<-done
	<-done
}

// letPass allows whatever is asked.
func letPass(w http.ResponseWriter, req *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	review.Request = nil
	_ = json.NewEncoder(w).Encode(review)
}
