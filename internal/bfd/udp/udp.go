// Package udp runs BFD sessions over UDP: single hop as RFC 5881 says and multihop as RFC 5883 says, IPv4 and IPv6. It owns
// the sockets, a few that all sessions share, the thread that waits on them, and the takeover from one process to the next.
// What a session does is decided in package bfd, which is all that it imports besides the standard library and golang.org/x.
// It needs no capability.
//
// One thread does everything: it waits for packets, wake-ups and the next deadline, reads what there is, and only then
// judges who is silent. So a process that had no processor for a while never takes a peer for dead whose packets wait.
package udp

import (
	"cmp"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"metallb.io/operator/internal/bfd"
)

// Ports of Control packets (RFC 5881 section 4, RFC 5883 section 5).
const (
	PortSingleHop = 3784
	PortMultihop  = 4784
)

// ErrClosed is what a closed Server answers.
var ErrClosed = errors.New("the BFD server is closed")

// Key tells sessions apart: there is one between two addresses for each kind (RFC 5881 section 3, RFC 5883 section 3).
type Key struct {
	// Peer is the other end. A link-local address has its zone, the name of the interface.
	Peer netip.Addr
	// Local is this end's address, the source of what is sent. It may be left out: then the routing table says, and what
	// the peer sends to any address of this node counts.
	Local netip.Addr
	// Multihop: the peer is more than one hop away.
	Multihop bool
	// VRF is the device that the session's sockets are bound to, a VRF or an interface; empty: none.
	VRF string
}

// Name is the session in words.
func (k Key) Name() string {
	text := k.Peer.String()
	if k.Local.IsValid() {
		text = k.Local.WithZone("").String() + "-" + text
	}
	if k.Multihop {
		text += " multihop"
	}
	if k.VRF != "" {
		text += " in " + k.VRF
	}
	return text
}

func compareKeys(a, b Key) int {
	multihop := func(k Key) int {
		if k.Multihop {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.VRF, b.VRF), a.Peer.Compare(b.Peer), a.Local.Compare(b.Local), cmp.Compare(multihop(a), multihop(b)))
}

// Session is a session that is wanted.
type Session struct {
	Key
	bfd.Settings
	// MinimumTTL is the least TTL of a multihop packet that is taken, 1 to 255: what is 255 when it is sent has come over
	// 255 less MinimumTTL routers at most. 0 stands for 254. Of a single hop it is always 255 (RFC 5881 section 5).
	MinimumTTL int
}

// Status is what became of a session. Of the metrics that users of MetalLB know, session_up is State, the control packets'
// counters are Received and Sent, the events' are Ups and Downs; there is no echo, and there is no zebra to notify.
type Status struct {
	Key
	bfd.Status
	// Waiting: another process of this node still has the sessions; this one sends nothing until that one ends.
	Waiting bool
	// Dropped are packets that were for this session and were not taken, by bfd.Drop.
	Dropped [bfd.Drops]uint64
	// SendErrors counts packets that the kernel did not take.
	SendErrors uint64
	// Err is why the session does not run, or why its last packet was not sent.
	Err error
}

// Change says how a session's state has changed since it was asked for last.
type Change struct {
	Key
	// From is the state at that time, To the state now.
	From, To bfd.State
	// Diagnostic and Remote are as they were at the last change.
	Diagnostic bfd.Diagnostic
	Remote     bfd.Remote
	At         time.Time
	// Failed: meanwhile the session was Up and ceased to be, and neither end wanted that. A protocol that relies on the
	// session has lost its path, even if the session is Up again. AdminDown of either end is not a failure (RFC 5882
	// section 4.2).
	Failed bool
}

// Options of a Server. The zero value is fit for use.
type Options struct {
	// Log is told of takeovers and sockets; nil: nobody is.
	Log *slog.Logger
	// Lock is the name in the abstract namespace of Unix sockets by which the processes of a node find each other; empty:
	// that of this project.
	Lock string
}

// Server runs sessions.
type Server struct {
	log  *slog.Logger
	lock string

	requests chan func(*engine)
	changed  chan struct{}

	mu      sync.Mutex // guards what follows; it is never held for longer than a few instructions
	pending map[Key]Change
	order   []Key
	closed  bool
	engine  *running
}

// New returns a Server without a session. It opens nothing before there is one.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{
		log: o.Log, lock: cmp.Or(o.Lock, "@metallb.io/bfd"),
		changed: make(chan struct{}, 1), pending: map[Key]Change{},
	}
}

// Changed signals that Changes has something.
func (s *Server) Changed() <-chan struct{} { return s.changed }

// Changes returns what has changed since it was called last, one Change a session, in the order in which they first did.
// Nothing is lost between two calls but intermediate states: Failed says what they would have said.
func (s *Server) Changes() []Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Change, 0, len(s.order))
	for _, k := range s.order {
		out = append(out, s.pending[k])
	}
	clear(s.pending)
	s.order = s.order[:0]
	return out
}

// report is called by the engine.
func (s *Server) report(c Change) {
	s.mu.Lock()
	if before, ok := s.pending[c.Key]; ok {
		c.From, c.Failed = before.From, c.Failed || before.Failed
	} else {
		s.order = append(s.order, c.Key)
	}
	s.pending[c.Key] = c
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Dropped are the packets that were no session's, by bfd.Drop.
func (s *Server) Dropped() (out [bfd.Drops]uint64) {
	_ = s.do(func(e *engine) { out = e.dropped })
	return out
}

// Status returns the status of all sessions that are wanted, in order.
func (s *Server) Status() (out []Status) {
	_ = s.do(func(e *engine) { out = e.statuses() })
	return out
}
