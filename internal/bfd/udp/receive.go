package udp

import (
	"net/netip"
	"time"

	"metallb.io/operator/internal/bfd"
)

// drain reads a socket until it is empty.
func (e *engine) drain(k kind, fd int) {
	for left := mostPackets; left > 0; {
		n, err := e.inbox.read(fd)
		if err != nil || n == 0 { // an error is one that a packet has caused, as unreachable; the next call goes on
			return
		}
		now := time.Now()
		for i := range n {
			e.receive(k, e.inbox.at(i), now)
		}
		if left -= n; n < batchSize {
			return
		}
	}
}

// receive finds a packet's session, checks that it may come from its peer, and gives it to it (RFC 5880 section 6.8.6).
func (e *engine) receive(k kind, r received, now time.Time) {
	p, drop := bfd.Parse(r.data)
	if drop == bfd.Taken && !k.Multihop && r.ttl != 255 { // before anything else of it is used: RFC 5881 section 5
		drop = bfd.DropTTL
	}
	s := e.find(k, r, p, drop)
	if s == nil {
		if drop == bfd.Taken {
			drop = bfd.DropUnknown
		}
		e.dropped[drop]++
		return
	}
	if drop == bfd.Taken {
		drop = s.admits(k, r)
	}
	if drop != bfd.Taken {
		s.dropped[drop]++
		return
	}
	before := s.machine.Remote()
	out, drop := s.machine.Receive(p, now)
	if drop != bfd.Taken {
		s.dropped[drop]++
	}
	if s.leaving && s.machine.Heard() {
		e.remove(s)
		return
	}
	e.took(s, out, now)
	if before != s.machine.Remote() || p.Final {
		e.news()
	}
}

// find returns the session that a packet is for. Of one that was dropped already it says whose it would have been, by its
// addresses alone.
func (e *engine) find(k kind, r received, p bfd.Packet, drop bfd.Drop) *session {
	if drop == bfd.Taken && p.Yours != 0 {
		return e.byNumber[p.Yours]
	}
	at := endpoints{peer: r.from, local: r.to, multihop: k.Multihop, vrf: k.VRF}
	if r.from.Is6() && r.from.IsLinkLocalUnicast() {
		at.index = r.index
	}
	if s := e.byAddress[at]; s != nil {
		return s
	}
	at.local = netip.Addr{}
	return e.byAddress[at]
}

// admits checks what a spoofed packet would get wrong, also where it knows the discriminator.
func (s *session) admits(k kind, r received) bfd.Drop {
	switch {
	case s.at.peer != r.from, s.at.multihop != k.Multihop, s.at.vrf != k.VRF,
		s.at.local.IsValid() && s.at.local != r.to,
		s.at.index != 0 && s.at.index != r.index:
		return bfd.DropAddress
	case k.Multihop && r.ttl < s.want.MinimumTTL:
		return bfd.DropTTL
	}
	return bfd.Taken
}
