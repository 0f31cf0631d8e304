// Package arp answers ARP for addresses that no interface holds, and announces them by gratuitous ARP (RFC 826, 5227).
// It owns the packet sockets, one per interface. It knows nothing of Services, nodes or elections and imports none of
// the other responders; which interfaces are usable and which addresses are answered where it is told.
//
// A packet socket needs the capability NET_RAW. Interfaces are not made promiscuous.
package arp

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"metallb.io/operator/internal/l2"
)

// Responders are the ARP responders of a node, one per usable interface. They are open, and so known to work, before there
// is an address to answer for.
type Responders struct {
	meter  l2.Meter
	log    *slog.Logger
	open   func(l2.Interface) (conn, error)
	failed chan struct{}

	mu      sync.Mutex
	running map[string]*responder // by interface name
}

// New returns Responders without an interface.
func New(meter l2.Meter, log *slog.Logger) *Responders {
	return &Responders{meter: meter, log: log, open: listen, failed: make(chan struct{}, 1), running: map[string]*responder{}}
}

// Failed signals that a socket has died, so that Listen has something to do.
func (r *Responders) Failed() <-chan struct{} { return r.failed }

// Listen makes the given interfaces those that ARP is answered on, and no others; one that is new has to be told by Sync
// what to answer. It returns the names of those that are open, sorted, also where an error says which could not be opened;
// those do not keep the others from working. With the same interfaces, and all sockets alive, it does nothing.
func (r *Responders) Listen(interfaces []l2.Interface) (open []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := map[string]l2.Interface{}
	for _, ifi := range interfaces {
		wanted[ifi.Name] = ifi
	}
	for name, x := range r.running {
		if _, alive := x.running(); !alive || wanted[name] != x.ifi {
			x.close()
			delete(r.running, name)
			r.log.Info("stopped answering ARP on an interface", "interface", name)
		}
	}
	var errs []error
	for name, ifi := range wanted {
		if r.running[name] != nil {
			continue
		}
		c, err := r.open(ifi)
		if err != nil {
			errs = append(errs, fmt.Errorf("interface %s: cannot open an ARP socket: %w", name, err))
			continue
		}
		r.running[name] = start(ifi, c, r.meter, r.log, r.signal)
		r.log.Info("answering ARP on an interface", "interface", name, "mac", ifi.HardwareAddr().String())
	}
	return slices.Sorted(maps.Keys(r.running)), errors.Join(errs...)
}

// Sync makes the IPv4 addresses of the entries answered, each on the interfaces that it wants as far as they are open, and
// nothing else. An address that is new on an interface, or whose interface is new, is claimed by gratuitous ARP. Once Sync
// returns, no frame leaves for an address that is not wanted. A second Sync with the same entries does nothing.
//
// It returns what is really answered, with the interfaces by name.
func (r *Responders) Sync(entries []l2.Entry) []l2.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for name, x := range r.running {
		x.set(l2.Addresses(entries, name, true), now)
	}
	return r.entries()
}

func (r *Responders) signal() {
	select {
	case r.failed <- struct{}{}:
	default:
	}
}

// Running returns what is answered, with the interfaces by name.
func (r *Responders) Running() []l2.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries()
}

func (r *Responders) entries() []l2.Entry {
	by := map[string][]netip.Addr{}
	for name, x := range r.running {
		by[name], _ = x.running()
	}
	return l2.Merge(by)
}

// Yield prepares for the end: from now on an address is given up on an interface as soon as another station claims it
// there by gratuitous ARP, so that a successor takes over without a moment in which nobody answers.
func (r *Responders) Yield() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.running {
		x.yield()
	}
}

// Close ends all responders; no frame is sent after it returns.
func (r *Responders) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, x := range r.running {
		x.close()
		delete(r.running, name)
	}
}
