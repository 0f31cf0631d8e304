// Package bfd is Bidirectional Forwarding Detection, RFC 5880, as a machine without a clock and without sockets: packets
// and moments in time go in; packets, changes of state and the next deadline come out. What it decides depends on nothing
// else, the source of the jitter included, so every rule of the RFC can be tested in virtual time. Sockets, RFC 5881 and
// RFC 5883 are in the package udp below it. This package imports the standard library only.
//
// Asynchronous mode is all that is asked of a peer. A peer that works in Demand mode itself is served as section 6.6 asks.
// Echo is declined: Required Min Echo RX Interval is always 0 (section 6.8.9). There is no authentication; a packet that
// carries it is dropped (section 6.8.6).
package bfd

import "fmt"

// State of a session, as it is on the wire (section 4.1).
type State uint8

// The states of section 4.1.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

func (s State) String() string {
	switch s {
	case AdminDown:
		return "AdminDown"
	case Down:
		return "Down"
	case Init:
		return "Init"
	case Up:
		return "Up"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Diagnostic is the reason of the last change of a session's state (section 4.1).
type Diagnostic uint8

// The diagnostics of section 4.1 that this package gives; others come from peers.
const (
	NoDiagnostic            Diagnostic = 0
	DetectionTimeExpired    Diagnostic = 1
	NeighborSignaledDown    Diagnostic = 3
	AdministrativelyDown    Diagnostic = 7
	ReverseConcatenatedDown Diagnostic = 8 // the last one that is assigned
)

var diagnostics = [...]string{
	"No Diagnostic", "Control Detection Time Expired", "Echo Function Failed", "Neighbor Signaled Session Down",
	"Forwarding Plane Reset", "Path Down", "Concatenated Path Down", "Administratively Down", "Reverse Concatenated Path Down",
}

// String is the diagnostic's name in section 4.1.
func (d Diagnostic) String() string {
	if d > ReverseConcatenatedDown {
		return fmt.Sprintf("Diagnostic %d", uint8(d))
	}
	return diagnostics[d]
}

// Drop is why a packet was not taken. The zero value is a packet that was.
type Drop uint8

// Why packets are dropped.
const (
	Taken Drop = iota
	// DropMalformed: too short, another version, a length that does not fit, Detect Mult 0, the Multipoint bit, My
	// Discriminator 0, or Your Discriminator 0 in a state that knows one (section 6.8.6).
	DropMalformed
	// DropAuthenticated: the packet is authenticated and no authentication is in use (section 6.8.6).
	DropAuthenticated
	// DropTTL: a hop too many, so it may come from anywhere (RFC 5881 section 5; for multihop the profile's minimum).
	DropTTL
	// DropUnknown: no session has this discriminator or this peer.
	DropUnknown
	// DropAddress: the discriminator is a session's, the addresses or the interface are not.
	DropAddress
	// DropAdminDown: this end is AdminDown (section 6.8.6).
	DropAdminDown
	// Drops is the number of values.
	Drops
)

var drops = [Drops]string{"taken", "malformed", "authenticated", "ttl", "unknown session", "wrong address", "admin down"}

func (d Drop) String() string {
	if d >= Drops {
		return fmt.Sprintf("Drop(%d)", uint8(d))
	}
	return drops[d]
}
