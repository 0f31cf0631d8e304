package ndp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"

	"metallb.io/operator/internal/l2/responder"
)

var (
	ourIP = netip.MustParseAddr("2001:db8::10")
	here  = place{Interface: eth0, Source: netip.MustParseAddr("fe80::1")}
)

// packetOf is a message in an Ethernet frame, made without the code under test: golang.org/x/net/icmp computes the checksum.
type packetOf struct {
	to, from            string // hardware addresses
	source, destination string
	next, hops          byte
	kind, code, flags   byte
	target              string
	options             string // in hex
	length              int    // payload length, where it is wrong
}

// asked is what a kernel sends that has to resolve our address.
func asked() packetOf {
	return packetOf{
		to: "33:33:ff:00:00:10", from: "02:00:00:00:00:99", source: "fe80::99", destination: "ff02::1:ff00:10",
		next: 58, hops: 255, kind: 135, target: "2001:db8::10", options: "0101020000000099",
	}
}

// told is the answer to it.
func told() packetOf {
	return packetOf{
		to: "02:00:00:00:00:99", from: "02:00:00:00:00:01", source: "2001:db8::10", destination: "fe80::99",
		next: 58, hops: 255, kind: 136, flags: 0x60, target: "2001:db8::10", options: "0201020000000001",
	}
}

// toldAll is the unsolicited advertisement.
func toldAll() packetOf {
	p := told()
	p.to, p.destination, p.flags = "33:33:00:00:00:01", "ff02::1", 0x20
	return p
}

func (p packetOf) with(change func(*packetOf)) packetOf {
	change(&p)
	return p
}

func (p packetOf) bytes(t testing.TB) []byte {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	ip := func(s string) []byte { return netip.MustParseAddr(s).AsSlice() }
	options, err := hex.DecodeString(p.options)
	must(err)
	m := icmp.Message{Type: ipv6.ICMPType(p.kind), Code: int(p.code), Body: &icmp.RawBody{
		Data: append(append([]byte{p.flags, 0, 0, 0}, ip(p.target)...), options...)}}
	payload, err := m.Marshal(icmp.IPv6PseudoHeader(ip(p.source), ip(p.destination)))
	must(err)
	length := len(payload)
	if p.length != 0 {
		length = p.length
	}
	to, err := net.ParseMAC(p.to)
	must(err)
	from, err := net.ParseMAC(p.from)
	must(err)
	f := append(append([]byte{}, to...), from...)
	f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(length))
	f = append(f, p.next, p.hops)
	f = append(append(f, ip(p.source)...), ip(p.destination)...)
	return append(f, payload...)
}

