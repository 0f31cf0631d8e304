package udp

import (
	"container/heap"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/bfd"
)

// retryAfter is how long a session that could not begin, for want of an interface or a port, waits for the next attempt.
const retryAfter = time.Second

// engine is everything that the loop's thread alone touches.
type engine struct {
	server *Server
	place  place
	// blocked is why this process cannot even stand in line.
	blocked error
	// inherited is what the process before this one had, while this one waits, or until it has taken it over.
	inherited table

	sessions  map[Key]*session // those that are wanted, and those that are leaving
	byNumber  map[uint32]*session
	byAddress map[endpoints]*session
	timers    timers
	receivers map[kind]int
	senders   map[sender]*transmitter
	inbox     *inbox
	dropped   [bfd.Drops]uint64
	retryAt   time.Time // zero: nothing to retry
	scratch   []byte

	news func() // tells the successors that the table has changed
	stop bool
	idle chan struct{} // closed when no session is left; nil: nobody asks
}

// session is one that is wanted or leaving. It has no machine while it cannot run.
type session struct {
	want    Session
	machine *bfd.Session
	err     error

	at         endpoints
	index      int // of the interface of a link-local peer
	name       unix.RawSockaddrInet6
	nameLength uint32
	control    []byte
	via        *transmitter

	due      time.Time
	position int // in timers; -1: not there
	leaving  bool
	leaveAt  time.Time

	dropped    [bfd.Drops]uint64
	sendErrors uint64
}

// endpoints are what a packet without Your Discriminator shows of its session (RFC 5881 section 3, RFC 5883 section 4).
type endpoints struct {
	peer, local netip.Addr // without zones; local is invalid where it does not matter
	index       int        // the interface, of a link-local peer
	multihop    bool
	vrf         string
}

type transmitter struct {
	fd   int
	port uint16
	box  outbox
}

func newEngine(s *Server) *engine {
	return &engine{
		server: s, sessions: map[Key]*session{}, byNumber: map[uint32]*session{}, byAddress: map[endpoints]*session{},
		receivers: map[kind]int{}, senders: map[sender]*transmitter{}, inbox: newInbox(), news: func() {},
	}
}

// canonical checks a wanted session and brings its addresses into the form that keys have.
func canonical(w Session) (Session, error) {
	w.Peer, w.Local = w.Peer.Unmap(), w.Local.Unmap().WithZone("")
	if w.MinimumTTL == 0 {
		w.MinimumTTL = 254
	}
	var problem string
	switch {
	case !w.Peer.IsValid() || w.Peer.IsUnspecified() || w.Peer.IsMulticast():
		problem = "the peer's address is not that of a machine"
	case w.Local.IsValid() && w.Local.Is4() != w.Peer.Is4():
		problem = "the two addresses are not of the same family"
	case w.Local.IsValid() && (w.Local.IsUnspecified() || w.Local.IsMulticast()):
		problem = "the local address is not that of a machine"
	case w.Peer.Is6() && w.Peer.IsLinkLocalUnicast() && (w.Peer.Zone() == "" || w.Multihop):
		problem = "a link-local peer needs its interface, as in fe80::1%eth0, and is one hop away"
	case w.Transmit <= 0 || w.Receive <= 0 || w.Multiplier == 0:
		problem = "both intervals and the multiplier must be more than zero"
	case w.MinimumTTL < 1 || w.MinimumTTL > 255:
		problem = "the least TTL is a number from 1 to 255"
	default:
		return w, nil
	}
	return w, fmt.Errorf("BFD session %s: %s", w.Name(), problem)
}

