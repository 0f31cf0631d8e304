package config

import (
	"math/bits"
	"net/netip"

	"metallb.io/operator/internal/ipam"
)

// widest is the longest of the shortest: each entry of a pool holds one largest prefix, and what is announced must fit
// into that of every entry.
type widest struct {
	// length of the prefix; 0: no entry.
	length int
	entry  ipam.Range
}

func (w widest) or(r ipam.Range) widest {
	if length := shortest(r.From(), r.To()); length > w.length {
		return widest{length, r}
	}
	return w
}

// shortest returns the length of the largest prefix within a range.
func shortest(from, to netip.Addr) int {
	for n := common(from, to); n < from.BitLen(); n++ {
		p := netip.PrefixFrom(from, n).Masked()
		if p.Addr() != from {
			next := last(p).Next()
			if !next.IsValid() {
				continue
			}
			p = netip.PrefixFrom(next, n)
		}
		if !to.Less(p.Addr()) && !to.Less(last(p)) {
			return n
		}
	}
	return from.BitLen()
}

// common returns the number of leading bits that two addresses of a family share.
func common(a, b netip.Addr) int {
	x, y := a.AsSlice(), b.AsSlice()
	for i := range x {
		if d := x[i] ^ y[i]; d != 0 {
			return i*8 + bits.LeadingZeros8(d)
		}
	}
	return a.BitLen()
}

// last returns the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
