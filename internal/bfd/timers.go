package bfd

import "time"

// interval is the time between two periodic packets before jitter (section 6.8.7). The peer's wish counts while it is
// known who the peer is: a peer that is gone must not silence its successor's first packet.
func (s *Session) interval() time.Duration {
	if s.remote == 0 {
		return s.usedTx
	}
	return max(s.usedTx, s.remoteMinRx)
}

// detectionTime is the silence after which the peer is gone (section 6.8.4, Asynchronous mode).
func (s *Session) detectionTime() time.Duration {
	return time.Duration(s.remoteMultiplier) * max(s.usedRx, s.remoteTx)
}

// mayTransmit says whether periodic packets are sent (section 6.8.7).
func (s *Session) mayTransmit() bool {
	switch {
	case s.remote == 0:
		return !s.settings.Passive
	case s.remoteMinRx == 0:
		return false
	case s.remoteDemand && s.state == Up && s.remoteState == Up:
		return s.poll == polling
	}
	return true
}

// jittered takes up to 25 % off an interval, at least 10 % where a single lost packet would be fatal (section 6.8.7).
func (s *Session) jittered(d time.Duration) time.Duration {
	least, spread := 0.0, 0.25
	if s.settings.Multiplier == 1 {
		least, spread = 0.10, 0.15
	}
	return d - time.Duration((least+spread*s.random())*float64(d))
}

// schedule sets when the next periodic packet is due, measured from the last one: a shorter interval that has passed
// already makes it due now (section 6.8.3).
func (s *Session) schedule() {
	s.nextTx = time.Time{}
	if s.mayTransmit() {
		s.pace = s.interval()
		s.nextTx = s.lastTx.Add(s.jittered(s.pace))
	}
}

// follow schedules anew if the interval is another one now, or if periodic packets begin or end. Otherwise what is due
// stays due: no packet that a peer sends puts it off.
func (s *Session) follow() {
	if s.mayTransmit() == s.nextTx.IsZero() || s.pace != s.interval() {
		s.schedule()
	}
}

// transmit makes the packet that is due now.
func (s *Session) transmit(now time.Time) Packet {
	p := s.packet()
	p.Poll = s.poll == polling
	s.sent++
	s.lastTx = now
	s.schedule()
	return p
}

// final makes the answer to a Poll, beside the periodic packets (section 6.8.7).
func (s *Session) final() Packet {
	p := s.packet()
	p.Final = true
	s.sent++
	return p
}

func (s *Session) packet() Packet {
	return Packet{
		Diagnostic: s.localDiag, State: s.state, ControlPlaneIndependent: s.settings.ControlPlaneIndependent,
		Multiplier: max(s.settings.Multiplier, 1), Mine: s.local, Yours: s.remote,
		DesiredMinTx: s.desiredTx, RequiredMinRx: s.requiredRx,
	}
}

// Deadline is when Tick has something to do; zero: not before another packet or Configure.
func (s *Session) Deadline() time.Time {
	if s.nextTx.IsZero() || !s.detectAt.IsZero() && s.detectAt.Before(s.nextTx) {
		return s.detectAt
	}
	return s.nextTx
}

// Tick does what is due. Before it judges that the peer is silent, everything that has come from the peer must have been
// given to Receive: a process that had no processor for a while finds the packets still waiting.
func (s *Session) Tick(now time.Time) Output {
	if !s.detectAt.IsZero() && !now.Before(s.detectAt) {
		if out := s.expire(now); out.Changed {
			return out
		}
	}
	if !s.nextTx.IsZero() && !now.Before(s.nextTx) {
		return Output{Packet: s.transmit(now), Send: true}
	}
	return Output{}
}

// expire is for a Detection Time without a packet (sections 6.8.1 and 6.8.4).
func (s *Session) expire(now time.Time) Output {
	s.detectAt = time.Time{}
	s.remote = 0
	s.remoteDemand = false // of a peer that is unknown now
	if s.state == Init || s.state == Up {
		return s.become(Down, DetectionTimeExpired, now)
	}
	s.follow()
	return Output{}
}

// Excuse puts a detection that is due off once for each silence, by the grace but no more than an interval of the peer, if
// this process is late with it by more than the tolerance: after that, packets may still be on their way through the kernel
// to where Receive gets them from. It says whether it did.
func (s *Session) Excuse(tolerance, grace time.Duration, now time.Time) bool {
	if s.excused || s.detectAt.IsZero() || now.Sub(s.detectAt) <= tolerance {
		return false
	}
	s.excused = true
	s.detectAt = now.Add(min(grace, max(s.usedRx, s.remoteTx)))
	return true
}
