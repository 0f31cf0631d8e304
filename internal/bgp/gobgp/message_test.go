package gobgp

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"metallb.io/operator/internal/bgp"
)

func TestRead(t *testing.T) {
	header := func(length int, kind byte, body ...byte) []byte {
		m := compose(kind, body...)
		m[16], m[17] = byte(length>>8), byte(length)
		return m
	}
	for name, tt := range map[string]struct {
		wire []byte
		kind byte
		bad  bgp.Notification
		err  error
	}{
		"a keepalive":                    {wire: compose(keepalive), kind: keepalive},
		"the mark after the last route":  {wire: compose(update, 0, 0, 0, 0), kind: update},
		"a notification":                 {wire: compose(notification, 6, 2), kind: notification},
		"a route refresh":                {wire: compose(routeRefresh, 0, 1, 0, 1), kind: routeRefresh},
		"nothing":                        {err: io.EOF},
		"half a header":                  {wire: compose(keepalive)[:10], err: io.ErrUnexpectedEOF},
		"a header without its body":      {wire: compose(update, 0, 0, 0, 0)[:headerLength], err: io.ErrUnexpectedEOF},
		"half a body":                    {wire: compose(update, 0, 0, 0, 0)[:21], err: io.ErrUnexpectedEOF},
		"not BGP":                        {wire: []byte("GET / HTTP/1.1\r\nHost: r\r\n\r\n"), bad: bgp.Notification{Code: 1, Subcode: 1}},
		"a marker that is none":          {wire: append([]byte{0}, compose(keepalive)[1:]...), bad: bgp.Notification{Code: 1, Subcode: 1}},
		"a type that is none":            {wire: compose(77), bad: bgp.Notification{Code: 1, Subcode: 3}},
		"type zero":                      {wire: compose(0), bad: bgp.Notification{Code: 1, Subcode: 3}},
		"a keepalive with a body":        {wire: compose(keepalive, 0), bad: bgp.Notification{Code: 1, Subcode: 2}},
		"shorter than its header":        {wire: header(18, keepalive), bad: bgp.Notification{Code: 1, Subcode: 2}},
		"an update that is too short":    {wire: header(22, update, 0, 0, 0), bad: bgp.Notification{Code: 1, Subcode: 2}},
		"an open that is too short":      {wire: header(28, open), bad: bgp.Notification{Code: 1, Subcode: 2}},
		"an open that is too long":       {wire: header(4097, open), bad: bgp.Notification{Code: 1, Subcode: 2}},
		"a notification without subcode": {wire: header(20, notification, 6), bad: bgp.Notification{Code: 1, Subcode: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			m, kind, err := read(bytes.NewReader(tt.wire), make([]byte, longestMessage))
			var bad malformed
			switch {
			case tt.bad.Code != 0:
				if !errors.As(err, &bad) || bad.Notification != tt.bad {
					t.Errorf("error %v, not %v", err, tt.bad)
				}
			case tt.err != nil:
				if !errors.Is(err, tt.err) {
					t.Errorf("error %v, not %v", err, tt.err)
				}
			case err != nil || kind != tt.kind || !bytes.Equal(m, tt.wire):
				t.Errorf("%x of type %d, error %v", m, kind, err)
			}
		})
	}
}

// anOpen is an OPEN of AS 64512 with these optional parameters.
func anOpen(parameters ...byte) []byte {
	return compose(open, append([]byte{4, 0xfc, 0, 0, 90, 192, 0, 2, 1, byte(len(parameters))}, parameters...)...)
}

func TestASNOf(t *testing.T) {
	for name, tt := range map[string]struct {
		open []byte
		want uint32
	}{
		"of two octets":                     {anOpen(), 64512},
		"of four":                           {anOpen(2, 6, 65, 4, 0, 1, 0, 0), 65536},
		"of four, after another capability": {anOpen(2, 8, 2, 0, 65, 4, 0, 1, 0, 0), 65536},
		"of four, in a second parameter":    {anOpen(2, 2, 2, 0, 2, 6, 65, 4, 0, 1, 0, 0), 65536},
		"a capability that is cut off":      {anOpen(2, 4, 65, 4, 0, 1), 64512},
		"a parameter that is cut off":       {anOpen(2, 6, 65, 4), 64512},
		"a capability of another length":    {anOpen(2, 4, 65, 2, 0, 1), 64512},
	} {
		t.Run(name, func(t *testing.T) {
			if got := asnOf(tt.open); got != tt.want {
				t.Errorf("%d, not %d", got, tt.want)
			}
		})
	}
}

func TestEndOfRIB(t *testing.T) {
	for name, tt := range map[string]struct {
		body []byte
		want bool
	}{
		"IPv4":                           {[]byte{0, 0, 0, 0}, true},
		"IPv6":                           {[]byte{0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1}, true},
		"IPv6 with a long length":        {[]byte{0, 0, 0, 7, 0x90, 15, 0, 3, 0, 2, 1}, true},
		"IPv4 as the others":             {[]byte{0, 0, 0, 6, 0x80, 15, 3, 0, 1, 1}, true},
		"a family that we never ask for": {[]byte{0, 0, 0, 6, 0x80, 15, 3, 0, 25, 70}, false},
		"a withdrawn route":              {[]byte{0, 4, 24, 192, 0, 2, 0, 0}, false},
		"a route":                        {[]byte{0, 0, 0, 4, 0x40, 1, 1, 0, 24, 192, 0, 2}, false},
		"a withdrawn route of IPv6":      {[]byte{0, 0, 0, 8, 0x80, 15, 5, 0, 2, 1, 8, 32}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := endOfRIB(compose(update, tt.body...)); got != tt.want {
				t.Errorf("%v, not %v", got, tt.want)
			}
		})
	}
}

func TestNeverExpire(t *testing.T) {
	for name, tt := range map[string]struct{ hold, want byte }{"90 seconds": {90, 0}, "3 seconds": {3, 0}, "never": {0, 0}, "what is wrong": {2, 2}} {
		t.Run(name, func(t *testing.T) {
			m := compose(open, 4, 0xfc, 1, 0, tt.hold, 127, 0, 0, 2, 0)
			if neverExpire(m); m[headerLength+4] != tt.want {
				t.Errorf("%d", m[headerLength+4])
			}
		})
	}
}

func TestNotificationOf(t *testing.T) {
	for want, body := range map[string][]byte{
		`bad peer AS (OPEN message error)`:             {2, 2, 0xfc, 0},
		`administrative shutdown (cease): "back at 9"`: append([]byte{6, 2, 9}, "back at 9"...),
		`administrative reset (cease)`:                 {6, 4, 0},
		`administrative shutdown (cease)`:              {6, 2, 9, 'b'}, // cut off
	} {
		if got := described(compose(notification, body...)); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

// FuzzRead reads whatever a router sends.
func FuzzRead(f *testing.F) {
	for _, seed := range [][]byte{compose(keepalive), anOpen(2, 6, 65, 4, 0, 1, 0, 0), compose(notification, 6, 2, 3, 'a', 'b', 'c'), compose(update, 0, 0, 0, 0), {0xff}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		buf := make([]byte, longestMessage)
		for from := bytes.NewReader(wire); ; {
			m, kind, err := read(from, buf)
			if err != nil {
				return
			}
			switch kind {
			case open:
				asnOf(m)
				neverExpire(m)
			case notification:
				_ = described(m)
			case update:
				endOfRIB(m)
			}
		}
	})
}