var serveCases = map[string]struct {
	ask    func(*packetOf)
	damage func([]byte) []byte
	want   func(*packetOf) // nil is silence; else what differs from told
	all    bool            // the answer goes to all
}{
	"a question to the group is answered to the station that asked": {want: func(*packetOf) {}},
	"a unicast question, which keeps a neighbour entry fresh, is answered": {
		ask:  func(p *packetOf) { p.to, p.destination = "02:00:00:00:00:01", "2001:db8::10" },
		want: func(*packetOf) {}},
	"without the option the answer goes where the frame came from": {
		ask:  func(p *packetOf) { p.to, p.destination, p.options = "02:00:00:00:00:01", "2001:db8::10", "" },
		want: func(*packetOf) {}},
	"with the option the answer goes where it says": {
		ask:  func(p *packetOf) { p.from = "02:00:00:00:00:77" },
		want: func(*packetOf) {}},
	"a question from a global address is answered to it": {
		ask:  func(p *packetOf) { p.source = "2001:db8::99" },
		want: func(p *packetOf) { p.destination = "2001:db8::99" }},
	"a probe for duplicates (RFC 4862 section 5.4.2) is answered to all": {
		ask:  func(p *packetOf) { p.source, p.options = "::", "" },
		want: func(*packetOf) {}, all: true},
	"a probe with a nonce (RFC 7527) is answered to all": {
		ask:  func(p *packetOf) { p.source, p.options = "::", "0e01a1a2a3a4a5a6" },
		want: func(*packetOf) {}, all: true},
	"options that are not known are passed over": {
		ask:  func(p *packetOf) { p.options = "fd02000000000000000000000000000001010200000000990e01a1a2a3a4a5a6" },
		want: func(*packetOf) {}},
	"padding behind the packet does not count": {
		damage: func(b []byte) []byte { return append(b, 0, 0, 0, 0) },
		want:   func(*packetOf) {}},
	"reserved bits are passed over": {
		ask:  func(p *packetOf) { p.flags = 0xff },
		want: func(*packetOf) {}},

	"a question for another address is not ours":                 {ask: func(p *packetOf) { p.target = "2001:db8::11" }},
	"an address of the same group is not ours":                   {ask: func(p *packetOf) { p.target = "2001:db8::1:0:10" }},
	"an advertisement is not answered":                           {ask: func(p *packetOf) { p.kind = 136 }},
	"another ICMPv6 message is not answered":                     {ask: func(p *packetOf) { p.kind = 133 }},
	"another code is ignored":                                    {ask: func(p *packetOf) { p.code = 1 }},
	"what a router has passed on is ignored":                     {ask: func(p *packetOf) { p.hops = 254 }},
	"another protocol is ignored":                                {ask: func(p *packetOf) { p.next = 17 }},
	"what looks like a question behind a fragment is ignored":    {ask: func(p *packetOf) { p.next = 44 }},
	"a wrong checksum is ignored":                                {damage: flip(offsetChecksum)},
	"a changed source is found by the checksum":                  {damage: flip(offsetSource + 15)},
	"a changed option is found by the checksum":                  {damage: flip(offsetOptions + 7)},
	"another EtherType is ignored":                               {damage: flip(offsetEtherType)},
	"another version of IP is ignored":                           {damage: flip(offsetIP)},
	"an option without a length is ignored with all the message": {ask: func(p *packetOf) { p.options = "0101020000000099fd00000000000000" }},
	"an option longer than the message is ignored with it":       {ask: func(p *packetOf) { p.options = "0101020000000099fd02000000000000" }},
	"a rest too short for an option is ignored with the message": {ask: func(p *packetOf) { p.options = "010102000000009900" }},
	"an option for another kind of link is ignored":              {ask: func(p *packetOf) { p.options = "01020200000000990000000000000000" }},
	"a message that is cut short is ignored":                     {damage: func(b []byte) []byte { return b[:len(b)-1] }},
	"a payload length less than a question is ignored":           {ask: func(p *packetOf) { p.length = 23 }},
	"a probe for duplicates with the option is ignored":          {ask: func(p *packetOf) { p.source = "::" }},
	"a probe for duplicates to a single station is ignored":      {ask: func(p *packetOf) { p.source, p.options, p.destination = "::", "", "2001:db8::10" }},
	"a probe for duplicates to all nodes is ignored":             {ask: func(p *packetOf) { p.source, p.options, p.destination = "::", "", "ff02::1" }},
	"a source that is a group would multiply the answer":         {ask: func(p *packetOf) { p.source = "ff02::1" }},
	"a source that is the loopback address is ignored":           {ask: func(p *packetOf) { p.source = "::1" }},
	"an option with a group would multiply the answer":           {ask: func(p *packetOf) { p.options = "0101333300000001" }},
	"a frame from a group would multiply the answer":             {ask: func(p *packetOf) { p.from, p.options = "33:33:00:00:00:01", "" }},
	"an option without an address is ignored":                    {ask: func(p *packetOf) { p.options = "0101000000000000" }},
}

func flip(offset int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[offset] ^= 0x10
		return b
	}
}

func TestServe(t *testing.T) {
	for name, c := range serveCases {
		t.Run(name, func(t *testing.T) {
			q := asked()
			if c.ask != nil {
				c.ask(&q)
			}
			f := q.bytes(t)
			if c.damage != nil {
				f = c.damage(f)
			}
			w, m := newWire(), &count{}
			r := responder.NewResponder(here, &link{place: here, conn: w}, responder.Protocol{Meter: m, Log: quiet})
			if err := r.Set([]netip.Addr{ourIP}, nil, time.Now()); err != nil {
				t.Fatal(err)
			}
			r.Serve(f)
			var want []byte
			var counted [3]int
			if c.want != nil {
				a := told()
				if c.all {
					a = toldAll()
				}
				want, counted = a.with(c.want).bytes(t), [3]int{1, 1, 0}
			}
			var got []byte
			select {
			case got = <-w.out:
			default:
			}
			if d := cmp.Diff(hex.EncodeToString(want), hex.EncodeToString(got)); d != "" {
				t.Error(d)
			}
			if m.all() != counted {
				t.Errorf("counted %v, want %v", m.all(), counted)
			}
		})
	}
}

