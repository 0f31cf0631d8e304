package arp

import (
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
)

// request is what a station asks: who has target, tell sender. A probe for duplicates has no sender address
// (RFC 5227 section 1.1), an announcement asks for its own (section 2.3).
type request struct {
	senderMAC net.HardwareAddr
	sender    netip.Addr
	target    netip.Addr
}

// announcement reports whether the request is a claim rather than a question.
func (r request) announcement() bool { return r.sender == r.target }

// targetOf reads the address that a request asks for, before anything else of the frame is looked at: nearly all that is
// broadcast on a LAN is for somebody else.
func targetOf(frame []byte) (netip.Addr, bool) {
	if len(frame) < frameLength {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(frame[offsetTargetIP : offsetTargetIP+4])), true
}

// senderOf reads the address that the sender of a request or a reply says it has. A probe for duplicates has none.
func senderOf(frame []byte) (netip.Addr, bool) {
	if len(frame) < frameLength {
		return netip.Addr{}, false
	}
	a := netip.AddrFrom4([4]byte(frame[offsetSenderIP : offsetSenderIP+4]))
	return a, !a.IsUnspecified()
}

// read takes a request or a reply for IPv4 over Ethernet apart; ok is false for anything else, and for a sender that is no
// single station, which must be neither answered (RFC 1812 section 3.3.2) nor believed.
func read(frame []byte) (p arp.Packet, ok bool) {
	var f ethernet.Frame
	if err := f.UnmarshalBinary(frame); err != nil || f.VLAN != nil || f.EtherType != ethernet.EtherTypeARP {
		return p, false
	}
	if err := p.UnmarshalBinary(f.Payload); err != nil || p.HardwareType != 1 || p.ProtocolType != uint16(ethernet.EtherTypeIPv4) ||
		len(p.SenderHardwareAddr) != 6 || p.IPLength != 4 || p.SenderHardwareAddr[0]&1 != 0 {
		return p, false
	}
	return p, p.Operation == arp.OperationRequest || p.Operation == arp.OperationReply
}

// parse reads an ARP request.
func parse(frame []byte) (r request, ok bool) {
	p, ok := read(frame)
	return request{senderMAC: p.SenderHardwareAddr, sender: p.SenderIP, target: p.TargetIP}, ok && p.Operation == arp.OperationRequest
}

// stationOf returns the hardware address of the sender of a request or a reply.
func stationOf(frame []byte) (mac [6]byte, ok bool) {
	p, ok := read(frame)
	if !ok {
		return mac, false
	}
	return [6]byte(p.SenderHardwareAddr), true
}

// answer is the reply to a request: the address is at mac. It goes to the station that asked, and to it alone.
func answer(r request, mac net.HardwareAddr) ([]byte, error) {
	return marshal(arp.OperationReply, mac, r.target, r.senderMAC, r.sender, r.senderMAC)
}

// probe asks who has an address as a probe for duplicates does, without an address of the sender's own (RFC 5227 section
// 1.1): everybody answers it, and nobody learns anything from it.
func probe(address netip.Addr, mac net.HardwareAddr) ([]byte, error) {
	return marshal(arp.OperationRequest, mac, netip.IPv4Unspecified(), make(net.HardwareAddr, 6), address, ethernet.Broadcast)
}

// gratuitous returns the frames of one round. Both forms go out because some stations take a change from one of them
// only: the ARP Announcement of RFC 5227 section 2.3, a request, and the reply of RFC 5944 section 4.6. Linux believes
// the reply only if its target hardware address is the sender's.
func gratuitous(address netip.Addr, mac net.HardwareAddr) ([][]byte, error) {
	req, err := marshal(arp.OperationRequest, mac, address, make(net.HardwareAddr, 6), address, ethernet.Broadcast)
	if err != nil {
		return nil, err
	}
	reply, err := marshal(arp.OperationReply, mac, address, mac, address, ethernet.Broadcast)
	if err != nil {
		return nil, err
	}
	return [][]byte{req, reply}, nil
}

func marshal(op arp.Operation, senderMAC net.HardwareAddr, sender netip.Addr, targetMAC net.HardwareAddr, target netip.Addr,
	destination net.HardwareAddr) ([]byte, error) {
	p, err := arp.NewPacket(op, senderMAC, sender, targetMAC, target)
	if err != nil {
		return nil, err
	}
	payload, err := p.MarshalBinary()
	if err != nil {
		return nil, err
	}
	f := ethernet.Frame{Destination: destination, Source: senderMAC, EtherType: ethernet.EtherTypeARP, Payload: payload}
	return f.MarshalBinary()
}
