// Package sessions has the BGP sessions of this node run, each with a BFD session beside it where one is wanted. When BFD
// says that the path is gone, the BGP session ends at once, without waiting for anybody to plan anything; that it did is
// part of what is observed. It imports internal/bgp and internal/bfd only.
package sessions

import (
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/internal/bgp"
)

// Peer is a session that is wanted.
type Peer struct {
	bgp.Wanted
	// BFD is what watches the path; nil: nothing does.
	BFD *BFD
}

// BFD of a peer.
type BFD struct {
	bfd.Settings
	// MinimumTTL of packets of a peer that is more than one hop away.
	MinimumTTL int
}

// Observed is what became of a peer.
type Observed struct {
	bgp.Observed
	// Planned are the paths that the peer is to be told of; Paths are those that have got as far as its session.
	Planned []bgp.Path
	// BFD is nil where none is wanted.
	BFD *udp.Status
}

// Engine runs BGP sessions, as package engine does.
type Engine interface {
	Sync([]bgp.Wanted)
	Observed() []bgp.Observed
	Changed() <-chan struct{}
	Reset(peer string, why bgp.Notification)
}

// Listener accepts connections that peers open, as a tcp.Listener does.
type Listener interface {
	Sync([]bgp.Peer) error
}

// Watch runs BFD sessions, as a udp.Share does.
type Watch interface {
	Sync([]udp.Session) ([]udp.Status, error)
	Status() []udp.Status
	Changes() []udp.Change
	Changed() <-chan struct{}
}

// Sessions are those of this node. They are safe for concurrent use.
type Sessions struct {
	engine  Engine
	watch   Watch
	listen  Listener // nil: peers open none
	log     *slog.Logger
	changed chan struct{}
	done    chan struct{}
	over    sync.WaitGroup

	mu        sync.Mutex
	peers     []Peer
	planned   map[string][]bgp.Path // by peer
	keys      map[string]udp.Key    // of the peers' BFD sessions, by name
	synced    []udp.Session
	complaint string
	admitted  []bgp.Peer
	unheard   string // what the Listener complains of
}

// New returns Sessions with no peer; without a Listener, if that is nil. Close ends them, and none of what they are made of.
func New(e Engine, w Watch, l Listener, log *slog.Logger) *Sessions {
	s := &Sessions{engine: e, watch: w, listen: l, log: log, changed: make(chan struct{}, 1), done: make(chan struct{}), keys: map[string]udp.Key{}}
	s.over.Go(s.follow)
	return s
}

// Sync says which sessions are wanted. It does not wait for them.
func (s *Sessions) Sync(peers []Peer) {
	wanted := make([]bgp.Wanted, len(peers))
	for i := range peers {
		wanted[i] = peers[i].Wanted
	}
	s.engine.Sync(wanted)
	s.admit(wanted)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers = peers
	s.planned = make(map[string][]bgp.Path, len(peers))
	for _, p := range peers {
		s.planned[p.Name] = p.Paths
	}
	s.look()
}

// admit says who may open connections.
func (s *Sessions) admit(wanted []bgp.Wanted) {
	if s.listen == nil {
		return
	}
	peers := make([]bgp.Peer, len(wanted))
	for i := range wanted {
		peers[i] = wanted[i].Peer
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(peers, s.admitted) && s.unheard == "" {
		return
	}
	s.admitted = peers
	s.complain(&s.unheard, "not all BGP peers can open connections", s.listen.Sync(peers))
}

// complain logs an error, once for as long as it lasts: last is what was logged; mu is held.
func (s *Sessions) complain(last *string, message string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != *last && text != "" {
		s.log.Warn(message, "error", text)
	}
	*last = text
}

// look has the paths to all peers watched of which it is known where they are; mu is held.
func (s *Sessions) look() {
	found := map[string]netip.Addr{}
	if slices.ContainsFunc(s.peers, func(p Peer) bool { return p.BFD != nil && p.Interface != "" }) {
		for _, o := range s.engine.Observed() {
			found[o.Name] = o.Session.Found
		}
	}
	clear(s.keys)
	var watched []udp.Session
	for _, p := range s.peers {
		at := p.Address
		if p.Interface != "" {
			at = found[p.Name]
		}
		if p.BFD == nil || !at.IsValid() {
			continue
		}
		k := udp.Key{Peer: at, Local: p.Source, Multihop: p.Distant(), VRF: p.Device}
		s.keys[p.Name] = k
		watched = append(watched, udp.Session{Key: k, Settings: p.BFD.Settings, MinimumTTL: p.BFD.MinimumTTL})
	}
	if slices.Equal(watched, s.synced) && s.complaint == "" {
		return
	}
	_, err := s.watch.Sync(watched)
	s.synced = watched
	s.complain(&s.complaint, "not all BFD sessions of BGP peers run", err)
}

// Observed says what became of the peers, sorted by name.
func (s *Sessions) Observed() []Observed {
	var paths []udp.Status
	s.mu.Lock()
	keys, planned := maps.Clone(s.keys), s.planned
	s.mu.Unlock()
	if len(keys) > 0 {
		paths = s.watch.Status()
	}
	all := s.engine.Observed()
	out := make([]Observed, len(all))
	for i, o := range all {
		out[i].Observed, out[i].Planned = o, planned[o.Name]
		if o.Passive && s.listen == nil && o.Session.Error == "" {
			out[i].Session.Error = notListening
		}
		k, ok := keys[o.Name]
		if !ok {
			continue
		}
		for j := range paths {
			if paths[j].Key == k {
				out[i].BFD = &paths[j]
			}
		}
	}
	return out
}

// notListening is what is wrong with a peer that is to open the connection itself, and cannot.
const notListening = "the peer is to open the connection (passiveMode), and the speakers do not listen: write spec.bgp.listenPort in the MetalLB resource"

// Changed signals that Observed has something new.
func (s *Sessions) Changed() <-chan struct{} { return s.changed }

// bfdDown is what is said to a peer whose path is gone, in case it hears it (RFC 9384).
var bfdDown = bgp.Notification{Code: bgp.Cease, Subcode: 10}

// follow has BGP sessions end with their paths.
func (s *Sessions) follow() {
	for {
		select {
		case <-s.done:
			return
		case <-s.engine.Changed():
			s.mu.Lock()
			s.look() // a router may have been found
			s.mu.Unlock()
		case <-s.watch.Changed():
			for _, c := range s.watch.Changes() {
				if c.Failed {
					s.failed(c)
				}
			}
		}
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}

// failed ends the session of which the path is gone. That of a peer that has said before that it goes, with AdminDown, has no
// failed path (RFC 5882, section 4.2).
func (s *Sessions) failed(c udp.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, k := range s.keys {
		if k == c.Key {
			s.log.Warn("BFD: the path to a BGP peer is gone", "peer", name, "diagnostic", c.Diagnostic.String())
			s.engine.Reset(name, bfdDown)
		}
	}
}

// Close ends what is done beside the callers.
func (s *Sessions) Close() {
	close(s.done)
	s.over.Wait()
}
