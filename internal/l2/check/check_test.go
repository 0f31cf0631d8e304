package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"metallb.io/operator/internal/l2"
)

var (
	start = time.Unix(1000, 0)
	vip   = netip.MustParseAddr("192.0.2.1")
)

// The stations of these tests: 1 is this node, 2 and 3 are nodes b and c, 9 is nobody's, 0 may be anybody's.
func who(mac [6]byte) (Kind, string) {
	switch mac[5] {
	case 1:
		return Self, ""
	case 2:
		return Node, "b"
	case 3:
		return Node, "c"
	case 9, 8:
		return Stranger, ""
	default:
		return Unknown, ""
	}
}

func mac(n int) [6]byte { return [6]byte{2, 0, 0, 0, 0, byte(n)} }

// play takes a story, a word a second: "hears9" is a sighting, "b:19" a check by node b that 1 and 9 answered, ":9" one of
// the owner's own, "b?" one that does not know whether it is on the right LAN (with "b?9" 9 answered), "wait40" is 40 seconds
// in which nothing happens. It returns the problems at its end, without times.
func play(t *testing.T, b *Book, story string) (problems []string) {
	t.Helper()
	now := start
	for word := range strings.FieldsSeq(story) {
		now = now.Add(time.Second)
		if n, ok := strings.CutPrefix(word, "wait"); ok {
			seconds, err := strconv.Atoi(n)
			if err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Duration(seconds) * time.Second)
			continue
		}
		if n, ok := strings.CutPrefix(word, "hears"); ok {
			b.Sighted(l2.Sighting{Address: vip, Interface: "eth0", MAC: mac(int(n[0] - '0')), At: now})
			continue
		}
		i := strings.IndexAny(word, ":?")
		r := Result{Address: vip, Interface: "eth0", By: word[:i], Complete: word[i] == ':'}
		for _, n := range word[i+1:] {
			r.Answers = append(r.Answers, mac(int(n-'0')))
		}
		b.Checked(r, who, now)
	}
	for _, p := range b.Problems(who, time.Second, now) {
		problems = append(problems, strings.TrimSpace(fmt.Sprintf("%s %s", p.Reason, p.Holder)))
	}
	return problems
}

