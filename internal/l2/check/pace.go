// Package check decides when an address is looked up on the LAN and what the answers mean: whether somebody has an address
// that is answered by this node, whether this node's answers arrive, and what it does about that. It is pure (time comes in
// as a value) and imports package l2 only.
package check

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// often is the least time between two checks of an address.
	often = time.Second
	// perCheck is the time that one request takes of what all nodes of a cluster may send together: 20 in a second.
	perCheck = time.Second / 20
)

// Every returns the time between two checks of an address where there are so many addresses in the cluster, each asked for on
// so many interfaces.
func Every(addresses, interfaces int) time.Duration {
	return max(often, time.Duration(addresses*max(interfaces, 1))*perCheck)
}

// Pace says whose turn it is: each address in turn, evenly spaced, and in every second turn one again at which something was
// not as it should be. The zero Pace has no addresses and is ready.
type Pace struct {
	addresses []netip.Addr // sorted
	every     time.Duration
	last      netip.Addr // whose turn it was
	due       time.Time  // of the next turn
	again     []retry    // in the order in which they are due
	repeated  bool       // the last turn was one of again's
}

type retry struct {
	address netip.Addr
	due     time.Time
}

// Set changes the addresses, sorted, and the time between two checks of each.
func (p *Pace) Set(addresses []netip.Addr, every time.Duration, now time.Time) {
	p.addresses, p.every = addresses, every
	p.again = slices.DeleteFunc(p.again, func(r retry) bool { return !contains(addresses, r.address) })
	if soonest := now.Add(p.spacing()); p.due.After(soonest) || p.due.IsZero() {
		p.due = soonest
	}
}

func (p *Pace) spacing() time.Duration { return p.every / time.Duration(max(len(p.addresses), 1)) }

// Due returns when it is somebody's turn; ok is false while there are no addresses.
func (p *Pace) Due() (due time.Time, ok bool) { return p.due, len(p.addresses) > 0 }

// Next returns the address whose turn it is, if it is time. A turn that was missed is not made up for.
func (p *Pace) Next(now time.Time) (a netip.Addr, ok bool) {
	if len(p.addresses) == 0 || now.Before(p.due) {
		return netip.Addr{}, false
	}
	p.due = now.Add(p.spacing())
	if len(p.again) > 0 && !p.repeated && !now.Before(p.again[0].due) {
		a, p.again, p.repeated = p.again[0].address, p.again[1:], true
		return a, true
	}
	p.repeated = false
	i, found := slices.BinarySearchFunc(p.addresses, p.last, netip.Addr.Compare)
	if found {
		i++
	}
	p.last = p.addresses[i%len(p.addresses)]
	return p.last, true
}

// Again asks for another turn of an address, soon: something was not as it should be.
func (p *Pace) Again(a netip.Addr, now time.Time) {
	if p.every <= often || !contains(p.addresses, a) || slices.ContainsFunc(p.again, func(r retry) bool { return r.address == a }) {
		return
	}
	p.again = append(p.again, retry{a, now.Add(often)})
}

func contains(sorted []netip.Addr, a netip.Addr) bool {
	_, ok := slices.BinarySearchFunc(sorted, a, netip.Addr.Compare)
	return ok
}
