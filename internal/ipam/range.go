package ipam

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"
)

// Range is an immutable range of addresses of one family, both ends included. IPv4-mapped IPv6 addresses
// (RFC 4291, section 2.5.5.2) are IPv4 addresses here. The zero Range holds nothing.
type Range struct {
	from, to netip.Addr
}

// mapped is the block of IPv4-mapped addresses.
var mapped = netip.MustParsePrefix("::ffff:0:0/96")

// ParseRange reads a prefix (192.0.2.0/24, its host bits may be set) or a range with both ends included
// (192.0.2.10-192.0.2.20, blanks around the ends are tolerated). Errors say what is wrong and what to write instead.
func ParseRange(s string) (Range, error) {
	text := strings.TrimSpace(s)
	switch {
	case text == "":
		return Range{}, errors.New("is empty: write a prefix such as 192.0.2.0/24 or a range such as 192.0.2.10-192.0.2.20")
	case strings.Contains(text, "/"):
		return parsePrefix(text)
	case strings.Contains(text, "-"):
		return parseEnds(text)
	}
	a, err := parseAddr(text)
	if err != nil {
		return Range{}, fmt.Errorf("is neither a prefix nor a range: write for instance 192.0.2.0/24 or 192.0.2.10-192.0.2.20")
	}
	return Range{}, fmt.Errorf("is a single address: write %s/%d", a, a.BitLen())
}

func parsePrefix(text string) (Range, error) {
	if strings.Contains(text, "-") {
		return Range{}, errors.New("mixes a prefix and a range: write either 192.0.2.0/24 or 192.0.2.10-192.0.2.20")
	}
	host, length, _ := strings.Cut(text, "/")
	p, err := netip.ParsePrefix(strings.TrimSpace(host) + "/" + strings.TrimSpace(length))
	if err != nil {
		a, hostErr := parseAddr(host)
		if hostErr != nil {
			return Range{}, fmt.Errorf("has no valid address before the slash (%w): write for instance 192.0.2.0/24 or 2001:db8::/64", hostErr)
		}
		return Range{}, fmt.Errorf("has no valid length after the slash: write a number from 0 to %d, for instance %s/%d", a.BitLen(), a, a.BitLen())
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < mapped.Bits() {
			return Range{}, fmt.Errorf("is wider than the IPv4-mapped addresses: write the IPv4 prefix, for instance %s/24", a.Unmap())
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-mapped.Bits())
	}
	p = p.Masked()
	return span(p.Addr(), last(p))
}

func parseEnds(text string) (Range, error) {
	first, second, _ := strings.Cut(text, "-")
	from, err := parseAddr(first)
	if err != nil {
		return Range{}, fmt.Errorf("has no valid address before the dash (%w): write for instance 192.0.2.10-192.0.2.20", err)
	}
	to, err := parseAddr(second)
	if err != nil {
		return Range{}, fmt.Errorf("has no valid address after the dash (%w): write for instance 192.0.2.10-192.0.2.20", err)
	}
	if from.Is4() != to.Is4() {
		return Range{}, errors.New("mixes IPv4 and IPv6: write one range for each family")
	}
	if to.Less(from) {
		return Range{}, fmt.Errorf("has its ends swapped: write %s-%s", to, from)
	}
	return span(from, to)
}

// span makes a Range of valid ends in order.
func span(from, to netip.Addr) (Range, error) {
	r := Range{from, to}
	if !from.Is4() && r.Overlaps(Range{mapped.Addr(), last(mapped)}) {
		return Range{}, fmt.Errorf("contains the IPv4-mapped addresses %s: write IPv4 addresses as such, in an entry of their own", mapped)
	}
	return r, nil
}

func parseAddr(text string) (netip.Addr, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return netip.Addr{}, errors.New("nothing there")
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", text)
	}
	if a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q has a zone, which a load balancer's address cannot have", text)
	}
	return a.Unmap(), nil
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

// From returns the lowest address.
func (r Range) From() netip.Addr { return r.from }

// To returns the highest address.
func (r Range) To() netip.Addr { return r.to }

// Is4 says whether the addresses are IPv4.
func (r Range) Is4() bool { return r.from.Is4() }

// Contains says whether a, or the IPv4 address that it maps, lies in the range.
func (r Range) Contains(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsValid() && a.Zone() == "" && a.Is4() == r.Is4() && !a.Less(r.from) && !r.to.Less(a)
}

// Overlaps says whether the two have an address in common.
func (r Range) Overlaps(o Range) bool {
	return r.from.IsValid() && o.from.IsValid() && r.Is4() == o.Is4() && !o.to.Less(r.from) && !r.to.Less(o.from)
}

// String returns the prefix that the range is, else its ends with a dash between them. ParseRange reads both.
func (r Range) String() string {
	if !r.from.IsValid() {
		return "(empty)"
	}
	for n := 0; n <= r.from.BitLen(); n++ {
		if p := netip.PrefixFrom(r.from, n); p.Masked() == p && last(p) == r.to {
			return p.String()
		}
	}
	return r.from.String() + "-" + r.to.String()
}

// offset is the distance from a to b, b not lower and of the same family; the largest uint64 stands for itself and more.
func offset(a, b netip.Addr) uint64 {
	x, y := a.As16(), b.As16()
	xh, xl := halves(x)
	yh, yl := halves(y)
	low, borrow := bits.Sub64(yl, xl, 0)
	high, _ := bits.Sub64(yh, xh, borrow)
	if high > 0 {
		return 1<<64 - 1
	}
	return low
}

func halves(b [16]byte) (high, low uint64) {
	for i := range 8 {
		high = high<<8 | uint64(b[i])
		low = low<<8 | uint64(b[8+i])
	}
	return high, low
}
