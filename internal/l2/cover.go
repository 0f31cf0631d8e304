package l2

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Range is a range of addresses by their last 32 bits, which are all of an IPv4 address and tell an IPv6 address from nearly
// all others of its network. Both ends belong to it.
type Range struct{ First, Last uint32 }

// Cover returns ranges, sorted and at most so many, that hold all the addresses and, where so many cannot be exact, as few
// others as possible. It is for the filter of a socket, which has no room for thousands of addresses.
func Cover(addresses []netip.Addr, most int) []Range {
	keys := make([]uint32, 0, len(addresses))
	for _, a := range addresses {
		b := a.As16()
		keys = append(keys, binary.BigEndian.Uint32(b[12:]))
	}
	slices.Sort(keys)
	var runs []Range
	for _, k := range keys {
		if n := len(runs); n > 0 && k-runs[n-1].Last <= 1 {
			runs[n-1].Last = k
		} else {
			runs = append(runs, Range{k, k})
		}
	}
	if len(runs) <= most {
		return runs
	}
	// Each gap that is bridged lets its addresses in: the widest stay.
	gaps := make([]int, 0, len(runs)-1) // by the index of the run behind it
	for i := range len(runs) - 1 {
		gaps = append(gaps, i+1)
	}
	slices.SortFunc(gaps, func(x, y int) int {
		return cmp.Or(cmp.Compare(runs[y].First-runs[y-1].Last, runs[x].First-runs[x-1].Last), cmp.Compare(x, y))
	})
	out, from := make([]Range, 0, most), 0
	for _, to := range append(slices.Sorted(slices.Values(gaps[:most-1])), len(runs)) {
		out = append(out, Range{runs[from].First, runs[to-1].Last})
		from = to
	}
	return out
}
