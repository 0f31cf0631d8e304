// Package arp answers ARP for addresses that no interface holds, and announces them by gratuitous ARP (RFC 826, 5227).
// It owns the packet sockets, one per interface. It knows nothing of Services, nodes or elections and imports none of
// the other protocol's responders; which interfaces are usable and which addresses are answered where it is told.
//
// A packet socket needs the capability NET_RAW. Interfaces are not made promiscuous.
package arp

import (
	"fmt"
	"log/slog"
	"net/netip"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/responder"
)

// Responders are the ARP responders of a node, one per usable interface. They are open, and so known to work, before there
// is an address to answer for.
type Responders struct {
	all  *responder.Responders
	open func(l2.Interface) (conn, error)
}

var texts = responder.Texts{
	Stopped:      "stopped answering ARP on an interface",
	SocketFailed: "ARP socket failed",
	CannotAnswer: "cannot send an ARP reply",
	CannotClaim:  "cannot send gratuitous ARP",
}

// New returns Responders without an interface.
func New(meter l2.Meter, log *slog.Logger) *Responders {
	r := &Responders{open: listen}
	r.all = responder.New(responder.Protocol{IPv4: true, Open: r.link, Meter: meter, Log: log, Texts: texts})
	return r
}

func (r *Responders) link(at responder.Place) (responder.Link, error) {
	c, err := r.open(at.Interface)
	if err != nil {
		return nil, fmt.Errorf("cannot open an ARP socket: %w", err)
	}
	r.all.Log.Info("answering ARP on an interface", "interface", at.Name, "mac", at.HardwareAddr().String())
	return &link{at.Interface, c}, nil
}

// Failed signals that a socket has died, so that Listen has something to do.
func (r *Responders) Failed() <-chan struct{} { return r.all.Failed() }

// Listen makes the given interfaces those that ARP is answered on, and no others; one that is new has to be told by Sync
// what to answer. It returns the names of those that are open, sorted, also where an error says which could not be opened;
// those do not keep the others from working. With the same interfaces, and all sockets alive, it does nothing.
func (r *Responders) Listen(interfaces []l2.Interface) (open []string, err error) {
	var places []responder.Place
	for _, ifi := range interfaces {
		places = append(places, responder.Place{Interface: ifi})
	}
	return r.all.Listen(places)
}

// Sync makes the IPv4 addresses of the entries answered, each on the interfaces that it wants as far as they are open, and
// nothing else. An address that is new on an interface, or whose interface is new, is claimed by gratuitous ARP; one that is
// yielded is silent from such a claim of another station on. Once Sync returns, no frame leaves for an address that is not wanted. A second Sync with the same entries does nothing.
//
// It returns what is really answered, with the interfaces by name, also where an error says on which interfaces requests may
// not arrive.
func (r *Responders) Sync(entries []l2.Entry) ([]l2.Entry, error) { return r.all.Sync(entries) }

// Running returns what is answered, with the interfaces by name.
func (r *Responders) Running() []l2.Entry { return r.all.Running() }

// Reclaim claims everything that is answered anew, as if it were new: where a part of the network was cut off, another
// station may have claimed it meanwhile.
func (r *Responders) Reclaim() { r.all.Reclaim() }

// Sighted signals that Sightings has something.
func (r *Responders) Sighted() <-chan struct{} { return r.all.Sighted() }

// Sightings returns the other stations that were heard, since it was called last, to have an address that is answered here
// or was asked for.
func (r *Responders) Sightings() []l2.Sighting { return r.all.Sightings() }

// Ask asks on an interface who has an address. Whoever answers within the next second is among the Sightings.
func (r *Responders) Ask(interfaceName string, a netip.Addr) error {
	return r.all.Ask(interfaceName, a)
}

// Defend claims one address anew wherever it is answered, as if it were new.
func (r *Responders) Defend(a netip.Addr) { r.all.Defend(a) }

// Reopen closes the socket of an interface and makes Failed signal, so that another one is opened, which claims everything
// anew. It reports whether there was one.
func (r *Responders) Reopen(interfaceName string) bool { return r.all.Reopen(interfaceName) }

// Close ends all responders; no frame is sent after it returns.
func (r *Responders) Close() { r.all.Close() }
