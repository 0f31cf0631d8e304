package service

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
)

const (
	// eventPatience is the longest that one event waits for Services, and eventLook the time between two looks.
	eventPatience = time.Second
	eventLook     = 5 * time.Millisecond
)

// AfterServices has events wait while Services wait for their addresses: both ask the same API server, and news of an
// address is worth less than the next address. What is too much for the recorder is dropped by it, as ever.
func (r *Reconciler) AfterServices(sink record.EventSink) record.EventSink {
	return afterServices{sink, r}
}

type afterServices struct {
	record.EventSink
	services *Reconciler
}

// Create is of record.EventSink.
func (s afterServices) Create(e *corev1.Event) (*corev1.Event, error) {
	for end := time.Now().Add(eventPatience); s.services.busy() && time.Now().Before(end); {
		time.Sleep(eventLook)
	}
	return s.EventSink.Create(e)
}

// busy says whether Services are waiting.
func (r *Reconciler) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting != nil && r.waiting() > 0
}
