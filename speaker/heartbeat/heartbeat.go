// Package heartbeat watches the paths from this node to others with BFD sessions, one hop each, on the network on which the
// speakers gossip, and says when one falls silent or is there again. What follows from that is decided elsewhere. It
// imports internal/bfd only.
package heartbeat

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/udp"
)

// DefaultInterval between two heartbeats. Three that are missed are silence.
const DefaultInterval = 150 * time.Millisecond

const (
	multiplier = 3
	// farewell is how long to wait for the other ends to hear that this one goes on purpose.
	farewell = 300 * time.Millisecond
)

// Heartbeats are the sessions. They are safe for concurrent use.
type Heartbeats struct {
	server   *udp.Server
	own      netip.Addr
	interval time.Duration
	log      *slog.Logger

	// Of Watch, which has one caller.
	watched   []netip.Addr
	complaint string
}

// New watches nothing yet. Own is the node's address on the network.
func New(own netip.Addr, interval time.Duration, log *slog.Logger) *Heartbeats {
	return &Heartbeats{server: udp.New(udp.Options{Log: log}), own: own, interval: interval, log: log}
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
	wanted := make([]udp.Session, 0, len(addresses))
	for _, a := range addresses {
		if a.Is4() == h.own.Is4() {
			wanted = append(wanted, udp.Session{
				Key:      udp.Key{Peer: a, Local: h.own},
				Settings: bfd.Settings{Transmit: h.interval, Receive: h.interval, Multiplier: multiplier},
			})
		}
	}
	_, err := h.server.Sync(wanted)
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
func (h *Heartbeats) Changed() <-chan struct{} { return h.server.Changed() }

// Changes says of the paths that have come or fallen silent since it was called last how they are now. One whose other end
// says that it does not hear this one is not silent: it is for the other end to draw conclusions. Nor is one that ended on
// purpose.
func (h *Heartbeats) Changes() map[netip.Addr]bool { return alive(h.server.Changes()) }

func alive(changes []udp.Change) map[netip.Addr]bool {
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

// Close ends the sessions, so that the other ends see that it is on purpose; where another process of this node waits for
// them, it goes on with them.
func (h *Heartbeats) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	if err := h.server.Close(ctx); err != nil {
		h.log.Warn("cannot end the heartbeats", "error", err)
	}
}
