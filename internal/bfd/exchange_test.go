package bfd

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var rounds = flag.Uint64("rounds", 2000, "how many random exchanges there are")

// exchange is two sessions and a channel between them that loses, doubles and reorders packets, in virtual time.
type exchange struct {
	now    time.Time
	ends   [2]*Session
	set    [2]Settings
	flight []flight
	// lose and double are shares of the packets; longest is the longest time on the way.
	lose, double float64
	longest      time.Duration
	random       *rand.Rand
	// check is told of every packet before it is sent.
	check func(from int, p Packet)
	next  uint32
}

type flight struct {
	at time.Time
	to int
	p  Packet
}

func newExchange(seed uint64, set [2]Settings) *exchange {
	x := &exchange{
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), set: set, longest: time.Millisecond,
		random: rand.New(rand.NewPCG(seed, 1)), next: 1, check: func(int, Packet) {},
	}
	for i := range x.ends {
		x.restart(i)
	}
	return x
}

// restart is a process that died and came again.
func (x *exchange) restart(i int) {
	x.ends[i] = New(x.next, x.set[i], x.random.Float64, x.now)
	x.next++
}

func (x *exchange) take(i int, out Output) {
	if !out.Send {
		return
	}
	x.check(i, out.Packet)
	copies := 1
	if x.random.Float64() < x.double {
		copies = 2
	}
	for range copies {
		if x.random.Float64() >= x.lose {
			x.flight = append(x.flight, flight{x.now.Add(time.Duration(x.random.Int64N(int64(x.longest) + 1))), 1 - i, out.Packet})
		}
	}
}

// step goes to the next moment at which anything happens, but not beyond end, and says whether there was one.
func (x *exchange) step(end time.Time) bool {
	at := end.Add(1)
	for _, f := range x.flight {
		if f.at.Before(at) {
			at = f.at
		}
	}
	for _, s := range x.ends {
		if d := s.Deadline(); !d.IsZero() && d.Before(at) {
			at = d
		}
	}
	if at.After(end) {
		x.now = end
		return false
	}
	if at.After(x.now) {
		x.now = at
	}
	for i := 0; i < len(x.flight); {
		f := x.flight[i]
		if f.at.After(x.now) {
			i++
			continue
		}
		x.flight = slices.Delete(x.flight, i, i+1)
		x.deliver(f)
	}
	for i, s := range x.ends {
		for d := s.Deadline(); !d.IsZero() && !d.After(x.now); d = s.Deadline() {
			x.take(i, s.Tick(x.now))
		}
	}
	return true
}

// deliver finds the session as the I/O does: by discriminator, or by address where there is none.
func (x *exchange) deliver(f flight) {
	p, drop := Parse(f.p.Append(nil))
	if drop != Taken || p.Yours != 0 && p.Yours != x.ends[f.to].Discriminator() {
		return
	}
	out, _ := x.ends[f.to].Receive(p, x.now)
	x.take(f.to, out)
}

func (x *exchange) run(d time.Duration) {
	for end := x.now.Add(d); x.step(end); {
		continue
	}
}

func (x *exchange) states() string {
	return fmt.Sprintf("%s and %s", x.ends[0].State(), x.ends[1].State())
}

// someSettings are random ones, of intervals that people use.
func someSettings(r *rand.Rand) Settings {
	intervals := []time.Duration{10, 50, 100, 300, 1000, 3000}
	return Settings{
		Transmit:   intervals[r.IntN(len(intervals))] * time.Millisecond,
		Receive:    intervals[r.IntN(len(intervals))] * time.Millisecond,
		Multiplier: uint8(1 + r.IntN(5)),
	}
}

// slack is how much longer than the longest way of a packet things may take, beyond what the timers say.
const slack = time.Millisecond

// slower has the slower of two settings in each respect.
func slower(a, b Settings) Settings {
	return Settings{Transmit: max(a.Transmit, b.Transmit), Receive: max(a.Receive, b.Receive), Multiplier: max(a.Multiplier, b.Multiplier)}
}

// patience is the longest that an end may need to see that the other is silent, and that it may be silent itself, with the
// slowest settings that either had: what the other sends while it is not Up is at least 1 s apart.
func patience(set [2]Settings) (detection, interval time.Duration) {
	interval = max(set[0].Receive, set[1].Receive, set[0].Transmit, set[1].Transmit, slowest)
	return time.Duration(max(set[0].Multiplier, set[1].Multiplier)) * interval, interval
}

