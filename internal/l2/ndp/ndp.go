// Package ndp answers Neighbor Discovery (RFC 4861) for IPv6 addresses that no interface holds, and announces them by
// unsolicited neighbour advertisements. It owns the packet sockets, one per interface that has an address to answer for,
// and the memberships of the addresses' solicited-node groups. It knows nothing of Services, nodes or elections and
// imports none of the other protocol's responders; which interfaces are usable and which addresses are answered where it is told.
//
// It listens on packet sockets rather than ICMPv6 sockets because the kernel gives the latter nothing that is sent to an
// address it does not hold, and that is how neighbours ask whether one they know is still there (section 7.3.3 there).
// A packet socket needs the capability NET_RAW. Interfaces are not made promiscuous.
package ndp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/responder"
)

// Responders are the NDP responders of a node, one per usable interface on which there is an IPv6 address to answer for:
// unlike one for ARP, such a socket costs a little for every IPv6 packet that arrives.
//
// An interface is usable while it has a link-local address that has passed duplicate address detection: without it the
// kernel could not resolve whom to send the replies of Services to.
type Responders struct {
	all *responder.Responders
	log *slog.Logger
	net network

	mu      sync.Mutex      // of Sync and Close
	without map[string]bool // interfaces by name where only the link-local address is missing
	watch   watch
}

// network is what Responders need of the kernel.
type network struct {
	linkLocal func(l2.Interface) (netip.Addr, error) // invalid where there is none
	listen    func(l2.Interface) (conn, error)
	member    func(l2.Interface) (member, error)
	watch     func(changed func()) (watch, error)
}

// place is an interface and its link-local address.
type place = responder.Place

var texts = responder.Texts{
	Stopped:      "stopped answering NDP on an interface",
	SocketFailed: "NDP socket failed",
	CannotAnswer: "cannot send a neighbour advertisement",
	CannotClaim:  "cannot send an unsolicited neighbour advertisement",
}

// New returns Responders without an interface.
func New(meter l2.Meter, log *slog.Logger) *Responders {
	r := &Responders{log: log, net: network{linkLocal: linkLocal, listen: listen, member: newMember, watch: newWatch}}
	r.all = responder.New(responder.Protocol{Open: r.link, Meter: meter, Log: log, Texts: texts})
	return r
}

func (r *Responders) link(p place) (responder.Link, error) {
	c, err := r.net.listen(p.Interface)
	if err != nil {
		return nil, fmt.Errorf("cannot open a socket for NDP: %w", err)
	}
	r.log.Info("answering NDP on an interface", "interface", p.Name, "mac", p.HardwareAddr().String(), "source", p.Source)
	return &link{place: p, conn: c, groups: groups{open: func() (member, error) { return r.net.member(p.Interface) }}}, nil
}

// Failed signals that Sync has something to do: a socket has died, or the link-local address of an interface that was
// given to Sync has come or gone.
func (r *Responders) Failed() <-chan struct{} { return r.all.Failed() }

// Sync makes the IPv6 addresses of the entries answered on the interfaces, as each entry wants, and nothing else. An
// address that is new on an interface, or whose interface is new, is claimed by unsolicited advertisements; one
// that is yielded is silent from an advertisement of another station on. Once Sync returns, no frame leaves for an address that
// is not wanted. A second Sync with the same input changes nothing.
//
// It returns what is really answered, with the interfaces by name, also where an error says which interfaces could not
// be opened, or on which there are solicited-node groups that could not be joined, so that questions may not arrive; those
// do not keep the others from working. That an interface has no link-local address
// is no error, as IPv6 need not be in use on each; Failed signals when it has got one.
//
// Interfaces that are also named are open even where there is nothing to answer, for Ask.
func (r *Responders) Sync(interfaces []l2.Interface, entries []l2.Entry, also ...string) ([]l2.Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var used []l2.Interface
	for _, ifi := range interfaces {
		if answered, yielding := l2.Addresses(entries, ifi.Name, false); len(answered)+len(yielding) > 0 || slices.Contains(also, ifi.Name) {
			used = append(used, ifi)
		}
	}
	places, placesErr := r.places(used)
	_, listenErr := r.all.Listen(places)
	running, err := r.all.Sync(entries)
	return running, errors.Join(placesErr, listenErr, err)
}

// places finds the link-local addresses of the interfaces, and leaves out those that have none.
func (r *Responders) places(interfaces []l2.Interface) (out []place, err error) {
	err = r.watchAddresses(interfaces) // comes first: what changes after the look below is signalled
	without := map[string]bool{}
	for _, ifi := range interfaces {
		a, lookErr := r.net.linkLocal(ifi)
		switch {
		case lookErr != nil:
			err = errors.Join(err, fmt.Errorf("interface %s: cannot look up its IPv6 link-local address: %w", ifi.Name, lookErr))
		case a.IsValid():
			out = append(out, place{Interface: ifi, Source: a})
		default:
			without[ifi.Name] = true
			if !r.without[ifi.Name] {
				r.log.Info("an interface does not answer NDP until it has an IPv6 link-local address", "interface", ifi.Name)
			}
		}
	}
	r.without = without
	return out, err
}

// watchAddresses sees to it that a change of the link-local address of any of the interfaces is signalled.
func (r *Responders) watchAddresses(interfaces []l2.Interface) error {
	if r.watch != nil && !r.watch.alive() {
		r.watch.close()
		r.watch = nil
	}
	if r.watch == nil {
		if len(interfaces) == 0 {
			return nil
		}
		w, err := r.net.watch(r.all.Fail)
		if err != nil {
			return fmt.Errorf("cannot watch IPv6 link-local addresses: %w", err)
		}
		r.watch = w
	}
	r.watch.only(interfaces)
	return nil
}

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
func (r *Responders) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all.Close()
	if r.watch != nil {
		r.watch.close()
		r.watch = nil
	}
}
