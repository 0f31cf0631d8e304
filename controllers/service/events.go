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
	// allocated is the reason of the event that an address is given. goodNewsRate is how many of them there may be a second, and
	// goodNewsBurst how many together: of many Services that come at once each says so in its status, and an event more for
	// each costs as much as its address.
	allocated                   = "IPAllocated"
	goodNewsRate, goodNewsBurst = 1, 50
)

// tell writes events, all but some of much good news.
func (r *Reconciler) tell(svc *corev1.Service, events []event) {
	for _, e := range events {
		if e.reason == allocated && !r.goodNews.Allow() {
			continue
		}
		r.Recorder.Event(svc, e.kind, e.reason, shortenText(e.message))
	}
}

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
