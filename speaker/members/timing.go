package members

import (
	"cmp"
	"fmt"
	"time"
)

// Timing is how soon a member that is gone is found to be.
type Timing struct {
	// ProbeInterval is the time between two looks at another member.
	ProbeInterval time.Duration
	// ProbeTimeout, less than ProbeInterval, is how long its answer may take before it is asked for by two other ways, for
	// the rest of the interval. 0: half of the interval.
	ProbeTimeout time.Duration
	// SuspicionMultiplier is for how many intervals a suspect can speak up.
	SuspicionMultiplier int
}

// DefaultTiming is for a LAN. memberlist's own profile for it needs 4 to 8 s to see that a machine has been
// switched off, its local one 5 s. Here, with three members, the survivors see it after
//
//	the probe that meets it        0 to 600 ms, each of two peers in turn every 300 ms
//	its answer missing             300 ms; a probe has failed only when a ping, a ping by way of another member and one
//	                               over TCP have all got nothing
//	the suspicion                  900 ms (3 x 300 ms), in which the suspect can speak up, once a second member
//	                               confirms it; at most 1.8 s if none does
//
// which is 1.2 to 2 s. What keeps this safe is that a busy member is not a dead one: any answer within 300 ms, by any of
// three ways, or a single word within the suspicion clears it. A member that notices that it is itself slow probes less
// often, up to four times (awareness); memberlist's default of eight would make a busy group blind for seconds.
var DefaultTiming = Timing{ProbeInterval: 300 * time.Millisecond, ProbeTimeout: 150 * time.Millisecond, SuspicionMultiplier: 3}

func (t Timing) withDefaults() Timing {
	t.ProbeInterval = cmp.Or(t.ProbeInterval, DefaultTiming.ProbeInterval)
	t.ProbeTimeout = cmp.Or(t.ProbeTimeout, t.ProbeInterval/2)
	t.SuspicionMultiplier = cmp.Or(t.SuspicionMultiplier, DefaultTiming.SuspicionMultiplier)
	return t
}

// Check says what is wrong with a timing.
func (t Timing) Check() error {
	switch t = t.withDefaults(); {
	case t.ProbeInterval < 0 || t.ProbeTimeout < 0 || t.SuspicionMultiplier < 0:
		return fmt.Errorf("an interval of %s, a timeout of %s and a multiplier of %d: none can be negative", t.ProbeInterval, t.ProbeTimeout, t.SuspicionMultiplier)
	case t.ProbeTimeout >= t.ProbeInterval:
		return fmt.Errorf("the timeout %s is not less than the interval %s", t.ProbeTimeout, t.ProbeInterval)
	}
	return nil
}
