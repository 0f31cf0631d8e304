// Package l2 is the vocabulary of announcing addresses on a LAN: entries, interfaces, what differs between two sets of
// addresses, and when gratuitous frames are due. It is pure (time comes in as a value) and imports the standard library
// only. The responders that do the talking are in the packages below it.
package l2

import (
	"net"
	"net/netip"
	"slices"
)

// Entry is an address that a node answers for.
type Entry struct {
	Address netip.Addr
	// Interfaces on which the address is answered, by name and sorted. Empty: every usable interface.
	Interfaces []string
	// Yielding: the address is another node's now. Where it is answered it goes on being answered, unclaimed, until another
	// station claims it; where it is not, it stays so.
	Yielding bool
}

// On reports whether the entry is answered on the interface.
func (e Entry) On(name string) bool {
	return len(e.Interfaces) == 0 || slices.Contains(e.Interfaces, name)
}

// Interface is a network interface that frames can be sent and received on. It is comparable: an interface that was
// made anew, or whose hardware address has changed, is another one.
type Interface struct {
	Name string
	// Index that the kernel gave it.
	Index int
	// MAC is its hardware address (EUI-48).
	MAC [6]byte
}

// HardwareAddr returns the interface's hardware address in the form of package net.
func (i Interface) HardwareAddr() net.HardwareAddr {
	return net.HardwareAddr(i.MAC[:])
}

// Meter counts what responders do, per address. Its methods are called from several goroutines.
type Meter interface {
	// RequestReceived counts a request for an address that is answered here.
	RequestReceived(netip.Addr)
	// ResponseSent counts an answer.
	ResponseSent(netip.Addr)
	// GratuitousSent counts a single gratuitous frame.
	GratuitousSent(netip.Addr)
}

// Addresses returns the addresses of one family that the entries answer on an interface, and those that they yield there,
// each sorted and once.
func Addresses(entries []Entry, interfaceName string, ipv4 bool) (answered, yielding []netip.Addr) {
	for _, e := range entries {
		switch {
		case e.Address.Is4() != ipv4 || !e.On(interfaceName):
		case e.Yielding:
			yielding = append(yielding, e.Address)
		default:
			answered = append(answered, e.Address)
		}
	}
	return set(answered), set(yielding)
}

// set sorts addresses and leaves each once.
func set(addresses []netip.Addr) []netip.Addr {
	slices.SortFunc(addresses, netip.Addr.Compare)
	return slices.Compact(addresses)
}

// Diff compares two sorted sets of addresses: begin is what is desired and does not run, end what runs and is not desired.
func Diff(running, desired []netip.Addr) (begin, end []netip.Addr) {
	for len(running) > 0 && len(desired) > 0 {
		switch c := running[0].Compare(desired[0]); {
		case c < 0:
			end, running = append(end, running[0]), running[1:]
		case c > 0:
			begin, desired = append(begin, desired[0]), desired[1:]
		default:
			running, desired = running[1:], desired[1:]
		}
	}
	return append(begin, desired...), append(end, running...)
}

// Merge turns the addresses that run on each interface into entries, sorted by address.
func Merge(running map[string][]netip.Addr) []Entry {
	by := map[netip.Addr][]string{}
	for name, addresses := range running {
		for _, a := range addresses {
			by[a] = append(by[a], name)
		}
	}
	out := make([]Entry, 0, len(by))
	for a, names := range by {
		slices.Sort(names)
		out = append(out, Entry{Address: a, Interfaces: names})
	}
	slices.SortFunc(out, func(x, y Entry) int { return x.Address.Compare(y.Address) })
	return out
}
