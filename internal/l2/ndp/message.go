package ndp

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Neighbour solicitations and advertisements are ICMPv6 messages of these types (RFC 4861 sections 4.3 and 4.4).
const (
	typeSolicitation  = 135
	typeAdvertisement = 136

	flagSolicited = 0x40
	flagOverride  = 0x20

	optionSourceLinkLayer = 1 // section 4.6.1
	optionTargetLinkLayer = 2

	protocolICMPv6 = unix.IPPROTO_ICMPV6
	hopLimit       = 255 // a router would have lowered it: the sender is on this link (section 3.1)
)

// Offsets in an Ethernet frame that carries such a message right behind the IPv6 header (RFC 8200 section 3).
const (
	offsetEtherType     = 12
	offsetIP            = 14
	offsetPayloadLength = offsetIP + 4
	offsetNextHeader    = offsetIP + 6
	offsetHopLimit      = offsetIP + 7
	offsetSource        = offsetIP + 8
	offsetDestination   = offsetIP + 24
	offsetICMP          = offsetIP + 40
	offsetChecksum      = offsetICMP + 2
	offsetFlags         = offsetICMP + 4
	offsetTarget        = offsetICMP + 8
	offsetOptions       = offsetTarget + 16
)

var (
	allNodes      = netip.MustParseAddr("ff02::1")
	solicitedNode = netip.MustParsePrefix("ff02::1:ff00:0/104")
)

// groupOf returns the solicited-node group of an address (RFC 4291 section 2.7.1).
func groupOf(a netip.Addr) netip.Addr {
	g, b := solicitedNode.Addr().As16(), a.As16()
	copy(g[13:], b[13:])
	return netip.AddrFrom16(g)
}

