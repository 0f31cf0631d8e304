package l2

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Sighting is another station that was heard to have an address: by a claim, by an answer, or as the sender of a request.
type Sighting struct {
	Address netip.Addr
	// Interface that it was heard on, by name, and its hardware address there.
	Interface string
	MAC       [6]byte
	// At is when it was heard last.
	At time.Time
}

const (
	// mostSightings bounds what a flood of made-up stations can fill.
	mostSightings = 1024
	// tellEvery is the least time between two calls to look at what was seen.
	tellEvery = 100 * time.Millisecond
)

// Sightings are those of one interface that nobody has looked at yet, of each station the last. The zero Sightings are empty
// and ready. They are not safe for concurrent use.
type Sightings struct {
	seen map[station]Sighting
	told time.Time
}

type station struct {
	address netip.Addr
	mac     [6]byte
}

// Add takes one more, and reports whether it is time to say that there is something. Whoever is told so takes what comes in
// the moments afterwards when it looks the next time.
func (s *Sightings) Add(x Sighting) (tell bool) {
	if s.seen == nil {
		s.seen = map[station]Sighting{}
	}
	key := station{x.Address, x.MAC}
	if _, known := s.seen[key]; !known && len(s.seen) >= mostSightings {
		return false
	}
	s.seen[key] = x
	if x.At.Sub(s.told) < tellEvery {
		return false
	}
	s.told = x.At
	return true
}

// Take returns the sightings, sorted by address and station, and forgets them.
func (s *Sightings) Take() []Sighting {
	out := make([]Sighting, 0, len(s.seen))
	for _, x := range s.seen {
		out = append(out, x)
	}
	clear(s.seen)
	slices.SortFunc(out, func(a, b Sighting) int {
		return cmp.Or(a.Address.Compare(b.Address), slices.Compare(a.MAC[:], b.MAC[:]))
	})
	return out
}
