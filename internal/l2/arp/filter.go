package arp

import (
	"slices"

	"github.com/mdlayher/arp"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/responder"
)

// Offsets in an Ethernet frame that carries ARP for IPv4 (RFC 826).
const (
	offsetProtocol  = 14 + 2
	offsetOperation = 14 + 6
	offsetSenderIP  = 14 + 14
	offsetTargetIP  = 14 + 24
	frameLength     = 14 + 28
)

// filter keeps what is neither an ARP request nor a reply, by which another station may claim an address, about one of the
// ranges out of the process: everything but the Ethernet and IPv4 form, frames for another station (which promiscuous mode
// lets in), tagged frames (a VLAN is an interface of its own), and what the other stations of the LAN ask each other. About an
// address is also what comes from it: whoever sends from one of ours holds it too (RFC 5227 section 2.4). A reply to this
// station alone, to what it asked, is let in whatever it is about.
func filter(ranges []l2.Range) ([]bpf.RawInstruction, error) {
	drop := bpf.RetConstant{Val: 0}
	return bpf.Assemble(slices.Concat([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType}, // PACKET_HOST 0, PACKET_BROADCAST 1
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: unix.PACKET_BROADCAST, SkipTrue: 9},
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 7},
		bpf.LoadAbsolute{Off: offsetProtocol, Size: 4}, // protocol 0x0800, lengths 6 and 4
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x0800_0604, SkipTrue: 5},
		bpf.LoadAbsolute{Off: offsetOperation, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(arp.OperationRequest), SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(arp.OperationReply), SkipTrue: 2},
		bpf.LoadAbsolute{Off: 14, Size: 2}, // hardware type: Ethernet
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 1, SkipTrue: 1},
		drop,
	}, responder.ToUs(bpf.LoadAbsolute{Off: offsetOperation, Size: 2}, uint32(arp.OperationReply)),
		responder.Within(offsetTargetIP, ranges), responder.Within(offsetSenderIP, ranges), []bpf.Instruction{drop}))
}