// groupMAC returns the Ethernet address of an IPv6 multicast group (RFC 2464 section 7).
func groupMAC(group netip.Addr) [6]byte {
	b := group.As16()
	return [6]byte{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// message is a valid neighbour solicitation or advertisement.
type message struct {
	advertisement bool
	source        netip.Addr // of a solicitation: unspecified in a probe for duplicates (RFC 4862 section 5.4.2)
	target        netip.Addr
	// mac is where the sender of a solicitation is, or the target of an advertisement: what the option says or, as it may
	// be left out of what is sent to a single station, where the frame came from.
	mac [6]byte
}

// targetOf reads the address that a message is about, before anything else of the frame is looked at: most are about
// somebody else's.
func targetOf(frame []byte) (netip.Addr, bool) {
	if len(frame) < offsetOptions {
		return netip.Addr{}, false
	}
	return addrAt(frame, offsetTarget), true
}

// senderOf reads the address that the sender of a message says it has: an advertisement's target, or the source of a
// solicitation. A probe for duplicates has none.
func senderOf(frame []byte) (netip.Addr, bool) {
	if len(frame) < offsetOptions {
		return netip.Addr{}, false
	}
	if frame[offsetICMP] == typeAdvertisement {
		return addrAt(frame, offsetTarget), true
	}
	a := addrAt(frame, offsetSource)
	return a, !a.IsUnspecified()
}

// parse reads a message; ok is false for anything else and for what RFC 4861 sections 7.1.1 and 7.1.2 tell to discard,
// as well as for a sender that is no single station.
func parse(frame []byte) (m message, ok bool) {
	if len(frame) < offsetOptions {
		return message{}, false
	}
	end := offsetICMP + int(binary.BigEndian.Uint16(frame[offsetPayloadLength:]))
	if binary.BigEndian.Uint16(frame[offsetEtherType:]) != unix.ETH_P_IPV6 || frame[offsetIP]>>4 != 6 ||
		frame[offsetNextHeader] != protocolICMPv6 || frame[offsetHopLimit] != hopLimit ||
		end < offsetOptions || end > len(frame) {
		return message{}, false
	}
	frame = frame[:end] // short frames are padded
	destination := addrAt(frame, offsetDestination)
	m = message{source: addrAt(frame, offsetSource), target: addrAt(frame, offsetTarget)}
	if sum(frame) != 0xffff || frame[offsetICMP+1] != 0 ||
		m.target.IsMulticast() || m.source.IsMulticast() || m.source.IsLoopback() {
		return message{}, false
	}
	option := byte(optionSourceLinkLayer)
	switch frame[offsetICMP] {
	case typeSolicitation:
	case typeAdvertisement:
		m.advertisement, option = true, optionTargetLinkLayer
		if destination.IsMulticast() && frame[offsetFlags]&flagSolicited != 0 {
			return message{}, false
		}
	default:
		return message{}, false
	}
	mac, given, ok := linkLayer(frame[offsetOptions:], option)
	if !ok {
		return message{}, false
	}
	if m.source.IsUnspecified() && (m.advertisement || given || !solicitedNode.Contains(destination)) {
		return message{}, false
	}
	m.mac = [6]byte(frame[6:12])
	if given {
		m.mac = mac
	}
	return m, m.mac[0]&1 == 0 && m.mac != [6]byte{}
}

// linkLayer finds a link-layer address option (RFC 4861 section 4.6.1, RFC 2464 section 6). Other options are passed
// over. ok is false where their lengths do not add up, or the option is not one for Ethernet.
func linkLayer(options []byte, kind byte) (mac [6]byte, given, ok bool) {
	for len(options) > 0 {
		if len(options) < 8 {
			return mac, false, false
		}
		length := 8 * int(options[1])
		if length == 0 || length > len(options) {
			return mac, false, false
		}
		if options[0] == kind && !given {
			if length != 8 {
				return mac, false, false
			}
			mac, given = [6]byte(options[2:8]), true
		}
		options = options[length:]
	}
	return mac, given, true
}

// answer is the advertisement that a solicitation gets (RFC 4861 section 7.2.4): to the station that asked, and to all
// where it has no address yet, which is how a duplicate is refused (RFC 4862 section 5.4.3). The flag Override is set
// because the address is ours and not only forwarded by us, so that no other station's answer from before outlives it.
func answer(m message, at place) []byte {
	if m.source.IsUnspecified() {
		return unsolicited(m.target, at)
	}
	return advertisement(m.target, at, m.mac, m.source, flagSolicited|flagOverride)
}

// unsolicited is the advertisement that tells all stations of a link where an address now is (RFC 4861 section 7.2.6). The
// schedule of package l2 sends more of them than the three that the RFC has in mind, and the second sooner than after a
// second: a lost one means an outage here.
func unsolicited(address netip.Addr, at place) []byte {
	return advertisement(address, at, groupMAC(allNodes), allNodes, flagOverride)
}

// advertisement makes the frame of a neighbour advertisement (RFC 4861 section 4.4). We are no router, and an address for
// a Service never is one's. It comes from the address itself, as Linux does it for its own: ndisc6 does not believe what a
// link-local address says of another.
func advertisement(target netip.Addr, at place, mac [6]byte, destination netip.Addr, flags byte) []byte {
	at.Source = target
	return marshal(typeAdvertisement, flags, optionTargetLinkLayer, target, at, mac, destination)
}

// solicitation asks all stations that may have an address who has it (RFC 4861 section 4.3), from the link-local address:
// nobody learns anything from it that a router would use.
func solicitation(target netip.Addr, at place) []byte {
	group := groupOf(target)
	return marshal(typeSolicitation, 0, optionSourceLinkLayer, target, at, groupMAC(group), group)
}

// marshal makes the frame of a message with one option, the hardware address of the place that it is sent from.
func marshal(kind, flags, option byte, target netip.Addr, at place, mac [6]byte, destination netip.Addr) []byte {
	const length = offsetOptions + 8
	f := make([]byte, 0, length)
	f = append(f, mac[:]...)
	f = append(f, at.MAC[:]...)
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_IPV6)
	f = append(f, 6<<4, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, length-offsetICMP)
	f = append(f, protocolICMPv6, hopLimit)
	f = append(f, at.Source.WithZone("").AsSlice()...)
	f = append(f, destination.AsSlice()...)
	f = append(f, kind, 0, 0, 0, flags, 0, 0, 0)
	f = append(f, target.AsSlice()...)
	f = append(f, option, 1)
	f = append(f, at.MAC[:]...)
	binary.BigEndian.PutUint16(f[offsetChecksum:], ^sum(f))
	return f
}

// sum is the one's complement sum of the pseudo-header and the ICMPv6 message that ends with the frame (RFC 8200
// section 8.1): 0xffff where the checksum is in place and right.
func sum(frame []byte) uint16 {
	s := uint32(len(frame)-offsetICMP) + protocolICMPv6
	b := frame[offsetSource:] // both addresses, then the message
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func addrAt(b []byte, offset int) netip.Addr {
	return netip.AddrFrom16([16]byte(b[offset : offset+16]))
}
