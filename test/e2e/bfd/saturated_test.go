package bfd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	bars "metallb.io/operator/bench"
	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/test/e2e/product"
)

// TestASaturatedNode: ordinary pods take all that the processors have, on the node of our process and with more requests than
// it has. Its sessions at 300 ms x 3 stay Up, and the router's with it; of the faster ones it is said what became of them.
func TestASaturatedNode(t *testing.T) {
	b := start(t)
	b.startFRR()
	b.want(nil)
	b.want(b.wanted(nil))
	b.until("all sessions to be Up", settled)
	before, err := b.Status()
	b.must(err)
	began := time.Now()
	end, err := b.Saturate(b.within(), "default", b.image, 4, node)
	t.Cleanup(func() { b.must(end(b.within())) })
	b.must(err)
	first, err := product.ReadProcessors()
	b.must(err)
	full := time.Now()
	time.Sleep(*saturated)
	last, err := product.ReadProcessors()
	b.must(err)
	after, err := b.Status()
	b.must(err)
	t.Logf("%s with the processors busy for %.1f %% of the time", time.Since(full).Round(time.Second), last.Busy(first))
	verdict := bars.Samples{}
	verdict.Add(bars.FalseDowns300, 0, 0)
	for i, s := range after.Status {
		was := before.Status[i]
		p, family := paceOf(s.Local)
		downs := s.Downs - was.Downs
		t.Logf("%s, %s: %d Downs (%s), %d packets in, %d out", family, p, downs, reasons(b, s, began), s.Received-was.Received, s.Sent-was.Sent)
		if p.interval == 300*time.Millisecond {
			verdict.Add(bars.FalseDowns300, 0, float64(downs))
			if downs > 0 {
				t.Errorf("%s at %s went down %d times", family, p, downs)
			}
		}
	}
	if *judged {
		report(t, verdict, bars.FalseDowns300)
	}
}

// reasons of a session's Downs since then.
func reasons(b *bench, s udp.Status, since time.Time) string {
	count := map[bfd.Diagnostic]int{}
	for _, c := range b.Changes() {
		if c.Change.Key == s.Key && c.Change.To == bfd.Down && c.At.After(since) {
			count[c.Change.Diagnostic]++
			b.t.Logf("%s: after %s, %s", c.Change.Name(), c.At.Sub(since), c.Change.Diagnostic)
		}
	}
	var out []string
	for d, n := range count {
		out = append(out, fmt.Sprintf("%d %s", n, d))
	}
	return strings.Join(out, ", ")
}
