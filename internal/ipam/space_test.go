package ipam

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// TestSpace takes and gives addresses at random and compares with a list of those that are free. Free ranges of one entry
// never touch, and those of two are never joined: else the order in which addresses are used up would be lost.
func TestSpace(t *testing.T) {
	for seed := range uint64(200) {
		w := rand.New(rand.NewPCG(seed, 3))
		s := space{avoid: seed%4 == 0}
		var all []position
		for entry, text := range []string{"192.0.2.8/30", "192.0.2.12/30", "192.0.2.0/30", "192.0.2.255-192.0.3.1", "192.0.2.4/32"} {
			r := mustRange(t, text)
			s.grow(entry, r)
			for a := r.From(); r.Contains(a); a = a.Next() {
				if !s.avoid || !Buggy(a) {
					all = append(all, position{entry, a})
				}
			}
		}
		if s.size != uint64(len(all)) {
			t.Fatalf("size is %d, want %d", s.size, len(all))
		}
		taken := make([]bool, len(all))
		for step := range 200 {
			if i := w.IntN(len(all)); taken[i] {
				s.give(all[i])
				taken[i] = false
			} else {
				s.take(all[i])
				taken[i] = true
			}
			want := slices.Index(taken, false)
			if first, ok := s.first(); ok != (want >= 0) || ok && first != all[want] {
				t.Fatalf("seed %d step %d: the first free address is %v, %v, should be number %d", seed, step, first, ok, want)
			}
			for i := 1; i < len(s.free); i++ {
				a, b := s.free[i-1], s.free[i]
				if c := comparePositions(position{a.entry, a.to}, position{b.entry, b.from}); c >= 0 || a.entry == b.entry && a.to.Next() == b.from {
					t.Fatalf("seed %d step %d: free are %v", seed, step, s.free)
				}
			}
		}
	}
}

func TestOffset(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want uint64
	}{
		{"192.0.2.0", "192.0.2.0", 0},
		{"192.0.2.0", "192.0.3.1", 257},
		{"0.0.0.0", "255.255.255.255", math.MaxUint32},
		{"2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", math.MaxUint64},
		{"2001:db8::ff", "2001:db8:0:1::1", math.MaxUint64 - 0xfd},
		{"2001:db8::", "2001:db8:0:1::", math.MaxUint64},
		{"2001:db8::", "2001:db8:0:2::1", math.MaxUint64},
		{"2000::", "a000::", math.MaxUint64},
		{"::", "100::", math.MaxUint64},
	} {
		if got := offset(netip.MustParseAddr(tt.a), netip.MustParseAddr(tt.b)); got != tt.want {
			t.Errorf("from %s to %s it is %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestBuggyIn(t *testing.T) {
	for _, text := range []string{
		"0.0.0.0/32", "0.0.0.0-0.0.0.254", "0.0.0.0-0.0.0.255", "0.0.0.0-0.0.1.0", "0.0.0.1-0.0.0.254", "10.0.0.255-10.0.1.0", "10.0.0.1-10.0.2.254",
		"10.0.0.0/16", "10.0.0.128-10.0.7.3", "10.0.0.255/32", "10.0.1.254-10.0.3.1",
	} {
		r := mustRange(t, text)
		n := uint64(0)
		for a := r.From(); r.Contains(a); a = a.Next() {
			if last := a.As4()[3]; last == 0 || last == 255 {
				n++
			}
		}
		if got := buggyIn(r); got != n {
			t.Errorf("%s has %d, counted as %d", text, n, got)
		}
	}
}

func TestResultEqual(t *testing.T) {
	full := func() Result {
		return Result{
			Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Pool: "p", Reason: AddressInUse,
			Fault: &Fault{
				Address: netip.MustParseAddr("192.0.2.2"), Pool: "q", Holder: Key{"ns", "a"}, Reservation: "n", Refusals: []Refusal{{"r", NotAutomatic, ""}},
			},
		}
	}
	if !full().Equal(full()) {
		t.Error("a result differs from itself")
	}
	for name, change := range map[string]func(*Result){
		"Addresses":   func(r *Result) { r.Addresses = nil },
		"Pool":        func(r *Result) { r.Pool = "" },
		"Reason":      func(r *Result) { r.Reason = Assigned },
		"Fault":       func(r *Result) { r.Fault = nil },
		"Address":     func(r *Result) { r.Fault.Address = netip.Addr{} },
		"its Pool":    func(r *Result) { r.Fault.Pool = "" },
		"Holder":      func(r *Result) { r.Fault.Holder.Name = "b" },
		"Reservation": func(r *Result) { r.Fault.Reservation = "" },
		"Refusals":    func(r *Result) { r.Fault.Refusals[0].Pool = "s" },
	} {
		r := full()
		change(&r)
		if r.Equal(full()) || full().Equal(r) {
			t.Errorf("%s makes no difference", name)
		}
	}
}

func TestFamilyString(t *testing.T) {
	if IPv4.String() != "IPv4" || IPv6.String() != "IPv6" {
		t.Errorf("the families are called %s and %s", IPv4, IPv6)
	}
}