// apply makes the desired sessions those that run, as far as they can.
func (e *engine) apply(desired []Session, now time.Time) ([]Status, error) {
	var errs []error
	wanted := map[Key]bool{}
	for _, w := range desired {
		w, err := canonical(w)
		if err == nil && wanted[w.Key] {
			err = fmt.Errorf("BFD session %s is there twice", w.Name())
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		wanted[w.Key] = true
		e.want(w, now)
		if s := e.sessions[w.Key]; s.machine == nil && s.err != nil {
			errs = append(errs, s.err)
		}
	}
	for k, s := range e.sessions {
		if !wanted[k] && !s.leaving {
			e.leave(s, now)
		}
	}
	e.news()
	return e.statuses(), errors.Join(errs...)
}

// want has a session run with these settings. One that runs is never reset by that.
func (e *engine) want(w Session, now time.Time) {
	s := e.sessions[w.Key]
	if s == nil {
		s = &session{want: w, position: -1}
		e.sessions[w.Key] = s
	}
	s.want, s.leaving, s.leaveAt = w, false, time.Time{}
	if s.machine == nil {
		e.begin(s, now)
		return
	}
	e.relocate(s) // its interface may have been made anew
	e.took(s, s.machine.Configure(w.Settings, now), now)
}

// leave tells the peer that the session ends on purpose, for a Detection Time of the peer or until it has heard it
// (RFC 5880 section 6.8.16).
func (e *engine) leave(s *session, now time.Time) {
	if s.machine == nil || s.machine.Remote().Discriminator == 0 {
		e.remove(s) // nobody knows of it
		return
	}
	s.leaving = true
	set := s.want.Settings
	set.AdminDown = true
	out := s.machine.Configure(set, now)
	s.leaveAt = now.Add(time.Duration(set.Multiplier) * s.machine.Status().TransmitInterval) // the peer's Detection Time
	e.send(s, out)                                                                           // nobody wants to be told of the change
	e.rearm(s)
}

// begin makes a session run, or says why it does not. Where another process has the sessions it only makes sure of the
// socket.
func (e *engine) begin(s *session, now time.Time) {
	s.err = e.tryBegin(s, now)
	if s.err != nil && e.retryAt.IsZero() {
		e.retryAt = now.Add(retryAfter)
	}
}

func (e *engine) tryBegin(s *session, now time.Time) error {
	if err := e.listen(kindOf(s.want.Key)); err != nil {
		return fmt.Errorf("BFD session %s: %w", s.want.Name(), err)
	}
	if e.place != owner {
		return nil
	}
	via, err := e.sender(kindOf(s.want.Key).sender())
	if err == nil {
		s.via = via
		err = e.locate(s)
	}
	if err != nil {
		return fmt.Errorf("BFD session %s: %w", s.want.Name(), err)
	}
	if from, ok := e.inherited.take(s.want.Key); ok && e.byNumber[from.Discriminator] == nil {
		machine, out := bfd.Resume(from, s.want.Settings, mathrand.Float64, now)
		e.register(s, machine)
		e.took(s, out, now)
		return nil
	}
	e.register(s, bfd.New(e.discriminator(), s.want.Settings, mathrand.Float64, now))
	e.rearm(s)
	return nil
}

func (e *engine) register(s *session, machine *bfd.Session) {
	s.machine = machine
	e.byNumber[machine.Discriminator()] = s
	e.byAddress[s.at] = s
}

// locate finds the interface of a link-local peer, and prepares what every packet needs.
func (e *engine) locate(s *session) error {
	k := s.want.Key
	index := 0
	if zone := k.Peer.Zone(); zone != "" {
		ifi, err := net.InterfaceByName(zone)
		if err != nil {
			return fmt.Errorf("interface %s: %w", zone, err)
		}
		index = ifi.Index
	}
	s.index = index
	s.at = endpoints{peer: k.Peer.WithZone(""), local: k.Local, index: index, multihop: k.Multihop, vrf: k.VRF}
	s.name, s.nameLength = destination(s.at.peer, uint16(kindOf(k).port()), index)
	s.control = source(k.Local, s.at.peer, index)
	return nil
}

// relocate follows an interface that has another number now. One that is gone is left as it was.
func (e *engine) relocate(s *session) {
	if s.index == 0 {
		return
	}
	before := s.at
	if err := e.locate(s); err != nil {
		s.err = err
		return
	}
	if before != s.at {
		delete(e.byAddress, before)
		e.byAddress[s.at] = s
	}
}

// discriminator is a number that nobody can guess and no session has (RFC 5880 section 6.8.1).
func (e *engine) discriminator() uint32 {
	for {
		var b [4]byte
		_, _ = rand.Read(b[:]) // it never fails
		n := binary.NativeEndian.Uint32(b[:])
		if n != 0 && e.byNumber[n] == nil {
			return n
		}
	}
}

func (e *engine) remove(s *session) {
	delete(e.sessions, s.want.Key)
	if s.position >= 0 {
		heap.Remove(&e.timers, s.position)
	}
	if s.machine != nil {
		delete(e.byNumber, s.machine.Discriminator())
		if e.byAddress[s.at] == s {
			delete(e.byAddress, s.at)
		}
	}
	if len(e.sessions) == 0 && e.idle != nil {
		close(e.idle)
		e.idle = nil
	}
}

func (e *engine) listen(k kind) error {
	if _, there := e.receivers[k]; there || e.place == outside || e.place == next && !slices.Contains(e.inherited.Kinds, k) {
		return nil
	}
	how := alone
	for other := range e.receivers {
		if other.V6 == k.V6 && other.Multihop == k.Multihop {
			how = beside
		}
	}
	if e.place == next {
		how = joining
	}
	fd, err := listen(k, how)
	if err == nil {
		e.receivers[k] = fd
	}
	return err
}

func (e *engine) sender(k sender) (*transmitter, error) {
	if t := e.senders[k]; t != nil {
		return t, nil
	}
	fd, port, err := send(k, e.inherited.port(k))
	if err != nil {
		return nil, err
	}
	e.senders[k] = &transmitter{fd: fd, port: port}
	return e.senders[k], nil
}

// statuses are those of the wanted sessions, in order.
func (e *engine) statuses() []Status {
	var out []Status
	for _, k := range slices.SortedFunc(maps.Keys(e.sessions), compareKeys) {
		s := e.sessions[k]
		if s.leaving {
			continue
		}
		st := Status{Key: k, Waiting: e.place != owner, Dropped: s.dropped, SendErrors: s.sendErrors, Err: s.err}
		if s.machine != nil {
			st.Status = s.machine.Status()
		} else {
			st.State, st.Err = bfd.Down, errors.Join(s.err, e.blocked)
		}
		out = append(out, st)
	}
	return out
}

func (e *engine) close() {
	for _, fd := range e.receivers {
		_ = unix.Close(fd)
	}
	for _, t := range e.senders {
		_ = unix.Close(t.fd)
	}
}
