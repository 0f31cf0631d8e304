package members

import (
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

func TestTiming(t *testing.T) {
	for name, c := range map[string]struct {
		given, used Timing
		wrong       bool
	}{
		"nothing":                         {Timing{}, DefaultTiming, false},
		"a longer interval":               {Timing{ProbeInterval: 2 * time.Second}, Timing{2 * time.Second, time.Second, 3}, false},
		"everything":                      {Timing{time.Second, 100 * time.Millisecond, 7}, Timing{time.Second, 100 * time.Millisecond, 7}, false},
		"a timeout of the whole interval": {Timing{ProbeTimeout: 300 * time.Millisecond}, Timing{300 * time.Millisecond, 300 * time.Millisecond, 3}, true},
		"a negative interval":             {Timing{ProbeInterval: -1}, Timing{-1, 0, 3}, true},
	} {
		if err := c.given.Check(); (err != nil) != c.wrong {
			t.Errorf("%s: %v", name, err)
		}
		if c.wrong {
			continue
		}
		mc := memberlist.DefaultLANConfig()
		tune(mc, c.given.withDefaults())
		if got := (Timing{mc.ProbeInterval, mc.ProbeTimeout, mc.SuspicionMult}); got != c.used {
			t.Errorf("%s: %+v, want %+v", name, got, c.used)
		}
	}
}
