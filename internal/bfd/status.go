package bfd

import "time"

// Status is what is known of a session.
type Status struct {
	State State
	// Since is when the session came into this state.
	Since time.Time
	// Diagnostic is the reason for the state, as the peer is told.
	Diagnostic Diagnostic
	// LastDown and LastDownDiagnostic are of the last time that the session ceased to be Up; zero if it never did.
	LastDown           time.Time
	LastDownDiagnostic Diagnostic
	// Discriminator is this end's.
	Discriminator uint32
	// Remote is what the peer said last. Its discriminator is 0 while it is silent.
	Remote Remote
	// TransmitInterval is what is agreed on for this end, before jitter; DetectionTime is the silence of the peer after
	// which it counts as gone, 0 until it was heard once.
	TransmitInterval, DetectionTime time.Duration
	// Polling: changed intervals are not confirmed by the peer yet.
	Polling bool
	// Received and Sent are packets; Ups and Downs count how often the session came to be Up and ceased to be.
	Received, Sent, Ups, Downs uint64
}

// Remote is what a peer says of itself.
type Remote struct {
	State                   State
	Diagnostic              Diagnostic
	Discriminator           uint32
	ControlPlaneIndependent bool
	Demand                  bool
	Multiplier              uint8
	DesiredMinTx            time.Duration
	RequiredMinRx           time.Duration
}

// Status returns the session's status.
func (s *Session) Status() Status {
	return Status{
		State: s.state, Since: s.since, Diagnostic: s.localDiag, LastDown: s.lastDown, LastDownDiagnostic: s.lastDownDiag,
		Discriminator:    s.local,
		Remote:           s.Remote(),
		TransmitInterval: s.interval(), DetectionTime: s.detectionTime(), Polling: s.poll == polling,
		Received: s.received, Sent: s.sent, Ups: s.ups, Downs: s.downs,
	}
}

// Remote returns what the peer says of itself.
func (s *Session) Remote() Remote {
	return Remote{
		State: s.remoteState, Diagnostic: s.remoteDiag, Discriminator: s.remote, ControlPlaneIndependent: s.remoteIndependent,
		Demand: s.remoteDemand, Multiplier: s.remoteMultiplier, DesiredMinTx: s.remoteTx, RequiredMinRx: s.remoteMinRx,
	}
}

// State returns the session's state.
func (s *Session) State() State { return s.state }

// Discriminator returns this end's discriminator.
func (s *Session) Discriminator() uint32 { return s.local }

// Heard says whether the peer has shown that it knows of this end's AdminDown, so that no more of it needs to be sent
// (section 6.8.16): it heard it while it was Init or Up, and is not any more.
func (s *Session) Heard() bool {
	return s.state == AdminDown && s.remote != 0 && s.remoteState <= Down && s.lastRx.After(s.since)
}
