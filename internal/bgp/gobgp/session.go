package gobgp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/bgp/discovery"
)

const (
	// settled is how long a session must last for the next failure to count as the first.
	settled = 10 * time.Second
	// leastPause and longestPause bound the wait after a second, third, fourth session in a row that did not last.
	leastPause, longestPause = time.Second, 30 * time.Second
	// defaultConnectTime is the pause between two attempts to connect where the peer does not say.
	defaultConnectTime = 2 * time.Second
)

// session is one peer's: a loop that connects, has a server speak to the router, and begins again.
type session struct {
	router *Router
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}
	after  chan struct{}   // the end of the session in whose place this one is; nil: none
	link   *discovery.Link // by which the router is found; nil: it has an address

	calls *calls // that the router opens

	mu       sync.Mutex
	peer     bgp.Peer
	paths    map[netip.Prefix]bgp.Path
	nextHops nextHops
	speaker  *speaker // nil between two connections
	relay    *relay   // nil while there is no connection
	status   bgp.Session
	counters *counters
}

func newSession(p bgp.Peer, r *Router) *session {
	s := &session{
		router: r, log: r.log.With("peer", p.Name, "address", p.Place()), done: make(chan struct{}), peer: p,
		paths: map[netip.Prefix]bgp.Path{}, counters: &counters{}, calls: newCalls(),
	}
	s.status = bgp.Session{Peer: p.Name, State: bgp.Idle, Since: time.Now()}
	return s
}

// adopt takes a changed peer if the session need not be reset for it.
func (s *session) adopt(p bgp.Peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	as := s.peer
	as.ConnectTime = p.ConnectTime
	if as != p {
		return false
	}
	s.peer = p
	return true
}

func (s *session) takePaths() map[netip.Prefix]bgp.Path {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.paths)
}

func (s *session) report() bgp.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.status
	out.Sent, out.Received = s.counters.sent.messages(), s.counters.received.messages()
	return out
}

// become notes a change of the state.
func (s *session) become(state bgp.State, change func(*bgp.Session)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.becomeLocked(state, change)
}

// becomeLocked is become with mu held.
func (s *session) becomeLocked(state bgp.State, change func(*bgp.Session)) {
	before := s.status
	if state != before.State {
		s.status.State, s.status.Since = state, time.Now()
	}
	if state != bgp.Established {
		s.status.IPv4, s.status.IPv6 = false, false
	}
	if change != nil {
		change(&s.status)
	}
	if s.status == before {
		return
	}
	said := s.status.Error
	if (state == bgp.Established) != (before.State == bgp.Established) || said != before.Error {
		s.log.Info("BGP session", "state", string(state), "error", said)
	}
	s.router.signal()
}

func (s *session) failed(err error) {
	s.become(bgp.Active, func(x *bgp.Session) { x.Error, x.Local = err.Error(), netip.Addr{} })
}

// announce changes what the router is told.
func (s *session) announce(advertise []bgp.Path, withdraw []netip.Prefix) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range withdraw {
		delete(s.paths, p)
	}
	for _, p := range advertise {
		s.paths[p.Prefix] = p
	}
	if s.speaker == nil {
		return nil
	}
	return s.speaker.announce(advertise, withdraw, s.peer, s.nextHops)
}

// reset ends an Established session at once.
func (s *session) reset(why bgp.Notification) {
	s.mu.Lock()
	r := s.relay
	established := s.status.State == bgp.Established
	s.mu.Unlock()
	if established && r != nil {
		r.end(why, fmt.Errorf("this end has reset the session: %s", why))
	}
}

// stop ends the session for good.
func (s *session) stop(why bgp.Notification) {
	s.cancel() // first: a relay that is about to begin sees it
	s.mu.Lock()
	r := s.relay
	s.mu.Unlock()
	if r != nil {
		r.end(why, errors.New("this end has ended the session"))
	}
	<-s.done
}

// run connects again and again until the context ends.
func (s *session) run(ctx context.Context) {
	defer close(s.done)
	defer s.calls.close()
	if s.after != nil {
		<-s.after
	}
	s.mu.Lock()
	by := s.peer.Interface
	s.mu.Unlock()
	if by != "" {
		s.link = discovery.Open(by, s.log)
		defer s.link.Close()
	}
	for ctx.Err() == nil {
		if err := s.serve(ctx); err != nil {
			s.failed(err)
			wait(ctx, longestPause)
		}
	}
}

