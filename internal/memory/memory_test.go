package memory

import (
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

// percent is GOGC as it is.
func percent() int {
	p := debug.SetGCPercent(100)
	debug.SetGCPercent(p)
	return p
}

func TestReading(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	synctest.Test(t, func(t *testing.T) {
		done := Reading(70)
		time.Sleep(time.Hour) // the API server is slow
		if p := percent(); p != reading {
			t.Errorf("GOGC is %d while everything is read, not %d", p, reading)
		}
		done()
		time.Sleep(settling - time.Nanosecond)
		if p := percent(); p != reading {
			t.Errorf("GOGC is %d before all is at rest, not %d", p, reading)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if p := percent(); p != 70 {
			t.Errorf("GOGC is %d afterwards, not 70", p)
		}
	})
}

func TestUsersKnowBetter(t *testing.T) {
	t.Setenv("GOGC", "200")
	defer debug.SetGCPercent(debug.SetGCPercent(200))
	synctest.Test(t, func(t *testing.T) {
		Reading(70)()
		if p := percent(); p != 200 {
			t.Errorf("GOGC is %d, and 200 in the environment", p)
		}
		time.Sleep(settling)
		synctest.Wait()
		if p := percent(); p != 200 {
			t.Errorf("GOGC is %d afterwards, and 200 in the environment", p)
		}
	})
}
