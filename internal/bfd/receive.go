package bfd

import "time"

// Receive takes a packet that Parse has taken and that is this session's: by Your Discriminator or, where that is zero, by
// its addresses (section 6.8.6, whose order it keeps).
func (s *Session) Receive(p Packet, now time.Time) (Output, Drop) {
	s.remote, s.remoteState, s.remoteDiag = p.Mine, p.State, p.Diagnostic
	s.remoteDemand, s.remoteIndependent = p.Demand, p.ControlPlaneIndependent
	s.remoteMinRx, s.remoteTx, s.remoteMultiplier = p.RequiredMinRx, p.DesiredMinTx, p.Multiplier
	s.received++
	s.followPoll(p.Final, now)
	s.lastRx, s.excused = now, false
	s.detectAt = now.Add(s.detectionTime())
	s.follow()
	if s.state == AdminDown {
		s.adminDrops++
		return Output{}, DropAdminDown
	}
	var out Output
	if state, diag := s.next(p.State); state != s.state {
		out = s.become(state, diag, now)
	}
	if p.Poll { // the answer says all that the news would have said
		if out.Send {
			s.sent--
		}
		out.Packet, out.Send = s.final(), true
	}
	return out, Taken
}

// followPoll takes a Poll Sequence further.
func (s *Session) followPoll(final bool, now time.Time) {
	switch {
	case final && s.poll == polling:
		s.endPoll(now)
	case !final && s.poll == pollEnded:
		s.poll = noPoll
		s.offer(now) // what was configured meanwhile
		if s.pollAgain && s.poll == noPoll {
			s.startPoll(now)
		}
		s.pollAgain = false
	}
}

// next is the state machine of section 6.2 as section 6.8.6 words it, and the reason of the change.
func (s *Session) next(remote State) (State, Diagnostic) {
	switch {
	case remote == AdminDown && s.state != Down:
		return Down, NeighborSignaledDown
	case remote == AdminDown:
	case s.state == Down && remote == Down:
		return Init, NoDiagnostic
	case s.state == Down && remote == Init,
		s.state == Init && (remote == Init || remote == Up):
		return Up, NoDiagnostic
	case s.state == Up && remote == Down:
		return Down, NeighborSignaledDown
	}
	return s.state, s.localDiag
}
