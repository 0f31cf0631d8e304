package bgp

import (
	"net/netip"
	"slices"
	"time"
)

// Peer is a session that is wanted, with all that it needs. It is comparable, and serialisable but for the password,
// which does not show itself.
type Peer struct {
	// Name tells sessions apart.
	Name string
	// LocalASN is the AS number that the peer sees; ASN is the peer's own, 0: any but ours (RFC 4271, section 4.2).
	LocalASN, ASN uint32
	// Address of the peer; a link-local one has its zone, the name of the interface. It is not valid where the peer is the router
	// that is found by Interface.
	Address   netip.Addr
	Interface string
	// Port where the peer listens.
	Port uint16
	// Source address of the session; not valid: the kernel chooses.
	Source netip.Addr
	// Device that the session's socket is bound to, a VRF or an interface; empty: none.
	Device string
	// RouterID is the BGP Identifier, an IPv4 address.
	RouterID netip.Addr
	// HoldTime is what is offered to the peer, which may offer less; 0: the session never expires, and has no keepalives. KeepaliveTime is the time between two keepalives, less
	// where the peer offered less. ConnectTime is the pause between two attempts to connect.
	HoldTime, KeepaliveTime, ConnectTime time.Duration
	// Password by which segments are signed (RFC 2385); empty: they are not.
	Password Password
	// MultiHop lets an eBGP session take more than one hop; others leave with TTL 1.
	MultiHop bool
	// TTLSecurityHops is how many hops away the peer may be at most (GTSM, RFC 5082): packets leave with TTL 255, and what comes
	// with a TTL below 256 less this number is dropped. 0: anything is taken.
	TTLSecurityHops uint8
	// Passive is a session for which the peer opens the connection, and never this end.
	Passive bool
	// GracefulRestart is offered (RFC 4724), with RestartTime.
	GracefulRestart bool
	// IPv4 and IPv6 are the families whose prefixes are exchanged.
	IPv4, IPv6 bool
}

// Place is where the peer is: its address, or the interface by which it is found.
func (p Peer) Place() string {
	if p.Interface != "" {
		return p.Interface
	}
	return p.Address.String()
}

// Internal reports whether the session is iBGP.
func (p Peer) Internal() bool { return p.ASN == p.LocalASN }

// Distant reports whether the peer is said to be more than one hop away.
func (p Peer) Distant() bool { return p.MultiHop || p.TTLSecurityHops > 1 }

// Carries reports whether prefixes of an address's family are exchanged.
func (p Peer) Carries(a netip.Addr) bool { return a.Is4() && p.IPv4 || a.Is6() && p.IPv6 }

// RestartTime is how long a peer keeps what it has heard from a session with GracefulRestart that ended.
const RestartTime = 120 * time.Second

// Path is a prefix with its attributes, as a peer is to be told.
type Path struct {
	Prefix netip.Prefix
	Preference
	// Communities, sorted as CompareCommunities does, each once.
	Communities []Community
	// Shutdown asks the peer to use any other path before this one, which is about to go: it is told with the community
	// GracefulShutdown and, to iBGP peers, with LOCAL_PREF 0, whatever LocalPref says (RFC 8326).
	Shutdown bool `json:",omitempty"`
}

// Equal reports whether two paths are the same.
func (p Path) Equal(o Path) bool {
	return p.Prefix == o.Prefix && p.Preference == o.Preference && p.Shutdown == o.Shutdown && slices.Equal(p.Communities, o.Communities)
}

// ComparePrefixes orders prefixes by address and length.
func ComparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

// Wanted is a peer with the paths that it is to be told of, sorted by prefix, each prefix once.
type Wanted struct {
	Peer
	Paths []Path
}

// State of a session (RFC 4271, section 8.2.2).
type State string

// The states. OpenConfirm counts as OpenSent: what comes after is the peer's answer all the same.
const (
	// Idle: nothing is done, for a moment or because something is wrong with the peer.
	Idle State = "Idle"
	// Connect: the peer is being called.
	Connect State = "Connect"
	// Active: the last attempt failed, and the next one is due after the connect time.
	Active State = "Active"
	// OpenSent: the peer has taken the connection, and not agreed to a session yet.
	OpenSent State = "OpenSent"
	// Established: routes are exchanged.
	Established State = "Established"
)

// Session is what became of a peer.
type Session struct {
	// Peer by name.
	Peer  string
	State State
	// Since is when it came into this state.
	Since time.Time
	// Local is our end's address, as long as there is a connection.
	Local netip.Addr
	// Found is the address of a peer that is found by an interface, with its zone, as long as one is.
	Found netip.Addr
	// IPv4 and IPv6 are the families that both ends have, of an Established session.
	IPv4, IPv6 bool
	// Error is why the session ended last or could not begin, in words; empty: it never did.
	Error string
	// Sent and Received are messages.
	Sent, Received Messages
}

// Carries reports whether the peer hears of prefixes of an address's family now.
func (s Session) Carries(a netip.Addr) bool {
	return s.State == Established && (a.Is4() && s.IPv4 || a.Is6() && s.IPv6)
}

// Observed is what became of a peer: what really runs of it, and how the session is.
type Observed struct {
	Wanted
	Session Session
}

// Hears reports whether the peer is told of a prefix now: it is among the paths, and the session carries it. It is then in
// the Adj-RIB-Out (RFC 4271, section 3.2).
func (o Observed) Hears(prefix netip.Prefix) bool {
	if !o.Session.Carries(prefix.Addr()) {
		return false
	}
	_, ok := slices.BinarySearchFunc(o.Paths, prefix, func(p Path, to netip.Prefix) int { return ComparePrefixes(p.Prefix, to) })
	return ok
}

// Messages counts messages by type (RFC 4271, section 4; RFC 2918).
type Messages struct {
	Opens, Updates, Notifications, Keepalives, RouteRefreshes uint64
}

// Total is their number.
func (m Messages) Total() uint64 {
	return m.Opens + m.Updates + m.Notifications + m.Keepalives + m.RouteRefreshes
}
