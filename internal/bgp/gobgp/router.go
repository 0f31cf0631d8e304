// Package gobgp runs BGP sessions on embedded GoBGP servers. It is the only importer of GoBGP, and knows nothing of
// Kubernetes.
//
// Every session has a server of its own, with no gRPC, that knows and listens to one peer: this package, on the loopback
// interface. What the server and the router say to each other passes through here (relay.go). So nothing that is done to
// one session can be felt by another, two sessions may differ in router ID and AS number, and it is here that is decided what
// GoBGP leaves no choice in: when to connect and how, what of a router's messages to believe, and how a session ends. In
// particular no route of a router reaches GoBGP. Whatever it sends is counted and dropped.
package gobgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"metallb.io/operator/internal/bgp"
)

// Router runs sessions. GoBGP keeps some options, which are the same for all here, in variables of its package that each
// server writes when it starts: to the race detector two servers at a time are a race, if a harmless one. A process with one
// session, which is what package engine makes, has one server at a time.
// It is safe for concurrent use.
type Router struct {
	log     *slog.Logger
	changed chan struct{}

	mu       sync.Mutex
	sessions map[string]*session
	ending   sync.WaitGroup
}

var _ bgp.Router = (*Router)(nil)

// errNoPeer is for a name that Set was not called with.
var errNoPeer = errors.New("there is no such peer")

// New returns a Router without sessions.
func New(log *slog.Logger) *Router {
	return &Router{log: log, changed: make(chan struct{}, 1), sessions: map[string]*session{}}
}

// Set begins a session, or changes one; its paths stay. The session is reset only where something changes that its two ends
// have agreed on.
func (r *Router) Set(p bgp.Peer) error {
	if err := check(p); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sessions[p.Name]
	if ok && s.adopt(p) {
		return nil
	}
	next := newSession(p, r)
	if ok {
		next.paths = s.takePaths()
		r.end(s, otherConfigurationChange)
		next.after = s.done
	}
	r.sessions[p.Name] = next
	ctx, cancel := context.WithCancel(context.Background())
	next.cancel = cancel
	go next.run(ctx)
	r.signal()
	return nil
}

// Remove ends a session. It does not wait for the router to hear of it.
func (r *Router) Remove(peer string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sessions[peer]
	if !ok {
		return errNoPeer
	}
	delete(r.sessions, peer)
	r.end(s, peerDeconfigured)
	r.signal()
	return nil
}

// end has a session end by itself.
func (r *Router) end(s *session, why bgp.Notification) {
	r.ending.Go(func() { s.stop(why) })
}

// Announce tells a peer of paths, and that some prefixes are no more; where there is no session with it yet, once there is.
func (r *Router) Announce(peer string, advertise []bgp.Path, withdraw []netip.Prefix) error {
	s, err := r.session(peer)
	if err != nil {
		return err
	}
	return s.announce(advertise, withdraw)
}

// Reset ends a session at once if it is Established, and begins anew; otherwise it does nothing.
func (r *Router) Reset(peer string, why bgp.Notification) error {
	s, err := r.session(peer)
	if err != nil {
		return err
	}
	s.reset(why)
	return nil
}

func (r *Router) session(peer string) (*session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sessions[peer]
	if !ok {
		return nil, errNoPeer
	}
	return s, nil
}

// Sessions says how the sessions are, sorted by peer.
func (r *Router) Sessions() []bgp.Session {
	r.mu.Lock()
	sessions := make([]*session, 0, len(r.sessions))
	for _, s := range r.sessions {
		sessions = append(sessions, s)
	}
	r.mu.Unlock()
	out := make([]bgp.Session, len(sessions))
	for i, s := range sessions {
		out[i] = s.report()
	}
	slices.SortFunc(out, func(a, b bgp.Session) int { return strings.Compare(a.Peer, b.Peer) })
	return out
}

// Changed signals that the state of a session has changed.
func (r *Router) Changed() <-chan struct{} { return r.changed }

func (r *Router) signal() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// Close ends all sessions: those with graceful restart silently, so that the routers keep what they have heard, the others
// with an administrative shutdown.
func (r *Router) Close() {
	r.mu.Lock()
	for name, s := range r.sessions {
		delete(r.sessions, name)
		why := administrativeShutdown
		if s.peer.GracefulRestart {
			why = bgp.Notification{}
		}
		r.end(s, why)
	}
	r.mu.Unlock()
	r.ending.Wait()
}

// The notifications that this end gives (RFC 4486).
var (
	administrativeShutdown   = bgp.Notification{Code: bgp.Cease, Subcode: 2}
	peerDeconfigured         = bgp.Notification{Code: bgp.Cease, Subcode: 3}
	otherConfigurationChange = bgp.Notification{Code: bgp.Cease, Subcode: 6}
)

// check says what is wrong with a peer.
func check(p bgp.Peer) error {
	switch {
	case p.Name == "":
		return errors.New("a peer needs a name")
	case !p.Address.IsValid() == (p.Interface == "") || p.Port == 0:
		return fmt.Errorf("%v, port %d, is not where a router could be", p.Place(), p.Port)
	case p.LocalASN == 0:
		return errors.New("this end needs an AS number")
	case !p.RouterID.Is4() || p.RouterID.IsUnspecified():
		return fmt.Errorf("%v is no router ID", p.RouterID)
	case !p.IPv4 && !p.IPv6:
		return errors.New("the session has no address family")
	case p.Source.IsValid() && p.Source.Is4() != p.Address.Is4():
		return fmt.Errorf("%v cannot be the source of a connection to %v", p.Source, p.Address)
	}
	return nil
}
