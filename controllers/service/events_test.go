package service

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
)

type eventsAt struct {
	record.EventSink
	at []time.Time
}

func (s *eventsAt) Create(e *corev1.Event) (*corev1.Event, error) {
	s.at = append(s.at, time.Now())
	return e, nil
}

func TestEventsWaitForServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, written := &Reconciler{}, &eventsAt{}
		sink := r.AfterServices(written)
		send := func(want time.Duration) {
			t.Helper()
			began := time.Now()
			if _, err := sink.Create(&corev1.Event{}); err != nil {
				t.Fatal(err)
			}
			if took := written.at[len(written.at)-1].Sub(began); took < want || took > want+eventLook {
				t.Errorf("written after %s, not %s", took, want)
			}
		}
		send(0) // there is no queue yet
		free := time.Now()
		r.waiting = func() int { return int(max(0, time.Until(free))) }
		send(0)
		free = time.Now().Add(300 * time.Millisecond)
		send(300 * time.Millisecond)
		free = time.Now().Add(time.Hour)
		send(eventPatience)
	})
}
