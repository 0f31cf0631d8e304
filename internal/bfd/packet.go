package bfd

import (
	"encoding/binary"
	"time"
)

// PacketLength is the length of a Control packet without authentication (section 4.1).
const PacketLength = 24

const version = 1

// Flags of a Control packet (section 4.1).
const (
	flagPoll                    = 1 << 5
	flagFinal                   = 1 << 4
	flagControlPlaneIndependent = 1 << 3
	flagAuthentication          = 1 << 2
	flagDemand                  = 1 << 1
	flagMultipoint              = 1 << 0
)

// longest is the longest interval that fits into a field, a little more than 71 minutes.
const longest = time.Duration(1<<32-1) * time.Microsecond

// Packet is a Control packet (section 4.1). Intervals are sent in microseconds.
type Packet struct {
	Diagnostic              Diagnostic
	State                   State
	Poll, Final             bool
	ControlPlaneIndependent bool
	// Authentication says that an authentication section follows, which is not decoded.
	Authentication bool
	Demand         bool
	Multiplier     uint8
	// Mine and Yours are the discriminators from the point of view of the sender.
	Mine, Yours       uint32
	DesiredMinTx      time.Duration
	RequiredMinRx     time.Duration
	RequiredMinEchoRx time.Duration
}

// Parse decodes a Control packet and makes the checks of section 6.8.6 that need no session. What follows the packet's own
// length is ignored, as that section allows.
func Parse(b []byte) (Packet, Drop) {
	if len(b) < PacketLength || b[0]>>5 != version {
		return Packet{}, DropMalformed
	}
	flags, length := b[1], int(b[3])
	p := Packet{
		Diagnostic:              Diagnostic(b[0] & 0x1f),
		State:                   State(flags >> 6),
		Poll:                    flags&flagPoll != 0,
		Final:                   flags&flagFinal != 0,
		ControlPlaneIndependent: flags&flagControlPlaneIndependent != 0,
		Authentication:          flags&flagAuthentication != 0,
		Demand:                  flags&flagDemand != 0,
		Multiplier:              b[2],
		Mine:                    binary.BigEndian.Uint32(b[4:]),
		Yours:                   binary.BigEndian.Uint32(b[8:]),
		DesiredMinTx:            interval(b[12:]),
		RequiredMinRx:           interval(b[16:]),
		RequiredMinEchoRx:       interval(b[20:]),
	}
	least := PacketLength
	if p.Authentication {
		least += 2
	}
	switch {
	case length < least || length > len(b), p.Multiplier == 0, flags&flagMultipoint != 0, p.Mine == 0,
		p.Yours == 0 && p.State != Down && p.State != AdminDown:
		return Packet{}, DropMalformed
	case p.Authentication:
		return Packet{}, DropAuthenticated
	}
	return p, Taken
}

func interval(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
}

// Append appends the packet to b. It never carries authentication.
func (p Packet) Append(b []byte) []byte {
	flags := byte(p.State) << 6
	flags |= bit(p.Poll, flagPoll) | bit(p.Final, flagFinal) | bit(p.ControlPlaneIndependent, flagControlPlaneIndependent) | bit(p.Demand, flagDemand)
	b = append(b, version<<5|byte(p.Diagnostic)&0x1f, flags, p.Multiplier, PacketLength)
	b = binary.BigEndian.AppendUint32(b, p.Mine)
	b = binary.BigEndian.AppendUint32(b, p.Yours)
	for _, d := range [...]time.Duration{p.DesiredMinTx, p.RequiredMinRx, p.RequiredMinEchoRx} {
		b = binary.BigEndian.AppendUint32(b, uint32(min(max(d, 0), longest)/time.Microsecond))
	}
	return b
}

func bit(set bool, flag byte) byte {
	if set {
		return flag
	}
	return 0
}