func TestProblems(t *testing.T) {
	stranger := "ForeignHolder 02:00:00:00:00:09"
	for name, tt := range map[string]struct {
		story string
		want  []string
	}{
		"the owner alone answers":                            {"b:1 b:1 b:1", nil},
		"a stranger that claims it is noticed at once":       {"hears9", []string{stranger}},
		"one that only answers is, too":                      {"b:19", []string{stranger}},
		"also where the check cannot tell who else is there": {"b?9", []string{stranger}},
		"and by the owner itself where there is nobody else": {":9", []string{stranger}},
		"two strangers": {"b:198", []string{"ForeignHolder 02:00:00:00:00:08", stranger}},
		"one missing answer of a stranger may be lost":         {"b:19 b:1", []string{stranger}},
		"two show that it has gone":                            {"b:19 b:1 b:1", nil},
		"not in a check that was made on another LAN perhaps":  {"b:19 b? b? b?", []string{stranger}},
		"who claimed it and does not answer has gone":          {"hears9 b:1 :", nil},
		"a stranger that nobody looks for counts for a while":  {"hears9 wait20", []string{stranger}},
		"and not for ever":                                     {"hears9 wait40", nil},
		"one that comes back":                                  {"b:19 b:1 b:1 b:19", []string{stranger}},
		"who may be a node that does not tell is nothing":      {"hears0 b:10 b:10 b:10", nil},
		"another node's claim is nothing, it may be moving":    {"hears2 hears2 hears2", nil},
		"a single answer of another node is nothing either":    {"c:12", nil},
		"a second one in a row shows that it answers too":      {"c:12 c:12", []string{"OtherNodeAnswers b"}},
		"not one now and one later":                            {"c:12 c:1 c:12", nil},
		"it stops":                                             {"c:12 c:12 c:1 c:1", nil},
		"who checks does not hear itself and proves nothing":   {"b:1 :2 b:1 b:1 :2 b:1 b:1", []string{"OtherNodeAnswers b"}},
		"two missing answers of the owner are nothing":         {"b: b:", nil},
		"three in a row are":                                   {"b: b: b:", []string{"NotAnswered"}},
		"not where the owner may be on another LAN":            {"b? b? b? b?", nil},
		"not where it asks itself":                             {": : : :", nil},
		"one answer and all is well":                           {"b: b: b: b: b:1", nil},
		"silence of which nobody has told since is forgotten":  {"b: b: b: wait40", nil},
		"it does not answer, and a stranger does":              {"b:9 b:9 b:9", []string{stranger, "NotAnswered"}},
		"what another node found the next one goes on to find": {"b: b: c:", []string{"NotAnswered"}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, play(t, new(Book), tt.story)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAProblemHasOneBeginning(t *testing.T) {
	var b Book
	for i := range 5 {
		now := start.Add(time.Duration(i) * time.Second)
		b.Sighted(l2.Sighting{Address: vip, Interface: "eth0", MAC: mac(9), At: now})
		b.Sighted(l2.Sighting{Address: vip, Interface: "eth1", MAC: mac(9), At: now})
		want := []Problem{{vip, ForeignHolder, "02:00:00:00:00:09", "eth0", start}}
		if got := b.Problems(who, time.Second, now); !slices.Equal(got, want) {
			t.Errorf("after %d s: %+v, want %+v", i, got, want)
		}
	}
	b.Keep([]netip.Addr{netip.MustParseAddr("192.0.2.2")})
	if got := b.Problems(who, time.Second, start); len(got) > 0 {
		t.Errorf("the address has gone and %+v is left", got)
	}
	for i := range 1000 {
		b.Sighted(l2.Sighting{Address: vip, MAC: [6]byte{2, 0, 0, byte(i >> 8), byte(i), 9}, At: start})
	}
	if got := len(b.Problems(who, time.Second, start)); got != mostStations {
		t.Errorf("%d stations are remembered of a flood", got)
	}
}

func TestTheOwnerLooksItselfWhereNobodyElseDoes(t *testing.T) {
	for name, tt := range map[string]struct {
		story string
		wait  time.Duration
		want  bool
	}{
		"nobody has checked it":                   {"", 0, true},
		"another node has":                        {": b:1", 0, false},
		"a while ago":                             {": b:1", 4 * time.Second, true},
		"it has, perhaps on another LAN":          {": b?", 4 * time.Second, true},
		"somebody was heard who has it":           {": b:1 hears9", 0, true},
		"who checks is not heard by itself":       {": b:1 b:1 b:1 b:1 b:1 b:1 b:1 b:1 b:1 b:1 b:1", 0, true},
		"a node that answered the owner's own":    {":2 b:1", 0, true},
		"and was gone when it looked once more":   {":2 b:1 : : b:1", 0, false},
		"a stranger that another node found only": {": b:19", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			var b Book
			play(t, &b, tt.story)
			now := start.Add(time.Duration(len(strings.Fields(tt.story)))*time.Second + tt.wait)
			if got := b.Wants(vip, time.Second, now); got != tt.want {
				t.Errorf("it wants to look is %v", got)
			}
		})
	}
}

func addresses(n int) (out []netip.Addr) {
	for i := range n {
		out = append(out, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	return out
}

func TestEvery(t *testing.T) {
	for _, tt := range []struct {
		addresses, interfaces int
		want                  time.Duration
	}{{0, 0, time.Second}, {5, 1, time.Second}, {20, 1, time.Second}, {40, 1, 2 * time.Second}, {10_000, 1, 500 * time.Second}, {20, 3, 3 * time.Second}} {
		if got := Every(tt.addresses, tt.interfaces); got != tt.want {
			t.Errorf("%d addresses on %d interfaces each %v, want %v", tt.addresses, tt.interfaces, got, tt.want)
		}
	}
}

// run lets time pass in steps of a millisecond, and counts turns.
func run(p *Pace, from time.Time, d time.Duration, turn func(a netip.Addr, now time.Time)) time.Time {
	for now := from; ; now = now.Add(time.Millisecond) {
		if now.Sub(from) >= d {
			return now
		}
		if a, ok := p.Next(now); ok {
			turn(a, now)
		}
	}
}

func TestPaceTakesTurns(t *testing.T) {
	for _, n := range []int{1, 3, 20, 200} {
		var p Pace
		every := Every(n, 1)
		p.Set(addresses(n), every, start)
		last, turns := map[netip.Addr]time.Time{}, 0
		run(&p, start, 3*every+every/2, func(a netip.Addr, now time.Time) {
			turns++
			if before, ok := last[a]; ok && (now.Sub(before) < every || now.Sub(before) > every+time.Duration(n)*time.Millisecond) {
				t.Errorf("%d addresses: %s again after %v, want %v", n, a, now.Sub(before), every)
			}
			last[a] = now
		})
		if len(last) != n || turns < 3*n || turns > 4*n {
			t.Errorf("%d addresses: %d of them had a turn, %d turns in all", n, len(last), turns)
		}
	}
	var none Pace
	if _, ok := none.Next(start); ok {
		t.Error("without addresses it is somebody's turn")
	}
}

func TestPaceComesBackSoonToWhatIsNotRight(t *testing.T) {
	all := addresses(200)
	var p Pace
	p.Set(all, Every(200, 1), start) // 10 s, a turn each 50 ms
	var bad []time.Time
	turns := 0
	seen := map[netip.Addr]bool{}
	run(&p, start, 25*time.Second, func(a netip.Addr, now time.Time) {
		turns++
		seen[a] = true
		if a == all[7] {
			bad = append(bad, now)
			p.Again(a, now)
			p.Again(a, now)
		}
	})
	if len(bad) < 15 || turns > 501 || len(seen) != 200 {
		t.Errorf("%d turns of what is not right, %d of all %d addresses", len(bad), turns, len(seen))
	}
	for i := range bad[1:] {
		if d := bad[i+1].Sub(bad[i]); d > 1200*time.Millisecond {
			t.Errorf("%v between two turns", d)
		}
	}
	// Where all is wrong, no more is sent.
	turns = 0
	clear(seen)
	now := run(&p, start.Add(25*time.Second), 25*time.Second, func(a netip.Addr, now time.Time) {
		turns++
		seen[a] = true
		p.Again(a, now)
	})
	if turns > 501 || len(seen) != 200 {
		t.Errorf("%d turns of %d addresses where all is wrong", turns, len(seen))
	}
	// Addresses that have gone have no turn, and the next one is not late.
	p.Set(all[:2], time.Second, now)
	run(&p, now, 3*time.Second, func(a netip.Addr, _ time.Time) {
		if a != all[0] && a != all[1] {
			t.Errorf("%s has gone and has a turn", a)
		}
	})
}

func TestRepairs(t *testing.T) {
	foreign := Problem{Address: vip, Reason: ForeignHolder}
	returned := Problem{Address: vip, Reason: ForeignHolder, Since: start.Add(14 * time.Second)}
	silent := Problem{Address: vip, Reason: NotAnswered, Interface: "eth0"}
	other := Problem{Address: netip.MustParseAddr("192.0.2.2"), Reason: NotAnswered, Interface: "eth0"}
	node := Problem{Address: vip, Reason: OtherNodeAnswers}
	var r Repairs
	for _, step := range []struct {
		after    int // seconds
		problems []Problem
		want     string
	}{
		{0, []Problem{node}, "[] []"},
		{0, []Problem{foreign}, "[192.0.2.1] []"},
		{1, []Problem{foreign}, "[] []"},
		{5, nil, "[] []"},
		{9, []Problem{foreign}, "[] []"},
		{10, []Problem{foreign}, "[192.0.2.1] []"},
		{14, []Problem{foreign, returned}, "[192.0.2.1] []"}, // one that has come since
		{15, []Problem{foreign, returned}, "[] []"},
		{20, []Problem{silent, other}, "[] [eth0]"},
		{29, []Problem{silent}, "[] []"},
		{30, []Problem{silent}, "[] [eth0]"},
		{49, []Problem{silent}, "[] []"},
		{50, []Problem{silent}, "[] [eth0]"},
		{1000, []Problem{silent}, "[] [eth0]"}, // long after, it begins anew
		{1010, []Problem{silent}, "[] [eth0]"},
	} {
		defend, reopen := r.Due(step.problems, start.Add(time.Duration(step.after)*time.Second))
		if got := fmt.Sprint(defend, reopen); got != step.want {
			t.Errorf("after %d s: %s, want %s", step.after, got, step.want)
		}
	}
}
