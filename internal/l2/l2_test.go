package l2

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var compareAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestAddresses(t *testing.T) {
	entries := []Entry{
		{Address: addr("192.0.2.9")},
		{Address: addr("192.0.2.1"), Interfaces: []string{"eth0", "eth1"}},
		{Address: addr("192.0.2.1")},
		{Address: addr("192.0.2.2"), Interfaces: []string{"eth1"}},
		{Address: addr("2001:db8::1")},
		{Address: addr("192.0.2.8"), Yielding: true},
		{Address: addr("192.0.2.7"), Interfaces: []string{"eth1"}, Yielding: true},
	}
	for name, c := range map[string]struct {
		iface          string
		ipv4           bool
		want, yielding []string
	}{
		"an interface gets its own entries and those for all, sorted and once": {"eth0", true, []string{"192.0.2.1", "192.0.2.9"}, []string{"192.0.2.8"}},
		"another interface gets its own":                                       {"eth1", true, []string{"192.0.2.1", "192.0.2.2", "192.0.2.9"}, []string{"192.0.2.7", "192.0.2.8"}},
		"an interface that no entry names gets those for all":                  {"eth7", true, []string{"192.0.2.1", "192.0.2.9"}, []string{"192.0.2.8"}},
		"the other family is apart":                                            {"eth0", false, []string{"2001:db8::1"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			text := func(addresses []netip.Addr) (out []string) {
				for _, a := range addresses {
					out = append(out, a.String())
				}
				return out
			}
			answered, yielding := Addresses(entries, c.iface, c.ipv4)
			if d := cmp.Diff([][]string{c.want, c.yielding}, [][]string{text(answered), text(yielding)}); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDiffAgreesWithSets(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	set := func() map[netip.Addr]bool {
		m := map[netip.Addr]bool{}
		for range r.IntN(12) {
			m[netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(16))})] = true
		}
		return m
	}
	minus := func(a, b map[netip.Addr]bool) []netip.Addr {
		var out []netip.Addr
		for k := range a {
			if !b[k] {
				out = append(out, k)
			}
		}
		return sorted(slices.Values(out))
	}
	for range 2000 {
		running, desired := set(), set()
		begin, end := Diff(sorted(maps.Keys(running)), sorted(maps.Keys(desired)))
		if d := cmp.Diff(minus(desired, running), begin, compareAddr, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("begin of %v -> %v: %s", running, desired, d)
		}
		if d := cmp.Diff(minus(running, desired), end, compareAddr, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("end of %v -> %v: %s", running, desired, d)
		}
	}
}

func sorted(seq func(func(netip.Addr) bool)) []netip.Addr {
	return slices.SortedFunc(seq, netip.Addr.Compare)
}

func TestMerge(t *testing.T) {
	got := Merge(map[string][]netip.Addr{
		"eth1": {addr("192.0.2.1"), addr("192.0.2.2")},
		"eth0": {addr("192.0.2.1")},
		"eth2": nil,
	})
	want := []Entry{
		{Address: addr("192.0.2.1"), Interfaces: []string{"eth0", "eth1"}},
		{Address: addr("192.0.2.2"), Interfaces: []string{"eth1"}},
	}
	if d := cmp.Diff(want, got, compareAddr); d != "" {
		t.Error(d)
	}
}

func TestClaimIsSpacedForLinux(t *testing.T) {
	const locktime = time.Second
	if Claim[0] != 0 {
		t.Errorf("the first round is due after %v, not at once", Claim[0])
	}
	if last := Claim[len(Claim)-1]; last < 5*time.Second {
		t.Errorf("the claim ends after %v, before a switch port with spanning tree's fast start forwards", last)
	}
	for i := 2; i < len(Claim); i++ {
		if d := Claim[i] - Claim[i-1]; d <= locktime {
			t.Errorf("rounds %d and %d are %v apart, within Linux's locktime", i-1, i, d)
		}
	}
}

// simulate runs a schedule and returns when each round of each address took place, looking every step.
func simulate(s *Schedule, from time.Time, length, step time.Duration) map[netip.Addr][]time.Duration {
	out := map[netip.Addr][]time.Duration{}
	for d := time.Duration(0); d <= length; d += step {
		for _, a := range s.Due(from.Add(d)) {
			out[a] = append(out[a], d)
		}
	}
	return out
}

func TestSchedule(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a, b := addr("192.0.2.1"), addr("2001:db8::1")

	t.Run("a new address is due at once and then as claimed, then refreshed", func(t *testing.T) {
		var s Schedule
		s.Begin(a, start)
		got := simulate(&s, start, 5*time.Minute, 100*time.Millisecond)[a]
		if d := cmp.Diff(Claim[:], got[:len(Claim)]); d != "" {
			t.Error(d)
		}
		for i := len(Claim); i < len(got); i++ {
			if d := got[i] - got[i-1]; d < Refresh-100*time.Millisecond || d > 2*Refresh+100*time.Millisecond {
				t.Errorf("refresh %d came %v after the one before", i, d)
			}
		}
		if len(got) < len(Claim)+2 {
			t.Errorf("only %d rounds in five minutes", len(got))
		}
	})
	t.Run("Next says exactly when", func(t *testing.T) {
		var s Schedule
		if _, ok := s.Next(); ok {
			t.Fatal("an empty schedule has a next round")
		}
		s.Begin(a, start)
		s.Begin(b, start.Add(50*time.Millisecond))
		now := start
		for range 40 {
			next, ok := s.Next()
			if !ok || next.Before(now) {
				t.Fatalf("Next = %v, %v at %v", next, ok, now)
			}
			if early := s.Due(next.Add(-1)); len(early) > 0 {
				t.Fatalf("%v due before %v", early, next)
			}
			if len(s.Due(next)) == 0 {
				t.Fatalf("nothing due at %v", next)
			}
			now = next
		}
	})
	t.Run("an ended address is not due again, others are", func(t *testing.T) {
		var s Schedule
		s.Begin(a, start)
		s.Begin(b, start)
		s.Due(start)
		s.End(a)
		s.End(a)
		got := simulate(&s, start, 3*time.Minute, 100*time.Millisecond)
		if len(got[a]) != 0 || len(got[b]) < len(Claim) {
			t.Errorf("rounds after the end of %s: %v", a, got)
		}
	})
	t.Run("beginning again starts the claim again", func(t *testing.T) {
		var s Schedule
		s.Begin(a, start)
		simulate(&s, start, time.Minute, 100*time.Millisecond)
		later := start.Add(time.Minute + time.Second)
		s.Begin(a, later)
		got := simulate(&s, later, 20*time.Second, 100*time.Millisecond)[a]
		if d := cmp.Diff(Claim[:], got); d != "" {
			t.Error(d)
		}
	})
	t.Run("rounds missed by a sleep are not made up for", func(t *testing.T) {
		var s Schedule
		s.Begin(a, start)
		wake := start.Add(24 * time.Hour)
		if got := s.Due(wake); len(got) != 1 {
			t.Errorf("%d rounds at once", len(got))
		}
		if got := s.Due(wake.Add(time.Second)); len(got) > 1 {
			t.Errorf("%d rounds a second later", len(got))
		}
	})
	t.Run("addresses that came together are not refreshed together", func(t *testing.T) {
		var s Schedule
		x := addr("10.0.0.0")
		for range 1000 {
			s.Begin(x, start)
			x = x.Next()
		}
		simulate(&s, start, 2*time.Minute, 100*time.Millisecond) // the claims, which do come together
		worst := 0
		for d := 2*time.Minute + time.Second; d < 10*time.Minute; d += time.Second {
			worst = max(worst, len(s.Due(start.Add(d))))
		}
		if worst > 250 {
			t.Errorf("%d of 1000 addresses refreshed within one second", worst)
		}
	})
}
