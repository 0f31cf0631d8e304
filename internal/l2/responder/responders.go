// Package responder is what the responders of package l2's protocols have in common: which addresses are answered on each
// interface, when they are claimed, the loop that reads requests, giving an address up to a successor, and the death of a
// socket. What a protocol's frames look like and how its sockets are opened is told by the packages that use this one; it
// imports none of them.
package responder

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

// Place is where a responder works; where one of its parts changes another responder is needed.
type Place struct {
	l2.Interface
	Source netip.Addr // an address of the interface, where the protocol needs one
}

// Protocol is what sets the responders of one protocol apart.
type Protocol struct {
	IPv4  bool // the family of the addresses that are answered
	Open  func(Place) (Link, error)
	Meter l2.Meter
	Log   *slog.Logger
	Texts Texts
}

// Texts are a protocol's log messages.
type Texts struct {
	Stopped, SocketFailed, CannotAnswer, CannotClaim string
}

// Responders are the responders of a node for one protocol, one per interface. They are safe for concurrent use.
type Responders struct {
	Protocol
	failed, sighted chan struct{}

	mu      sync.Mutex
	running map[string]*Responder // by interface name
}

// New returns Responders without an interface.
func New(p Protocol) *Responders {
	return &Responders{Protocol: p, failed: make(chan struct{}, 1), sighted: make(chan struct{}, 1), running: map[string]*Responder{}}
}

// Failed signals that a socket has died, or that Fail was called.
func (r *Responders) Failed() <-chan struct{} { return r.failed }

// Fail makes Failed signal.
func (r *Responders) Fail() { signal(r.failed) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Listen opens and closes sockets so that there is a live one at each of the places. It returns the names of the interfaces
// where there is one, sorted, also where an error says which could not be opened.
func (r *Responders) Listen(places []Place) (open []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := map[string]Place{}
	for _, p := range places {
		wanted[p.Name] = p
	}
	for name, x := range r.running {
		if _, alive := x.running(); !alive || wanted[name] != x.place {
			x.close()
			delete(r.running, name)
			r.Log.Info(r.Texts.Stopped, "interface", name)
		}
	}
	var errs []error
	for name, place := range wanted {
		if _, ok := r.running[name]; ok {
			continue
		}
		link, err := r.Open(place)
		if err != nil {
			errs = append(errs, fmt.Errorf("interface %s: %w", name, err))
			continue
		}
		x := NewResponder(place, link, r.Protocol)
		x.start(r.Fail, func() { signal(r.sighted) })
		r.running[name] = x
	}
	return slices.Sorted(maps.Keys(r.running)), errors.Join(errs...)
}

// Sync makes the protocol's addresses among the entries answered, each on the interfaces that it wants as far as there is
// a socket, and nothing else but what is yielded, until another station claims it on the interface. Once it returns, no frame
// leaves for an address that is not wanted. It returns what is really answered, also where an error says on which interfaces
// requests may not arrive.
func (r *Responders) Sync(entries []l2.Entry) ([]l2.Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	var errs []error
	for name, x := range r.running {
		answered, yielding := l2.Addresses(entries, name, r.IPv4)
		if err := x.Set(answered, yielding, now); err != nil {
			errs = append(errs, fmt.Errorf("interface %s: %w", name, err))
		}
	}
	for name, x := range r.running { // apart from the above because it may take a second, and claims do not need it
		if addresses, alive := x.running(); alive {
			if err := x.link.Join(addresses); err != nil {
				errs = append(errs, fmt.Errorf("interface %s: %w", name, err))
			}
		}
	}
	return r.entries(), errors.Join(errs...)
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

// Reclaim claims everything that is answered anew: another station may have claimed it meanwhile.
func (r *Responders) Reclaim() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, x := range r.running {
		x.reclaim(now)
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