// TestTwoEndsAgree: whatever a bad channel, changed settings and restarts have made of two sessions, once the channel is
// good again both are Up within the time that the timers give: what is stale is gone after one Detection Time, the slower
// end has sent within an interval, and three packets make a handshake. And once the channel is cut, both are not Up after
// their Detection Time.
func TestTwoEndsAgree(t *testing.T) {
	for seed := range *rounds {
		r := rand.New(rand.NewPCG(seed, 2))
		set := [2]Settings{someSettings(r), someSettings(r)}
		set[0].Passive = r.IntN(4) == 0
		x := newExchange(seed, set)
		slowest := set
		for range 1 + r.IntN(6) { // bad times
			x.lose, x.double, x.longest = r.Float64(), r.Float64()/2, time.Duration(1+r.IntN(int(400*time.Millisecond)))
			x.run(time.Duration(r.Int64N(int64(10 * time.Second))))
			switch i := r.IntN(2); r.IntN(4) {
			case 0:
				x.restart(i)
			case 1:
				passive := x.set[i].Passive
				x.set[i] = someSettings(r)
				x.set[i].Passive = passive
				slowest[i] = slower(slowest[i], x.set[i])
				x.take(i, x.ends[i].Configure(x.set[i], x.now))
			}
		}
		stale := x.longest
		x.lose, x.double, x.longest = 0, 0, 500*time.Microsecond // less than a tenth of the shortest interval: multiplier 1
		// The last of the stale packets, then silence for a Detection Time, then a packet of each.
		detection, interval := patience(slowest)
		wait := stale + detection + 2*interval + 6*x.longest + slack
		x.run(wait)
		if x.ends[0].State() != Up || x.ends[1].State() != Up {
			t.Fatalf("seed %d: %s %v after the channel became good; %+v", seed, x.states(), wait, x.set)
		}
		x.run(2 * detection) // Poll Sequences end
		downs := x.ends[0].Status().Downs + x.ends[1].Status().Downs
		x.run(time.Minute)
		if got := x.ends[0].Status().Downs + x.ends[1].Status().Downs; got != downs {
			t.Fatalf("seed %d: %d false Downs over a good channel; %+v", seed, got-downs, x.set)
		}
		x.agreed(t, seed)
		x.cut(t, seed)
	}
}

// agreed checks that each end knows what the other does.
func (x *exchange) agreed(t *testing.T, seed uint64) {
	t.Helper()
	for i, s := range x.ends {
		st := s.Status()
		tx := max(x.set[i].Transmit, x.set[1-i].Receive)
		dt := time.Duration(x.set[1-i].Multiplier) * max(x.set[i].Receive, x.set[1-i].Transmit)
		if st.TransmitInterval != tx || st.DetectionTime != dt || st.Polling {
			t.Fatalf("seed %d: end %d sends each %v, want %v, and waits %v, want %v; polling: %t", seed, i, st.TransmitInterval, tx, st.DetectionTime, dt, st.Polling)
		}
	}
}

func (x *exchange) cut(t *testing.T, seed uint64) {
	t.Helper()
	x.lose = 1
	x.run(x.longest)
	last := x.now
	x.flight = nil
	for i, s := range x.ends {
		dt := s.Status().DetectionTime
		// exactly then, not earlier: the last packet came within the last interval
		if s.State() != Up {
			t.Fatalf("seed %d: end %d is %s before its time", seed, i, s.State())
		}
		if due := s.detectAt; due.After(last.Add(dt)) || !due.After(last.Add(-dt)) {
			t.Fatalf("seed %d: end %d judges at %v, cut at %v, detection %v", seed, i, due, last, dt)
		}
	}
	x.run(max(x.ends[0].Status().DetectionTime, x.ends[1].Status().DetectionTime))
	if x.ends[0].State() != Down || x.ends[1].State() != Down {
		t.Fatalf("seed %d: %s after the cut", seed, x.states())
	}
}

// TestNoPacketIsSentTooEarly: between two packets of an end there is no less than the agreed interval less a quarter
// (section 6.8.7), but where its state has changed or a Poll is answered.
func TestNoPacketIsSentTooEarly(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 3))
		x := newExchange(seed, [2]Settings{someSettings(r), someSettings(r)})
		var last [2]time.Time
		var state [2]State
		x.check = func(from int, p Packet) {
			least := x.ends[from].Status().TransmitInterval * 3 / 4
			if gap := x.now.Sub(last[from]); !p.Final && p.State == state[from] && gap < least-time.Microsecond && !last[from].IsZero() {
				t.Fatalf("seed %d: %v between packets, at least %v is agreed on: %+v", seed, gap, least, p)
			}
			if !p.Final { // those are beside the periodic ones
				last[from] = x.now
			}
			state[from] = p.State
		}
		for range 5 {
			x.lose, x.longest = r.Float64()/2, time.Duration(1+r.IntN(int(50*time.Millisecond)))
			x.run(time.Duration(r.Int64N(int64(20 * time.Second))))
		}
	}
}

// TestFewerLossesThanTheMultiplier: over a channel that loses fewer packets in a row than the multiplier says, no session
// goes down, whatever the intervals.
func TestFewerLossesThanTheMultiplier(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 4))
		set := [2]Settings{someSettings(r), someSettings(r)}
		for i := range set {
			set[i].Multiplier = 3
		}
		x := newExchange(seed, set)
		x.longest = 0 // the third packet of three may come in the last moment
		x.run(30 * time.Second)
		var inRow [2]int
		drop := func(f flight) bool {
			if inRow[f.to] < 2 && r.IntN(2) == 0 {
				inRow[f.to]++
				return true
			}
			inRow[f.to] = 0
			return false
		}
		for end := x.now.Add(2 * time.Minute); ; {
			n := len(x.flight)
			more := x.step(end)
			if len(x.flight) > n {
				x.flight = append(x.flight[:n:n], slices.DeleteFunc(slices.Clone(x.flight[n:]), drop)...)
			}
			if !more {
				break
			}
		}
		if a, b := x.ends[0].Status(), x.ends[1].Status(); a.Downs+b.Downs != 0 || a.State != Up || b.State != Up {
			t.Fatalf("seed %d: %d and %d Downs with at most 2 packets lost in a row; %+v", seed, a.Downs, b.Downs, set)
		}
	}
}
