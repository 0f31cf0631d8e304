package l2

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCover(t *testing.T) {
	for name, c := range map[string]struct {
		addresses []string
		most      int
		want      []Range
	}{
		"nothing covers no addresses":   {nil, 4, nil},
		"one address is a range":        {[]string{"0.0.0.7"}, 4, []Range{{7, 7}}},
		"neighbours are one range":      {[]string{"0.0.0.9", "0.0.0.7", "0.0.0.8"}, 4, []Range{{7, 9}}},
		"the same address counts once":  {[]string{"0.0.0.7", "0.0.0.7"}, 4, []Range{{7, 7}}},
		"those that fit are exact":      {[]string{"0.0.0.1", "0.0.0.3", "0.0.0.9"}, 3, []Range{{1, 1}, {3, 3}, {9, 9}}},
		"else the narrowest gap closes": {[]string{"0.0.0.1", "0.0.0.4", "0.0.0.6", "0.0.0.9"}, 3, []Range{{1, 1}, {4, 6}, {9, 9}}},
		"as far as a single range":      {[]string{"0.0.0.1", "255.255.255.255", "0.0.0.6"}, 1, []Range{{1, 0xffff_ffff}}},
		"of IPv6 the end counts":        {[]string{"2001:db8::1:7", "2001:db8:1::1:8"}, 4, []Range{{0x1_0007, 0x1_0008}}},
		"the ends of all that there is": {[]string{"0.0.0.0", "255.255.255.255"}, 2, []Range{{0, 0}, {0xffff_ffff, 0xffff_ffff}}},
	} {
		t.Run(name, func(t *testing.T) {
			var in []netip.Addr
			for _, a := range c.addresses {
				in = append(in, netip.MustParseAddr(a))
			}
			if d := cmp.Diff(c.want, Cover(in, c.most)); d != "" {
				t.Error(d)
			}
		})
	}
}

// The oracle tries every way to cut the addresses into so many ranges.
func TestCoverLetsInAsFewOthersAsPossible(t *testing.T) {
	size := func(ranges []Range) (n int) {
		for _, r := range ranges {
			n += int(r.Last-r.First) + 1
		}
		return n
	}
	var least func(sorted []uint32, most int) int
	least = func(sorted []uint32, most int) int {
		best := int(sorted[len(sorted)-1]-sorted[0]) + 1
		for i := 1; i < len(sorted) && most > 1; i++ {
			best = min(best, int(sorted[i-1]-sorted[0])+1+least(sorted[i:], most-1))
		}
		return best
	}
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 0))
		most := 1 + r.IntN(4)
		var in []netip.Addr
		var keys []uint32
		for range 1 + r.IntN(9) {
			k := byte(r.IntN(60))
			in, keys = append(in, netip.AddrFrom4([4]byte{0, 0, 0, k})), append(keys, uint32(k))
		}
		got := Cover(in, most)
		slices.Sort(keys)
		keys = slices.Compact(keys)
		if want := least(keys, most); len(got) > most || size(got) != want {
			t.Errorf("seed %d: %v for %v, which could do with %d addresses in %d ranges", seed, got, in, want, most)
		}
		for _, k := range keys {
			if !slices.ContainsFunc(got, func(r Range) bool { return r.First <= k && k <= r.Last }) {
				t.Errorf("seed %d: %v do not hold %d", seed, got, k)
			}
		}
	}
}
