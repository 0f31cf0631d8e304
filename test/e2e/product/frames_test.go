package product

import (
	"net"
	"net/netip"
	"testing"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
)

func TestClaimed(t *testing.T) {
	node := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	v4, other, v6 := netip.MustParseAddr("172.30.0.100"), netip.MustParseAddr("172.30.0.50"), netip.MustParseAddr("fd00:30::1000")
	about := func(op arp.Operation, sender, target netip.Addr) []byte {
		p, err := arp.NewPacket(op, node, sender, node, target)
		Must(t, err)
		b, err := p.MarshalBinary()
		Must(t, err)
		return frame(t, node, ethernet.EtherTypeARP, b)
	}
	neighbour := func(kind, flags byte) []byte {
		b := make([]byte, 72)
		b[6], b[40], b[44] = 58, kind, flags
		copy(b[48:], v6.AsSlice())
		return frame(t, node, ethernet.EtherTypeIPv6, b)
	}
	for name, c := range map[string]struct {
		frame []byte
		of    netip.Addr // that is claimed; none: no claim
	}{
		"an ARP announcement":                     {about(arp.OperationRequest, v4, v4), v4},
		"a gratuitous reply":                      {about(arp.OperationReply, v4, v4), v4},
		"a question":                              {about(arp.OperationRequest, other, v4), netip.Addr{}},
		"a probe for duplicates":                  {about(arp.OperationRequest, netip.IPv4Unspecified(), v4), netip.Addr{}},
		"an answer":                               {about(arp.OperationReply, v4, other), netip.Addr{}},
		"an unsolicited neighbour advertisement":  {neighbour(136, 0x20), v6},
		"a solicited neighbour advertisement":     {neighbour(136, 0x60), netip.Addr{}},
		"a neighbour solicitation":                {neighbour(135, 0), netip.Addr{}},
		"a neighbour advertisement that is short": {neighbour(136, 0x20)[:70], netip.Addr{}},
		"nothing": {nil, netip.Addr{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := claimed(c.frame)
			if ok != c.of.IsValid() || ok && (got.Address != c.of || got.MAC != node.String()) {
				t.Errorf("%v, %+v", ok, got)
			}
		})
	}
}

func frame(t *testing.T, from net.HardwareAddr, kind ethernet.EtherType, payload []byte) []byte {
	t.Helper()
	f := ethernet.Frame{Destination: ethernet.Broadcast, Source: from, EtherType: kind, Payload: payload}
	b, err := f.MarshalBinary()
	Must(t, err)
	return b
}
