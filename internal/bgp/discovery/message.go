package discovery

import (
	"net"
	"net/netip"
	"time"
)

// Types of ICMPv6 messages (RFC 4861, sections 4.1 and 4.2).
const (
	typeSolicitation  = 133
	typeAdvertisement = 134
)

const (
	solicitationLength  = 8
	advertisementLength = 16

	optionSourceLinkLayer = 1 // RFC 4861, section 4.6.1

	hopLimit = 255 // a router would have lowered it: the sender is on this link
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// solicitation asks the routers of a link to say where they are. The kernel fills in the checksum of what a raw socket
// sends (RFC 3542, section 3.1).
func solicitation(mac net.HardwareAddr) []byte {
	m := make([]byte, solicitationLength)
	m[0] = typeSolicitation
	return sourceLinkLayer(m, mac)
}

// advertisement says where this node is, and nothing else: a router lifetime of 0 makes it nobody's default gateway, and
// there is no prefix in it.
func advertisement(mac net.HardwareAddr) []byte {
	m := make([]byte, advertisementLength)
	m[0] = typeAdvertisement
	return sourceLinkLayer(m, mac)
}

// sourceLinkLayer adds the option with the hardware address, if that is of Ethernet's length.
func sourceLinkLayer(m []byte, mac net.HardwareAddr) []byte {
	if len(mac) != 6 {
		return m
	}
	return append(append(m, optionSourceLinkLayer, 1), mac...)
}

// valid says of what type a message is that came from an address with a hop limit; 0: it is neither of the two, or RFC 4861,
// section 6.1, tells to discard it.
func valid(m []byte, from netip.Addr, hops int) byte {
	if len(m) < 2 || hops != hopLimit || m[1] != 0 {
		return 0
	}
	length := advertisementLength
	switch {
	case m[0] == typeSolicitation:
		length = solicitationLength
	case m[0] != typeAdvertisement || !from.IsLinkLocalUnicast():
		return 0
	}
	if len(m) < length {
		return 0
	}
	for options := m[length:]; len(options) > 0; {
		if len(options) < 8 || options[1] == 0 || 8*int(options[1]) > len(options) {
			return 0
		}
		if options[0] == optionSourceLinkLayer && from.IsUnspecified() {
			return 0
		}
		options = options[8*int(options[1]):]
	}
	return m[0]
}

const (
	// pace is the time between two of our advertisements, the least that RFC 4861, section 6.2.1, allows for the greatest
	// one, and between two solicitations (section 10). A router that begins anew finds us within that.
	pace = 4 * time.Second
	// leastGap is the least time between two advertisements, also where one is asked for (section 10).
	leastGap = 3 * time.Second
	// patience is how many solicitations a router may leave unanswered while another one is heard.
	patience = 3
)

// choice is which one of the routers that are heard on a link is meant. There should be one. Another address is the same router
// with a new one, unless the one of before still answers.
type choice struct {
	router, other netip.Addr
	unanswered    int
}

// heard takes an advertisement.
func (c *choice) heard(from netip.Addr) {
	switch {
	case !c.router.IsValid(), from == c.router:
		*c = choice{router: from}
	default:
		c.other = from
	}
}

// open reports whether the routers are to be asked.
func (c *choice) open() bool { return !c.router.IsValid() || c.other.IsValid() }

// asked notes a solicitation.
func (c *choice) asked() {
	if !c.other.IsValid() {
		return
	}
	if c.unanswered++; c.unanswered > patience {
		*c = choice{router: c.other}
	}
}
