package service

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
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

// TestGoodNewsIsLimited: of many Services that get their addresses at once some say so in an event, and each that does not get one.
func TestGoodNewsIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 1000
		recorder := record.NewFakeRecorder(3 * many)
		r := &Reconciler{Recorder: recorder, goodNews: rate.NewLimiter(goodNewsRate, goodNewsBurst)}
		told := func() map[string]int {
			out := map[string]int{}
			for len(recorder.Events) > 0 {
				out[strings.Fields(<-recorder.Events)[1]]++
			}
			return out
		}
		for range many {
			r.tell(&corev1.Service{}, []event{{corev1.EventTypeNormal, allocated, "Has got 192.0.2.1 from pool a"}, {corev1.EventTypeNormal, "ClearAssignment", "No longer has 192.0.2.2"}})
			r.tell(&corev1.Service{}, []event{{corev1.EventTypeWarning, "AllocationFailed", "no address is free"}})
		}
		if got := told(); got[allocated] != goodNewsBurst || got["ClearAssignment"] != many || got["AllocationFailed"] != many {
			t.Errorf("of %d of each: %v", many, got)
		}
		time.Sleep(10 * time.Second)
		for range many {
			r.tell(&corev1.Service{}, []event{{corev1.EventTypeNormal, allocated, "Has got 192.0.2.1 from pool a"}})
		}
		if got := told(); got[allocated] != 10*goodNewsRate {
			t.Errorf("10 s later: %v", got)
		}
	})
}
