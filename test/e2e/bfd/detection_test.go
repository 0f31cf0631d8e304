package bfd

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	bars "metallb.io/operator/bench"
	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/test/lab"
)

// wide is how much slower than its Detection Time a detection may be where nothing is judged: on a machine that others use.
const wide = 2 * time.Second

// samples are times from a cut to a Down, by "FRR, 50 ms x 3, IPv4".
type samples map[string][]time.Duration

// TestASilentLossIsDetected cuts the router's cable, so that nobody sees a sign of it but BFD: our process on the node, and
// the second FRR on the client, which has the same cable to its peer.
func TestASilentLossIsDetected(t *testing.T) {
	b := start(t)
	ourTimes, theirs := samples{}, samples{}
	for _, k := range kinds {
		k.start(b)
		b.want(nil)
		b.want(b.wanted(nil))
		b.until("all sessions to be Up", settled)
		if k.name == "FRR" {
			b.startSecond()
		}
		for range *cuts {
			b.cutOnce(k.name, ourTimes, theirs)
		}
	}
	verdict := bars.Samples{}
	for _, k := range kinds {
		for _, p := range paces {
			b.compare(k.name, p, ourTimes, theirs, verdict)
		}
	}
	if *judged {
		report(t, verdict, bars.DetectionOverFRR, bars.DetectionWorst100)
	}
}

// cutOnce measures one cut, for all sessions at once.
func (b *bench) cutOnce(router string, ourTimes, theirs samples) {
	b.t.Helper()
	// at no fixed distance from the packets
	time.Sleep(time.Duration(rand.Int64N(int64(300 * time.Millisecond))))
	told := len(b.Changes())
	cut := time.Now()
	b.must(b.CutCable(lab.Router, lab.LAN, lab.Silent))
	b.until("all sessions to be Down", func(s udp.Status) bool { return s.State == bfd.Down })
	if router == "FRR" {
		b.secondIs("down", func(p frrPeer) bool { return p.Status == "down" })
	}
	b.must(b.MendCable(lab.Router, lab.LAN))
	seen := map[netip.Addr]bool{}
	for _, c := range b.Changes()[told:] {
		if !c.Change.Failed || seen[c.Change.Local] {
			continue
		}
		seen[c.Change.Local] = true
		p, family := paceOf(c.Change.Local)
		ourTimes.add(router, family, p, c.At.Sub(cut))
	}
	if n := 2*len(paces) - len(seen); n > 0 { // it came down by chance just before: a busy machine
		b.t.Logf("%d sessions were not Up when the cable was cut", n)
	}
	if router == "FRR" {
		for local, at := range b.secondDowns(cut) {
			p, family := paceOf(local)
			theirs.add(router, family, p, at.Sub(cut))
		}
		b.secondUp()
	}
	b.until("all sessions to be Up again", settled)
}

func (s samples) add(router, family string, p pace, d time.Duration) {
	name := fmt.Sprintf("%s, %s, %s", router, p, family)
	s[name] = append(s[name], d)
}

// compare prints a case and holds it against the same case between two FRR, also where the router is BIRD. It is judged over
// both families together: where between two packets a cut falls is chance, and shifts the median of a few by more than the bar.
func (b *bench) compare(router string, p pace, ourTimes, theirs samples, verdict bars.Samples) {
	b.t.Helper()
	var got, like []time.Duration
	for _, family := range families {
		mine, frr := ourTimes[fmt.Sprintf("%s, %s, %s", router, p, family)], theirs[fmt.Sprintf("FRR, %s, %s", p, family)]
		if len(mine) == 0 || len(frr) == 0 {
			b.t.Errorf("%s, %s, %s: nothing to compare", router, p, family)
			return
		}
		got, like = append(got, mine...), append(like, frr...)
		b.t.Logf("%-4s %s, %s: %s; between two FRR %s; %d cuts", router, family, p, summary(mine), summary(frr), len(mine))
	}
	slices.Sort(got)
	slices.Sort(like)
	median, worst := got[len(got)/2], got[len(got)-1]
	verdict.Add(bars.DetectionOverFRR, 0, float64(median-like[len(like)/2])/1e6)
	verdict.Add(bars.DetectionOverFRR, 0, float64(worst-like[len(like)-1])/1e6)
	if p.interval == 100*time.Millisecond {
		verdict.Add(bars.DetectionWorst100, 0, float64(worst)/1e6)
	}
	if worst > 3*p.interval+wide {
		b.t.Errorf("%s, %s: %s", router, p, worst)
	}
}

func summary(d []time.Duration) string {
	d = slices.Sorted(slices.Values(d))
	return fmt.Sprintf("median %s, worst %s", ms(d[len(d)/2]), ms(d[len(d)-1]))
}

func ms(d time.Duration) string {
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}

// report judges by the worst of the cases: no case is hidden behind the others.
func report(t *testing.T, s bars.Samples, measures ...bars.Measure) {
	t.Helper()
	var worst = bars.Samples{}
	for _, m := range measures {
		if v := s[m][0]; len(v) > 0 {
			worst.Add(m, 0, slices.Max(v))
		}
	}
	var of []bars.Bar
	for _, bar := range bars.BFD {
		if slices.Contains(measures, bar.Measure) {
			of = append(of, bar)
		}
	}
	if !bars.Report(os.Stdout, bars.Judge(of, worst)) {
		t.Error("a bar is missed")
	}
}
