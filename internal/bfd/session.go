package bfd

import "time"

// slowest is the least DesiredMinTxInterval of a session that is not Up (section 6.8.3).
const slowest = time.Second

// Settings are what a session is configured with. All of them can change at any time without a change of state.
type Settings struct {
	// Transmit and Receive are the intervals that this end would like to send at and is ready to receive at, once the
	// session is Up. They must be more than zero and fit into 32 bits of microseconds.
	Transmit, Receive time.Duration
	// Multiplier is the number of packets that the peer may miss, 1 to 255.
	Multiplier uint8
	// Passive: this end sends nothing before it has heard the peer (section 6.1).
	Passive bool
	// ControlPlaneIndependent says to the peer that this BFD lives on when the control plane does not (section 4.1).
	ControlPlaneIndependent bool
	// AdminDown holds the session down on purpose, and says so to the peer (section 6.8.16).
	AdminDown bool
}

// Session is one session's state machine. It is not safe for concurrent use.
//
// Its names are those of section 6.8.1. Where a changed interval may not be used before the peer has confirmed it, what is
// said (desiredTx, requiredRx) and what is used differ for the time of a Poll Sequence.
type Session struct {
	settings Settings
	random   func() float64

	local, remote          uint32 // bfd.LocalDiscr, bfd.RemoteDiscr
	state, remoteState     State
	localDiag, remoteDiag  Diagnostic
	desiredTx, usedTx      time.Duration // bfd.DesiredMinTxInterval
	requiredRx, usedRx     time.Duration // bfd.RequiredMinRxInterval
	remoteMinRx, remoteTx  time.Duration // bfd.RemoteMinRxInterval; Desired Min TX Interval of the peer
	remoteMultiplier       uint8
	remoteDemand           bool // bfd.RemoteDemandMode
	remoteIndependent      bool
	poll                   poll
	pollAgain              bool          // something changed that the sequence under way may have come too early for
	lastTx, nextTx         time.Time     // nextTx is zero while nothing is to be sent
	pace                   time.Duration // the interval that nextTx was made with
	lastRx, detectAt       time.Time     // detectAt is zero while no silence is being measured
	excused                bool          // the detection was put off once since lastRx
	since                  time.Time
	lastDown               time.Time
	lastDownDiag           Diagnostic
	received, sent         uint64
	ups, downs, adminDrops uint64
}

// poll is how far a Poll Sequence is (section 6.5).
type poll uint8

const (
	noPoll poll = iota
	polling
	// pollEnded: the Final has come, and a packet without Final has not: until then another sequence's Final could be
	// mistaken for this one's (section 6.8.3, the last paragraph).
	pollEnded
)

// Output is what follows from an input.
type Output struct {
	// Packet is to be sent at once if Send is set.
	Packet Packet
	Send   bool
	// Changed says that the state is now another one; From is the one before.
	Changed bool
	From    State
}

// firstWithin keeps sessions that are made together from sending together.
const firstWithin = 100 * time.Millisecond

// New makes a session that is Down; its first packet is due within a tenth of a second. The discriminator must not be
// zero, must not be another session's, and should be unpredictable. random gives numbers from 0 to less than 1 and makes
// the jitter.
func New(discriminator uint32, set Settings, random func() float64, now time.Time) *Session {
	s := &Session{
		settings: set, random: random, local: discriminator,
		state: Down, remoteState: Down, remoteMinRx: time.Microsecond,
		since: now,
	}
	if set.AdminDown {
		s.state, s.localDiag = AdminDown, AdministrativelyDown
	}
	s.offer(now)
	s.schedule()
	if !s.nextTx.IsZero() {
		s.nextTx = now.Add(time.Duration(random() * float64(firstWithin)))
	}
	return s
}

// Configure changes the settings. Intervals of a session that is Up are changed by a Poll Sequence (section 6.8.3); the
// state changes only with AdminDown.
func (s *Session) Configure(set Settings, now time.Time) Output {
	if set == s.settings {
		return Output{}
	}
	from := s.settings
	s.settings = set
	switch {
	case set.AdminDown && s.state != AdminDown:
		return s.become(AdminDown, AdministrativelyDown, now)
	case !set.AdminDown && s.state == AdminDown:
		return s.become(Down, NoDiagnostic, now)
	}
	s.offer(now)
	if from.Multiplier != set.Multiplier || from.ControlPlaneIndependent != set.ControlPlaneIndependent {
		s.tellSleeper(now)
	}
	s.follow()
	return Output{}
}

// tellSleeper makes sure that a peer in Demand mode, which gets no periodic packets, learns of a change (section 6.6).
func (s *Session) tellSleeper(now time.Time) {
	switch {
	case !s.remoteDemand || s.state != Up:
	case s.poll == noPoll:
		s.startPoll(now)
	default:
		s.pollAgain = true
	}
}

// become changes the state, and tells the peer at once rather than with the next periodic packet (section 6.8.7).
func (s *Session) become(state State, diag Diagnostic, now time.Time) Output {
	from := s.state
	s.state, s.localDiag, s.since = state, diag, now
	switch {
	case state == Up:
		s.ups++
	case from == Up:
		s.downs++
		s.lastDown, s.lastDownDiag = now, diag
	}
	s.offer(now)
	if state == Up && s.poll == noPoll {
		s.startPoll(now) // even where no interval changes: see offer
	}
	out := Output{Changed: true, From: from}
	if s.remote != 0 || !s.settings.Passive { // also to a peer that wants no periodic packets: this one is none
		out.Packet, out.Send = s.transmit(now), true
	} else {
		s.schedule()
	}
	return out
}

// offer brings the intervals that the peer is told in line with the settings and the state, and begins a Poll Sequence
// where section 6.8.3 wants one. One sequence carries one set of values: what changes meanwhile waits for the next.
//
// A session that is not Up does not poll: everything it says counts at once, and the sequence with which it comes Up
// makes sure of both intervals, whatever was changed before and lost on the way.
func (s *Session) offer(now time.Time) {
	tx, rx := clamp(s.settings.Transmit), clamp(s.settings.Receive)
	if s.state != Up {
		s.desiredTx = max(tx, slowest)
		s.usedTx, s.requiredRx, s.usedRx = s.desiredTx, rx, rx
		s.poll, s.pollAgain = noPoll, false
		s.redo(now)
		return
	}
	if s.poll != noPoll || s.desiredTx == tx && s.requiredRx == rx {
		return
	}
	s.desiredTx, s.requiredRx = tx, rx
	s.startPoll(now)
}

// startPoll begins a Poll Sequence. An interval that makes this end faster, or slower to judge, is used from now on; the
// others when the peer has confirmed them (section 6.8.3).
func (s *Session) startPoll(now time.Time) {
	s.poll = polling
	s.usedTx = min(s.usedTx, s.desiredTx)
	s.usedRx = max(s.usedRx, s.requiredRx)
	s.redo(now)
}

// endPoll is for the Final of the peer.
func (s *Session) endPoll(now time.Time) {
	s.poll = pollEnded
	s.usedTx, s.usedRx = s.desiredTx, s.requiredRx
	s.redo(now)
}

// redo has both timers follow changed intervals, measured from the last packet in each direction.
func (s *Session) redo(now time.Time) {
	if !s.detectAt.IsZero() {
		s.detectAt = s.lastRx.Add(s.detectionTime())
		if s.detectAt.Before(now) { // the change is no reason to judge: give the new time a chance
			s.detectAt = now
		}
	}
	s.follow()
}

func clamp(d time.Duration) time.Duration {
	return min(max(d.Truncate(time.Microsecond), time.Microsecond), longest)
}
