package bfd

import "time"

// Snapshot is what another process needs to go on with a session that is Up, so that the peer notices nothing.
type Snapshot struct {
	Discriminator uint32
	Remote        Remote
	// What this end said last, and what it uses: see section 6.8.3.
	DesiredTx, UsedTx, RequiredRx, UsedRx time.Duration
	Since                                 time.Time
	Received, Sent, Ups, Downs            uint64
}

// Snapshot returns the session's snapshot; false if the session is not Up.
func (s *Session) Snapshot() (Snapshot, bool) {
	return Snapshot{
		Discriminator: s.local, Remote: s.Remote(),
		DesiredTx: s.desiredTx, UsedTx: s.usedTx, RequiredRx: s.requiredRx, UsedRx: s.usedRx,
		Since: s.since, Received: s.received, Sent: s.sent, Ups: s.ups, Downs: s.downs,
	}, s.state == Up
}

// Resume makes a session that is Up as the snapshot says. It sends at once, gives the peer a whole Detection Time, and has
// a Poll Sequence make sure that both ends mean the same intervals, whatever was under way when the snapshot was taken;
// settings that differ from it are what a second sequence is for, or AdminDown.
func Resume(from Snapshot, set Settings, random func() float64, now time.Time) (*Session, Output) {
	r := from.Remote
	s := &Session{
		settings: set, random: random, local: from.Discriminator, remote: r.Discriminator,
		state: Up, remoteState: r.State, remoteDiag: r.Diagnostic,
		desiredTx: clamp(from.DesiredTx), usedTx: clamp(from.UsedTx), requiredRx: clamp(from.RequiredRx), usedRx: clamp(from.UsedRx),
		remoteMinRx: min(max(r.RequiredMinRx, 0), longest), remoteTx: min(max(r.DesiredMinTx, 0), longest), remoteMultiplier: r.Multiplier,
		remoteDemand: r.Demand, remoteIndependent: r.ControlPlaneIndependent,
		lastRx: now, since: from.Since, received: from.Received, sent: from.Sent, ups: from.Ups, downs: from.Downs,
	}
	s.detectAt = now.Add(s.detectionTime())
	s.startPoll(now)
	if set.AdminDown {
		return s, s.become(AdminDown, AdministrativelyDown, now)
	}
	return s, Output{Packet: s.transmit(now), Send: true}
}

// Valid says whether a snapshot from elsewhere can be a session's at all.
func (f Snapshot) Valid() bool {
	return f.Discriminator != 0 && f.Remote.Discriminator != 0 && f.Remote.Multiplier != 0
}