func TestUnsolicitedAdvertisement(t *testing.T) {
	if d := cmp.Diff(hex.EncodeToString(toldAll().bytes(t)), hex.EncodeToString(unsolicited(ourIP, here))); d != "" {
		t.Error(d)
	}
}

func TestParseAdvertisement(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*packetOf)
		mac    string // "" is not valid
	}{
		"an unsolicited one":                        {func(*packetOf) {}, "02:00:00:00:00:01"},
		"one to a single station":                   {func(p *packetOf) { *p = told() }, "02:00:00:00:00:01"},
		"the option counts, not the frame":          {func(p *packetOf) { p.from = "02:00:00:00:00:77" }, "02:00:00:00:00:01"},
		"without the option the frame counts":       {func(p *packetOf) { p.options, p.from = "", "02:00:00:00:00:77" }, "02:00:00:00:00:77"},
		"the source's option is none of the target": {func(p *packetOf) { p.options = "0101020000000055" }, "02:00:00:00:00:01"},
		"one to all cannot be solicited":            {func(p *packetOf) { p.flags = 0x60 }, ""},
		"one without a source":                      {func(p *packetOf) { p.source = "::" }, ""},
		"one for a group":                           {func(p *packetOf) { p.target = "ff02::1" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := toldAll()
			c.change(&p)
			m, ok := parse(p.bytes(t))
			if ok != (c.mac != "") || ok && (!m.advertisement || net.HardwareAddr(m.mac[:]).String() != c.mac) {
				t.Errorf("parse = %v, %v; want %q", m, ok, c.mac)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	for a, want := range map[string][2]string{
		"2001:db8::10":              {"ff02::1:ff00:10", "3333ff000010"},
		"fe80::2aa:ff:fe28:9c5a":    {"ff02::1:ff28:9c5a", "3333ff289c5a"}, // RFC 2464's way
		"4037::01:800:200e:8c6c":    {"ff02::1:ff0e:8c6c", "3333ff0e8c6c"}, // the example of RFC 4291 section 2.7.1
		"2001:db8:1:2:3:4:ff12:abc": {"ff02::1:ff12:abc", "3333ff120abc"},
	} {
		g := groupOf(netip.MustParseAddr(a))
		mac := groupMAC(g)
		if g.String() != want[0] || hex.EncodeToString(mac[:]) != want[1] {
			t.Errorf("%s: group %s at %x, want %v", a, g, mac, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range serveCases {
		q := asked()
		if c.ask != nil {
			c.ask(&q)
		}
		b := q.bytes(f)
		if c.damage != nil {
			b = c.damage(b)
		}
		f.Add(b)
	}
	f.Add(toldAll().bytes(f))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		target, ok := targetOf(b)
		before := bytes.Clone(b)
		m, parsed := parse(b)
		if !bytes.Equal(before, b) {
			t.Fatal("the frame was changed")
		}
		if !parsed {
			return
		}
		if !ok || target != m.target {
			t.Fatalf("the quick look says %v %v, the parser %v", target, ok, m)
		}
		h, err := ipv6.ParseHeader(b[14:])
		if err != nil || h.Version != 6 || h.HopLimit != 255 || h.NextHeader != 58 {
			t.Fatalf("header %v, error %v", h, err)
		}
		if want := checksum(h, b[54:54+h.PayloadLen]); want != binary.BigEndian.Uint16(b[56:]) && binary.BigEndian.Uint16(b[56:]) != 0xffff {
			t.Fatalf("checksum %x, want %x", b[56:58], want)
		}
		if m.target.IsUnspecified() || m.target.IsLoopback() {
			return // never answered
		}
		back, ok := parse(answer(m, here))
		if !ok || !back.advertisement || back.target != m.target || back.mac != here.MAC || back.source != m.target {
			t.Fatalf("the answer to %v reads %v, %v", m, back, ok)
		}
	})
}

// checksum is the checksum of an ICMPv6 message by golang.org/x/net/icmp.
func checksum(h *ipv6.Header, message []byte) uint16 {
	m := icmp.Message{Type: ipv6.ICMPType(message[0]), Code: int(message[1]), Body: &icmp.RawBody{Data: message[4:]}}
	b, err := m.Marshal(icmp.IPv6PseudoHeader(h.Src, h.Dst))
	if err != nil {
		panic(err)
	}
	return binary.BigEndian.Uint16(b[2:])
}
