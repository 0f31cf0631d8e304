package ipam

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
)

// Pool is a set of addresses and when they may be used.
type Pool struct {
	Name string
	// Ranges in the order in which they are used up; none overlaps another of this or any other pool.
	Ranges []Range
	// AutoAssign false keeps the pool for requests that name it or one of its addresses.
	AutoAssign bool
	// AvoidBuggyIPs leaves out IPv4 addresses that end in .0 or .255: they are not the pool's at all.
	AvoidBuggyIPs bool
	// Pinned pools are meant for some Services; those look there before any pool that is open to all.
	Pinned bool
	// Priority orders pinned pools: the lowest first, 0 last.
	Priority int
	// Incomplete pools may once have had more addresses: who says that it holds one of theirs keeps it.
	Incomplete bool
	// NamespaceQuota is how many addresses of each family the Services of one namespace may have of the pool; 0: any number.
	// A Service keeps what it has above it.
	NamespaceQuota int
	// Reserved addresses are only for Services with the reservation of that name, but for those that have one already.
	Reserved map[netip.Addr]string
}

// comparePools puts the pool to look at first in front: pinned before open, by priority, by name.
func comparePools(a, b *pool) int {
	rank := func(p *pool) (open, priority int) {
		switch {
		case !p.Pinned:
			return 1, 0
		case p.Priority == 0:
			return 0, math.MaxInt
		}
		return 0, p.Priority
	}
	aOpen, aPriority := rank(a)
	bOpen, bPriority := rank(b)
	return cmp.Or(cmp.Compare(aOpen, bOpen), cmp.Compare(aPriority, bPriority), cmp.Compare(a.Name, b.Name))
}

// pool is a Pool with what is free in it.
type pool struct {
	Pool
	v4, v6 space
	// given counts the addresses in use, where there is a quota.
	given map[quota]int
	// services is the number of those that have an address of the pool.
	services int
}

func newPool(p Pool) *pool {
	out := &pool{Pool: p, given: map[quota]int{}}
	out.v4.avoid = p.AvoidBuggyIPs
	for i, r := range p.Ranges {
		out.space(FamilyOf(r.from)).grow(i, r)
	}
	return out
}

func (p *pool) space(f Family) *space {
	if f == IPv6 {
		return &p.v6
	}
	return &p.v4
}

// position orders the addresses of a pool as they are used up: by entry of the specification, then by value.
type position struct {
	entry int
	addr  netip.Addr
}

func comparePositions(a, b position) int {
	return cmp.Or(cmp.Compare(a.entry, b.entry), a.addr.Compare(b.addr))
}

// space knows what is free of one family of a pool. The next free address, and that there is none, are known without
// a search; taking or giving back a certain address is a binary search.
type space struct {
	avoid bool
	// free ranges, sorted; those of one entry do not touch. Addresses to avoid are in them until they come first.
	free []freeRange
	// size is the number of addresses that can be given, used how many are; the largest uint64 stands for that many
	// and more.
	size, used uint64
	// reserved is the number of addresses that are neither in use nor in free.
	reserved uint64
	// outside is the number of addresses in use that no range of the pool has any more.
	outside uint64
}

type freeRange struct {
	entry    int
	from, to netip.Addr
}

// grow adds the addresses of an entry, higher than all that have been added.
func (s *space) grow(entry int, r Range) {
	s.free = append(s.free, freeRange{entry, r.from, r.to})
	n := offset(r.from, r.to)
	if n < math.MaxUint64 {
		n++
	}
	if s.avoid {
		n -= buggyIn(r)
	}
	if s.size+n < s.size {
		n = math.MaxUint64 - s.size
	}
	s.size += n
}

// first returns the first free address.
func (s *space) first() (position, bool) {
	if s.used == s.size {
		return position{}, false
	}
	for len(s.free) > 0 {
		f := &s.free[0]
		if !s.avoid || !Buggy(f.from) {
			return position{f.entry, f.from}, true
		}
		// An address to avoid is met once and then forgotten: it is never given, so never given back.
		if f.from == f.to {
			s.free = s.free[1:]
		} else {
			f.from = f.from.Next()
		}
	}
	return position{}, false
}

// after returns the index of the first free range that begins behind p.
func (s *space) after(p position) int {
	i, found := slices.BinarySearchFunc(s.free, p, func(f freeRange, p position) int {
		return comparePositions(position{f.entry, f.from}, p)
	})
	if found {
		i++
	}
	return i
}

// take removes a free address.
func (s *space) take(p position) {
	i := s.after(p) - 1
	f := &s.free[i]
	switch {
	case f.from == f.to && i == 0:
		s.free = s.free[1:]
	case f.from == f.to:
		s.free = slices.Delete(s.free, i, i+1)
	case f.from == p.addr:
		f.from = f.from.Next()
	case f.to == p.addr:
		f.to = f.to.Prev()
	default:
		behind := freeRange{f.entry, p.addr.Next(), f.to}
		f.to = p.addr.Prev()
		s.free = slices.Insert(s.free, i+1, behind)
	}
	s.used++
}

// give adds an address that was taken.
func (s *space) give(p position) {
	i := s.after(p)
	joinsLeft := i > 0 && s.free[i-1].entry == p.entry && s.free[i-1].to.Next() == p.addr
	joinsRight := i < len(s.free) && s.free[i].entry == p.entry && p.addr.Next() == s.free[i].from
	switch {
	case joinsLeft && joinsRight:
		s.free[i-1].to = s.free[i].to
		s.free = slices.Delete(s.free, i, i+1)
	case joinsLeft:
		s.free[i-1].to = p.addr
	case joinsRight:
		s.free[i].from = p.addr
	default:
		s.free = slices.Insert(s.free, i, freeRange{p.entry, p.addr, p.addr})
	}
	s.used--
}

// Buggy says whether an address is IPv4 and ends in .0 or .255, which some old equipment takes for a network or a broadcast.
func Buggy(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	last := a.As4()[3]
	return last == 0 || last == 255
}

// buggyIn counts the buggy addresses of an IPv4 range.
func buggyIn(r Range) uint64 {
	// upTo counts them in 0.0.0.0 to n.
	upTo := func(n uint64) uint64 { return 2*(n/256) + 1 + (n%256)/255 }
	zero := netip.IPv4Unspecified()
	from, to := offset(zero, r.from), offset(zero, r.to)
	n := upTo(to)
	if from > 0 {
		n -= upTo(from - 1)
	}
	return n
}
