// Package hostile has what a router may say that breaks the rules of BGP (RFC 4271), for tests that say it.
package hostile

import (
	"bytes"
	"encoding/binary"
)

// Types of messages (RFC 4271, section 4.1; RFC 2918, section 3).
const (
	open = 1 + iota
	update
	notification
	keepalive
	routeRefresh
)

// headerLength is that of each message: a marker, the length and the type.
const headerLength = 19

// ASN is the AS number of the router that says all this.
const ASN = 64513

func compose(kind byte, body ...byte) []byte {
	m := append(bytes.Repeat([]byte{0xff}, 16), 0, 0, kind)
	m = append(m, body...)
	binary.BigEndian.PutUint16(m[16:], uint16(len(m)))
	return m
}

// Open is an OPEN that keeps the rules, with the capabilities for IPv4 unicast and AS numbers of four octets.
func Open() []byte {
	return compose(open, 4, 0xfc, 1, 0, 90, 127, 0, 0, 2, 16, 2, 14, 1, 4, 0, 1, 0, 1, 65, 4, 0, 0, 0xfc, 1, 2, 0)
}

// Keepalive is one.
func Keepalive() []byte { return compose(keepalive) }

// Update announces so many routes of a /24 each, at most 1000, from the n-th network on.
func Update(n, routes int) []byte {
	body := []byte{0, 0, 0, 20, 0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfc, 1, 0x40, 3, 4, 127, 0, 0, 2}
	for i := range routes {
		body = append(body, 24, byte((n+i)>>16), byte((n+i)>>8), byte(n+i))
	}
	return compose(update, body...)
}

// attributes makes an UPDATE of path attributes and a prefix.
func attributes(all ...[]byte) []byte {
	joined := bytes.Join(all, nil)
	body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(joined)))
	return compose(update, append(append(body, joined...), 24, 203, 0, 113)...)
}

// Harmless reports whether a message, which is Open's alternative, is one that the rules allow in its place or that the
// receiver does not read.
func Harmless(m []byte) bool {
	return len(m) < headerLength || m[headerLength-1] == update || m[headerLength-1] == keepalive
}

// Messages break the rules in one way or another.
func Messages() map[string][]byte {
	origin, path, hop := []byte{0x40, 1, 1, 0}, []byte{0x40, 2, 6, 2, 1, 0, 0, 0xfc, 1}, []byte{0x40, 3, 4, 127, 0, 0, 2}
	length := func(n int, m []byte) []byte {
		m = bytes.Clone(m)
		binary.BigEndian.PutUint16(m[16:], uint16(n))
		return m
	}
	return map[string][]byte{
		"not BGP":                         []byte("GET / HTTP/1.1\r\nHost: router\r\n\r\n"),
		"zeros":                           make([]byte, 64),
		"a marker that is none":           append([]byte{1}, compose(keepalive)[1:]...),
		"type 0":                          compose(0),
		"type 77":                         compose(77, 1, 2, 3),
		"length 0":                        length(0, compose(keepalive)),
		"length 18":                       length(18, compose(keepalive)),
		"a keepalive with a body":         compose(keepalive, 1),
		"a long open":                     append(compose(open, make([]byte, 4096)...), compose(keepalive)...),
		"a short open":                    length(28, compose(open, make([]byte, 9)...)),
		"an open of version 3":            compose(open, 3, 0xfc, 1, 0, 90, 127, 0, 0, 2, 0),
		"an open with hold time 1":        compose(open, 4, 0xfc, 1, 0, 1, 127, 0, 0, 2, 0),
		"an open with router ID 0":        compose(open, 4, 0xfc, 1, 0, 90, 0, 0, 0, 0, 0),
		"an open of AS 0":                 compose(open, 4, 0, 0, 0, 90, 127, 0, 0, 2, 0),
		"an open cut off in a parameter":  compose(open, 4, 0xfc, 1, 0, 90, 127, 0, 0, 2, 10, 2, 200, 1),
		"an open cut off in a capability": compose(open, 4, 0xfc, 1, 0, 90, 127, 0, 0, 2, 4, 2, 2, 1, 200),
		"an open with extended lengths":   compose(open, 4, 0xfc, 1, 0, 90, 127, 0, 0, 2, 255, 255, 0xff, 0xff),
		"capabilities that are none":      compose(open, 4, 0xfc, 1, 0, 90, 127, 0, 0, 2, 8, 2, 6, 69, 1, 9, 64, 1, 7),
		"a second open":                   append(Open(), Open()...),
		"a short notification":            length(20, compose(notification, 6)),
		"a notification with a long text": compose(notification, append([]byte{6, 2, 255}, make([]byte, 20)...)...),
		"a notification of no code":       compose(notification, 200, 200),
		"a route refresh of no family":    compose(routeRefresh, 0xff, 0xff, 0xff, 0xff),
		"a long route refresh":            compose(routeRefresh, make([]byte, 600)...),
		"AS4_PATH before AS_PATH":         attributes(origin, []byte{0xc0, 17, 6, 2, 1, 0, 0, 0xfc, 1}, path, hop),
		"a short MP_REACH_NLRI":           attributes(origin, []byte{0x80, 14, 3, 0, 2, 1}),
		"an SRv6 prefix SID":              attributes(origin, path, hop, []byte{0xc0, 40, 6, 5, 0, 3, 0, 1, 0}),
		"attributes longer than all":      compose(update, 0, 0, 0xff, 0xff, 1, 2, 3),
		"withdrawn routes longer":         compose(update, 0xff, 0xff, 1, 2, 3),
		"a prefix of length 255":          compose(update, 0, 0, 0, 0, 255, 1, 2, 3),
		"no attribute at all":             attributes(),
		"an AS_PATH of no end":            attributes(origin, []byte{0x40, 2, 2, 2, 255}, hop),
		"an attribute of no kind":         attributes(origin, path, hop, []byte{0x00, 99, 0}),
		"half a message":                  compose(update, 0, 0, 0, 0)[:20],
		"nothing":                         nil,
	}
}
