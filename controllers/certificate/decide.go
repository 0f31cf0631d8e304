package certificate

import (
	"crypto/x509"
	"time"
)

// longestSettle is how long API servers are given to take a bundle up before a certificate depends on it.
const longestSettle = 5 * time.Minute

// step is what is to be done to the material.
type step int

const (
	// keep it as it is.
	keep step = iota
	// makeAuthority puts a new authority in front. What is served stays.
	makeAuthority
	// makeServing replaces the serving certificate by one of the authority that signs.
	makeServing
	// dropExpired removes the older authorities that have expired.
	dropExpired
)

// decide says what is to be done to the material now, or when to look again if that is nothing; a zero time leaves that to
// the next event. placed is since when all API servers have been told the material's bundle, zero if they have not; they
// are given some time to take it up.
//
// A new authority is told for that long before anything that it has signed is presented, and an old one is told until
// nothing that it has signed is presented any more. So each API server can verify each replica at each moment.
func decide(m material, placed time.Time, life Lifetimes, now time.Time) (step, time.Time) {
	if m.key == nil || !now.Before(due(m.authorities[0], life.Authority, now)) {
		return makeAuthority, now
	}
	if m.serving == nil {
		return makeServing, now // there is nothing to lose
	}
	next := due(m.authorities[0], life.Authority, now)
	for _, a := range m.authorities[1:] {
		if !now.Before(a.NotAfter) {
			return dropExpired, now
		}
		next = earlier(next, a.NotAfter)
	}
	leaf := m.serving.Leaf
	renew := due(leaf, life.Serving, now)
	if !m.current() {
		renew = now
	}
	switch known := life.known(placed, leaf); {
	case now.Before(renew):
		return keep, earlier(next, renew)
	case placed.IsZero():
		return keep, time.Time{}
	case now.Before(known):
		return keep, earlier(next, known)
	}
	return makeServing, now
}

// known is when all API servers have taken up what they are told since that time. What is presented until then may end
// early, made with shorter lives than today's: then half of what is left of it must do.
func (l Lifetimes) known(told time.Time, presented *x509.Certificate) time.Time {
	return told.Add(min(l.settle(), max(0, presented.NotAfter.Sub(told)/2)))
}

// settle is shorter where lives are short: less than what is left of a serving certificate when a new authority is made.
func (l Lifetimes) settle() time.Duration {
	return min(longestSettle, l.Authority/10, l.Serving/5)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
