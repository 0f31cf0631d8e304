package node

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/speaker/sessions"
)

// TestEventsOfASession plays what becomes of a session, second by second: "up", "down why", and "." for another second without
// a change. The loop looks at it then, and when it has asked to.
func TestEventsOfASession(t *testing.T) {
	quiet := func(n int) string { return strings.Repeat(";.", n) }
	for name, tt := range map[string]struct {
		play string
		want []string
	}{
		"it comes up":                 {"down ;down refused;up" + quiet(30), []string{"2 bgpSessionUp node n: the session with 192.0.2.2 is Established"}},
		"it does not come up":         {"down refused" + quiet(30), []string{"10 bgpSessionDown node n: the session with 192.0.2.2 does not come up: refused"}},
		"it comes up late":            {"down refused" + quiet(11) + ";up" + quiet(30), []string{"10 bgpSessionDown node n: the session with 192.0.2.2 does not come up: refused", "20 bgpSessionUp node n: the session with 192.0.2.2 is Established"}},
		"another reason is no change": {"down refused" + quiet(15) + ";down no answer" + quiet(30), []string{"10 bgpSessionDown node n: the session with 192.0.2.2 does not come up: refused"}},
		"it is lost, and back": {"up" + quiet(20) + ";down BFD down" + quiet(20) + ";up" + quiet(30), []string{
			"0 bgpSessionUp node n: the session with 192.0.2.2 is Established", "21 bgpSessionDown node n: the session with 192.0.2.2 was lost: BFD down",
			"42 bgpSessionUp node n: the session with 192.0.2.2 is Established",
		}},
		"it is lost and back before it can be told": {"up;down why;up why" + quiet(30), []string{
			"0 bgpSessionUp node n: the session with 192.0.2.2 is Established", "10 bgpSessionUp node n: the session with 192.0.2.2 is Established again, after it was lost: why",
		}},
		"the loss was not seen": {"up" + quiet(20) + ";up why" + quiet(30), []string{
			"0 bgpSessionUp node n: the session with 192.0.2.2 is Established", "21 bgpSessionUp node n: the session with 192.0.2.2 is Established again, after it was lost: why",
		}},
		"a change of the peer is no loss that anybody must hear of at once": {"up" + quiet(20) + ";down ", []string{
			"0 bgpSessionUp node n: the session with 192.0.2.2 is Established",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, playSession(strings.Split(tt.play, ";"))); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAFlappingSessionIsToldOfLessAndLess(t *testing.T) {
	var play []string
	for range 1800 {
		play = append(play, "up why", "down why")
	}
	got := playSession(play)
	if len(got) > 12 {
		t.Errorf("%d events in an hour", len(got))
	}
	if last := got[len(got)-1]; !strings.Contains(last, " times within 10m") {
		t.Errorf("the last event is %q", last)
	}
	quiet := append(play, strings.Split("up"+strings.Repeat(";.", 3600), ";")...)
	quiet = append(quiet, "down why")
	if got := playSession(append(quiet, ".")); !strings.HasPrefix(got[len(got)-1], "7201 ") {
		t.Errorf("after an hour of quiet the last event is %q", got[len(got)-1])
	}
}

// playSession returns the events with the second in which they come.
func playSession(play []string) (out []string) {
	start := time.Unix(1e9, 0)
	o := &sessions.Observed{}
	o.Address = netip.MustParseAddr("192.0.2.2")
	s := &story{}
	for i, line := range play {
		now := start.Add(time.Duration(i) * time.Second)
		word, why, _ := strings.Cut(line, " ")
		switch word {
		case "up":
			o.Session.State, o.Session.Since, o.Session.Error = bgp.Established, now, why
		case "down":
			o.Session.State, o.Session.Since, o.Session.Error = bgp.Active, now, why
		}
		if tell, _ := s.next(&o.Session, now); tell {
			_, reason, message := s.tells("n", o, now)
			out = append(out, fmt.Sprintf("%d %s %s", i, reason, message))
		}
	}
	return out
}
