package bgp

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Router runs sessions, one change at a time. An error means that the change was not made.
type Router interface {
	// Set begins a session, or changes one; its paths stay. What can be changed without a reset is.
	Set(Peer) error
	// Remove ends a session.
	Remove(peer string) error
	// Announce tells a peer of paths, and that some prefixes are no more.
	Announce(peer string, advertise []Path, withdraw []netip.Prefix) error
}

// Speaker keeps a Router in line with what is wanted.
type Speaker struct {
	router  Router
	running []Wanted // sorted by name
}

// NewSpeaker returns a Speaker for a Router without sessions.
func NewSpeaker(r Router) *Speaker { return &Speaker{router: r} }

// Sync makes the wanted sessions run, and no others, each with its paths. It returns what really runs, sorted by name, also
// where an error says what does not; the next Sync tries again. What stays as it is costs no call, and what changes with one
// peer none for another. Names must differ.
func (s *Speaker) Sync(wanted []Wanted) (running []Wanted, err error) {
	wanted = slices.SortedFunc(slices.Values(wanted), func(a, b Wanted) int { return cmp.Compare(a.Name, b.Name) })
	var errs []error
	fail := func(peer string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("BGP peer %s: %w", peer, err))
		}
	}
	now := make([]Wanted, 0, len(wanted))
	for _, r := range s.running { // first, as one that comes may be where one was that goes
		if _, ok := find(wanted, r.Name); ok {
			continue
		}
		if err := s.router.Remove(r.Name); err != nil {
			fail(r.Name, err)
			now = append(now, r)
		}
	}
	for _, w := range wanted {
		r, err := s.bring(w)
		fail(w.Name, err)
		if r != nil {
			now = append(now, *r)
		}
	}
	slices.SortFunc(now, func(a, b Wanted) int { return cmp.Compare(a.Name, b.Name) })
	s.running = now
	return now, errors.Join(errs...)
}

// bring makes one session what it is to be, and returns what it is; nil: it does not run.
func (s *Speaker) bring(w Wanted) (*Wanted, error) {
	r := Wanted{}
	i, known := find(s.running, w.Name)
	if known {
		r = s.running[i]
	}
	if !known || r.Peer != w.Peer {
		if err := s.router.Set(w.Peer); err != nil {
			if !known {
				return nil, err
			}
			return &r, err
		}
		r.Peer = w.Peer
	}
	advertise, withdraw := Diff(r.Paths, w.Paths)
	if len(advertise)+len(withdraw) == 0 {
		return &r, nil
	}
	if err := s.router.Announce(w.Name, advertise, withdraw); err != nil {
		// What of it was done nobody knows: it begins anew.
		return nil, errors.Join(err, s.router.Remove(w.Name))
	}
	r.Paths = w.Paths
	return &r, nil
}

func find(in []Wanted, name string) (int, bool) {
	return slices.BinarySearchFunc(in, name, func(w Wanted, name string) int { return cmp.Compare(w.Name, name) })
}

// Diff says how to get from some paths to others, both sorted by prefix.
func Diff(from, to []Path) (advertise []Path, withdraw []netip.Prefix) {
	for len(from) > 0 || len(to) > 0 {
		c := 0
		switch {
		case len(from) == 0:
			c = 1
		case len(to) == 0:
			c = -1
		default:
			c = ComparePrefixes(from[0].Prefix, to[0].Prefix)
		}
		switch {
		case c < 0:
			withdraw = append(withdraw, from[0].Prefix)
			from = from[1:]
		case c > 0:
			advertise = append(advertise, to[0])
			to = to[1:]
		default:
			if !from[0].Equal(to[0]) {
				advertise = append(advertise, to[0])
			}
			from, to = from[1:], to[1:]
		}
	}
	return advertise, withdraw
}
