package gobgp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"
	"unicode/utf8"

	"metallb.io/operator/internal/bgp"
)

// Types of messages (RFC 4271, section 4.1; RFC 2918, section 3).
const (
	open = 1 + iota
	update
	notification
	keepalive
	routeRefresh
)

const (
	headerLength = 19
	// longestMessage is what fits into the length field. Extended messages are offered (RFC 8654).
	longestMessage = 1<<16 - 1
)

var marker = bytes.Repeat([]byte{0xff}, 16)

// malformed is a message that ends the session (RFC 4271, section 6.1).
type malformed struct{ bgp.Notification }

func (m malformed) Error() string { return m.String() }

// read reads one message into buf, which holds the longest, and returns it with its type.
func read(from io.Reader, buf []byte) (message []byte, kind byte, err error) {
	if _, err := io.ReadFull(from, buf[:headerLength]); err != nil {
		return nil, 0, err
	}
	n := int(binary.BigEndian.Uint16(buf[16:]))
	kind = buf[18]
	least, most := lengths(kind)
	switch {
	case !bytes.Equal(buf[:16], marker):
		return nil, 0, malformed{bgp.Notification{Code: 1, Subcode: 1}}
	case least == 0:
		return nil, 0, malformed{bgp.Notification{Code: 1, Subcode: 3}}
	case n < least || n > most:
		return nil, 0, malformed{bgp.Notification{Code: 1, Subcode: 2}}
	}
	if _, err := io.ReadFull(from, buf[headerLength:n]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, 0, err
	}
	return buf[:n], kind, nil
}

// lengths of messages of a type; 0: there is no such type.
func lengths(kind byte) (least, most int) {
	const shorter = 4096 // RFC 8654, section 4: the others may be longer
	switch kind {
	case open:
		return 29, shorter
	case update:
		return 23, longestMessage
	case notification:
		return 21, longestMessage
	case keepalive:
		return headerLength, headerLength
	case routeRefresh:
		return 23, longestMessage
	}
	return 0, 0
}

// compose makes a message.
func compose(kind byte, body ...byte) []byte {
	m := append(bytes.Clone(marker), 0, 0, kind)
	m = append(m, body...)
	binary.BigEndian.PutUint16(m[16:], uint16(len(m)))
	return m
}

// endOfRIB reports whether an UPDATE is nothing but the mark after the last route of a family, IPv4 or IPv6 unicast (RFC
// 4724, section 2).
func endOfRIB(m []byte) bool {
	body := m[headerLength:]
	if bytes.Equal(body, []byte{0, 0, 0, 0}) {
		return true
	}
	const unreachable = 15 // MP_UNREACH_NLRI, RFC 4760 section 4
	for _, family := range []byte{1, 2} {
		if bytes.Equal(body, []byte{0, 0, 0, 6, 0x80, unreachable, 3, 0, family, 1}) ||
			bytes.Equal(body, []byte{0, 0, 0, 7, 0x90, unreachable, 0, 3, 0, family, 1}) {
			return true
		}
	}
	return false
}

// neverExpire makes of an OPEN one with hold time 0: the lesser one of the two ends counts, and with 0 neither sends
// keepalives nor waits for any (RFC 4271, sections 4.2 and 4.4). A hold time that is wrong stays so.
func neverExpire(m []byte) {
	const least = 3 // seconds
	if at := m[headerLength+3:]; binary.BigEndian.Uint16(at) >= least {
		binary.BigEndian.PutUint16(at, 0)
	}
}

// capabilities are those of an OPEN, by code (RFC 5492, section 4).
func capabilities(m []byte) iter.Seq2[byte, []byte] {
	return func(yield func(byte, []byte) bool) {
		const capability = 2
		for parameters := m[headerLength+10:]; len(parameters) >= 2 && len(parameters) >= 2+int(parameters[1]); {
			kind, n := parameters[0], int(parameters[1])
			for c := parameters[2 : 2+n]; kind == capability && len(c) >= 2 && len(c) >= 2+int(c[1]); c = c[2+int(c[1]):] {
				if !yield(c[0], c[2:2+int(c[1])]) {
					return
				}
			}
			parameters = parameters[2+n:]
		}
	}
}

// asnOf is the AS number that an OPEN says: that of the capability for 4 octets (RFC 6793), or the one of 2.
func asnOf(m []byte) uint32 {
	const fourOctets = 65
	for code, value := range capabilities(m) {
		if code == fourOctets && len(value) == 4 {
			return binary.BigEndian.Uint32(value)
		}
	}
	return uint32(binary.BigEndian.Uint16(m[headerLength+1:]))
}

// takesIPv6NextHop reports whether the sender of an OPEN can use an IPv6 address as the next hop of IPv4 unicast routes (RFC
// 8950, section 4).
func takesIPv6NextHop(m []byte) bool {
	const extendedNextHop = 5
	ipv4ByIPv6 := []byte{0, 1, 0, 1, 0, 2} // AFI, SAFI, AFI of the next hop
	for code, value := range capabilities(m) {
		for ; code == extendedNextHop && len(value) >= 6; value = value[6:] {
			if bytes.Equal(value[:6], ipv4ByIPv6) {
				return true
			}
		}
	}
	return false
}

// notificationOf reads a NOTIFICATION, and what the other end's operator says beside it (RFC 9003).
func notificationOf(m []byte) (n bgp.Notification, words string) {
	n = bgp.Notification{Code: m[headerLength], Subcode: m[headerLength+1]}
	data := m[headerLength+2:]
	if n.Code == bgp.Cease && (n.Subcode == 2 || n.Subcode == 4) && len(data) > 1 && len(data) > int(data[0]) {
		words = string(data[1 : 1+int(data[0])])
	}
	if !utf8.ValidString(words) {
		words = ""
	}
	return n, words
}

// described is a notification with those words.
func described(m []byte) string {
	n, words := notificationOf(m)
	if words == "" {
		return n.String()
	}
	return fmt.Sprintf("%s: %q", n, words)
}

// counter counts messages by type; it is safe for concurrent use.
type counter [routeRefresh + 1]atomic.Uint64

func (c *counter) messages() bgp.Messages {
	return bgp.Messages{
		Opens: c[open].Load(), Updates: c[update].Load(), Notifications: c[notification].Load(),
		Keepalives: c[keepalive].Load(), RouteRefreshes: c[routeRefresh].Load(),
	}
}

// counters of both directions, for as long as there is a session, whatever its connections.
type counters struct{ sent, received counter }