// serve has a server for as long as the context lasts.
func (s *session) serve(ctx context.Context) error {
	s.mu.Lock()
	peer := s.peer
	s.mu.Unlock()
	v, err := newSpeaker(peer, s.log)
	if err != nil {
		return err
	}
	defer v.close()
	defer s.uninstall()
	if err := s.install(v, guess(peer)); err != nil {
		return err
	}
	var pause time.Duration
	for ctx.Err() == nil {
		lasted, err := s.once(ctx, v, pause)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errCollision) && s.calls.waiting() {
			continue // with that one
		}
		s.failed(err)
		switch {
		case lasted >= settled:
			pause = 0
		case pause == 0:
			pause = leastPause
		default:
			pause = min(2*pause, longestPause)
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// once has a server speak to the router until one of the two has enough, and says why and how long the session lasted.
func (s *session) once(ctx context.Context, v *speaker, pause time.Duration) (lasted time.Duration, err error) {
	if err := v.begin(); err != nil {
		wait(ctx, leastPause)
		return 0, err
	}
	defer v.finish()
	wait(ctx, pause)
	router, peer, err := s.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer router.Close()
	local := router.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	if err := s.install(v, nextHopsOf(local, peer, true)); err != nil {
		return 0, err
	}
	server, err := v.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer server.Close()
	r := newRelay(peer, router, server, s.counters)
	r.opened = func(m []byte) error { return s.install(v, nextHopsOf(local, peer, takesIPv6NextHop(m))) }
	return s.speak(ctx, v, r, local)
}

// speak has the two speak to each other.
func (s *session) speak(ctx context.Context, v *speaker, r *relay, local netip.Addr) (lasted time.Duration, err error) {
	s.mu.Lock()
	s.relay = r
	s.mu.Unlock()
	if ctx.Err() != nil { // before stop could see it
		return 0, ctx.Err()
	}
	s.become(bgp.OpenSent, func(x *bgp.Session) { x.Local = local.WithZone("") })
	var since time.Time
	v.onEstablished(func(ipv4, ipv6 bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.relay != r {
			return
		}
		since = time.Now()
		ipv4, ipv6 = ipv4 && s.nextHops.ipv4.IsValid(), ipv6 && s.nextHops.ipv6.IsValid()
		s.becomeLocked(bgp.Established, func(x *bgp.Session) { x.IPv4, x.IPv6, x.Error = ipv4, ipv6, cmp.Or(s.incomplete(), x.Error) })
	})
	unfollow, decided := s.follow(r), s.collisions(r)
	err = r.run()
	unfollow()
	decided()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.relay = nil
	if !since.IsZero() {
		lasted = time.Since(since)
	}
	return lasted, err
}

// incomplete says which family is not announced though it is wanted.
func (s *session) incomplete() string {
	for _, f := range []struct {
		wanted        bool
		hop           netip.Addr
		name, besides string
	}{{s.peer.IPv4, s.nextHops.ipv4, "IPv4", ", and the router takes no IPv6 one (RFC 8950)"}, {s.peer.IPv6, s.nextHops.ipv6, "IPv6", ""}} {
		if f.wanted && !f.hop.IsValid() {
			return fmt.Sprintf("the interface of the session has no %s address that could be the next hop%s, so no %s prefix is announced", f.name, f.besides, f.name)
		}
	}
	return ""
}

// install has a server announce all paths, with these next hops.
func (s *session) install(v *speaker, hops nextHops) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.speaker == v && s.nextHops == hops {
		return nil
	}
	s.speaker, s.nextHops = v, hops
	return v.announce(slices.Collect(maps.Values(s.paths)), nil, s.peer, hops)
}

func (s *session) uninstall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.speaker = nil
}

// connect calls the router until it takes the call, and returns the peer with the address that it has.
func (s *session) connect(ctx context.Context) (net.Conn, bgp.Peer, error) {
	for first := true; ; first = false {
		s.mu.Lock()
		peer := s.peer
		s.mu.Unlock()
		if first {
			s.become(bgp.Connect, nil)
		}
		if c, at := s.answer(peer); c != nil {
			return c, at, nil
		}
		if peer.Passive {
			s.become(bgp.Active, nil)
			if s.pause(ctx, time.Hour); ctx.Err() != nil {
				return nil, peer, ctx.Err()
			}
			continue
		}
		peer, err := s.locate(peer)
		if err == nil {
			var conn net.Conn
			if conn, err = s.call(ctx, peer); err == nil || ctx.Err() != nil {
				return conn, peer, err
			}
		}
		if errors.Is(err, errCollision) {
			continue
		}
		s.failed(err)
		pause := peer.ConnectTime
		if pause <= 0 {
			pause = defaultConnectTime
		}
		if s.pause(ctx, pause); ctx.Err() != nil {
			return nil, peer, ctx.Err()
		}
	}
}
