// Package heartbeat watches the paths from this node to others with BFD sessions, one hop each, on the network on which the
// speakers gossip, and says when one falls silent or is there again. A speaker can be kept from a processor for longer than a
// heartbeat takes, so the kernel of a node that is not heard is asked before anything is said. What follows is decided elsewhere.
// It imports internal/bfd only.
package heartbeat

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/udp"
)

// DefaultInterval between two heartbeats. Two that are missed are silence, if the node's kernel does not answer either.
const DefaultInterval = 150 * time.Millisecond

const multiplier = 2

// Heartbeats are the sessions. They are safe for concurrent use.
type Heartbeats struct {
	sessions Sessions
	own      netip.Addr
	interval time.Duration
	log      *slog.Logger
	kernel   func(ctx context.Context, own, peer netip.Addr) error // ask
	changed  chan struct{}                                         // size 1
	ctx      context.Context                                       // of the loops
	stop     context.CancelFunc
	loops    sync.WaitGroup

	// Of Watch, which has one caller.
	watched   []netip.Addr
	complaint string

	mu      sync.Mutex
	changes map[netip.Addr]bool
	doubts  map[netip.Addr]*doubt
	heard   map[netip.Addr]bool // those whose sessions are up
}

// doubt is the question whether a node that is not heard is there.
type doubt struct{ end context.CancelFunc }

// Sessions are BFD sessions, as a udp.Server or a udp.Share has them.
type Sessions interface {
	Sync([]udp.Session) ([]udp.Status, error)
	Changed() <-chan struct{}
	Changes() []udp.Change
}

// New watches nothing yet. Own is the node's address on the network. Close ends the watching; who ends the sessions in the end is
// not said here.
func New(s Sessions, own netip.Addr, interval time.Duration, log *slog.Logger) *Heartbeats {
	h := &Heartbeats{
		sessions: s, own: own, interval: interval, log: log, kernel: ask,
		changed: make(chan struct{}, 1), changes: map[netip.Addr]bool{}, doubts: map[netip.Addr]*doubt{}, heard: map[netip.Addr]bool{},
	}
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.loops.Go(func() {
		for {
			select {
			case <-h.sessions.Changed():
				h.follow(h.sessions.Changes())
			case <-h.ctx.Done():
				return
			}
		}
	})
	return h
}

// Check says what is wrong with an interval; zero is for no heartbeats at all.
func Check(interval time.Duration) error {
	if interval != 0 && (interval < 50*time.Millisecond || interval > 10*time.Second) {
		return fmt.Errorf("%s is not from 50ms to 10s, nor 0 for none", interval)
	}
	return nil
}

// Watch has the paths to these addresses watched, and no others.
func (h *Heartbeats) Watch(addresses []netip.Addr) {
	if slices.Equal(addresses, h.watched) {
		return
	}
	h.watched = slices.Clone(addresses)
	h.mu.Lock()
	maps.DeleteFunc(h.heard, func(a netip.Addr, _ bool) bool { return !slices.Contains(addresses, a) })
	h.mu.Unlock()
	wanted := make([]udp.Session, 0, len(addresses))
	for _, a := range addresses {
		if a.Is4() == h.own.Is4() {
			wanted = append(wanted, udp.Session{
				Key:      udp.Key{Peer: a, Local: h.own},
				Settings: bfd.Settings{Transmit: h.interval, Receive: h.interval, Multiplier: multiplier},
			})
		}
	}
	_, err := h.sessions.Sync(wanted)
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != h.complaint && text != "" {
		h.log.Warn("not all heartbeats run; what they would find out is left to gossip, which takes longer", "error", err)
	}
	h.complaint = text
}

// Changed signals that Changes has something.
func (h *Heartbeats) Changed() <-chan struct{} { return h.changed }

// Changes says of the paths that have come or fallen silent since it was called last how they are now. One whose other end
// says that it does not hear this one is not silent: it is for the other end to draw conclusions. Nor is one that ended on
// purpose, or one to a node whose kernel answers and has a speaker: that is found out by gossip, if it is dead after all.
func (h *Heartbeats) Changes() map[netip.Addr]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.changes
	h.changes = map[netip.Addr]bool{}
	return out
}

// Ask is for a node that another one does not hear any more. This one may hear nothing of it either, as it has just begun to: a
// session takes a second or two to come up (RFC 5880 section 6.8.3), in which it proves nothing. So the node's kernel is asked, and
// if it does not answer the path has fallen silent.
func (h *Heartbeats) Ask(peer netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.heard[peer] && h.doubts[peer] == nil && peer.Is4() == h.own.Is4() {
		h.log.Info("another node does not hear a node, and this one does not yet", "address", peer)
		h.doubt(peer, false)
	}
}

// There asks a node's kernel whether it is there with a speaker.
func (h *Heartbeats) There(ctx context.Context, peer netip.Addr) bool {
	return h.kernel(ctx, h.own, peer) == nil
}

// follow takes what the sessions say.
func (h *Heartbeats) follow(changes []udp.Change) {
	h.mu.Lock()
	for _, c := range changes {
		if c.To == bfd.Up {
			h.heard[c.Peer] = true
		} else {
			delete(h.heard, c.Peer)
		}
	}
	h.mu.Unlock()
	h.take(heard(changes))
}

// take takes how paths are.
func (h *Heartbeats) take(changes map[netip.Addr]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for peer, up := range changes {
		d := h.doubts[peer]
		switch {
		case up:
			if d != nil {
				d.end()
				delete(h.doubts, peer)
			}
			h.report(peer, true)
		case d == nil:
			h.doubt(peer, true)
		}
	}
}

// doubt begins to ask a node's kernel, once or until it is known how it is. The caller holds mu.
func (h *Heartbeats) doubt(peer netip.Addr, again bool) {
	ctx, end := context.WithCancel(h.ctx)
	d := &doubt{end}
	h.doubts[peer] = d
	h.loops.Go(func() { h.resolve(ctx, peer, d, again) })
}

// report notes how a path is now. The caller holds mu.
func (h *Heartbeats) report(peer netip.Addr, up bool) {
	h.changes[peer] = up
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// resolve asks the kernel of a node that is not heard, once or until it does not answer or the node is heard again.
func (h *Heartbeats) resolve(ctx context.Context, peer netip.Addr, d *doubt, again bool) {
	defer d.end()
	for first := true; ; first = false {
		err := h.kernel(ctx, h.own, peer)
		if err != nil || !again {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.doubts[peer] == d && ctx.Err() == nil {
				delete(h.doubts, peer)
				if err != nil {
					h.log.Info("a node is not heard, and is not there", "address", peer, "error", err)
					h.report(peer, false)
				}
			}
			return
		}
		if first {
			h.log.Info("a node is not heard, and its kernel answers: its speaker gets no processor", "address", peer)
		}
		select {
		case <-time.After(h.interval):
		case <-ctx.Done():
			return
		}
	}
}

// heard is what the sessions say of the paths.
func heard(changes []udp.Change) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, c := range changes {
		switch {
		case c.To == bfd.Up:
			out[c.Peer] = true
		case c.Failed && c.Diagnostic == bfd.DetectionTimeExpired:
			out[c.Peer] = false
		}
	}
	return out
}

// Close ends the watching.
func (h *Heartbeats) Close() {
	h.stop()
	h.loops.Wait()
}
