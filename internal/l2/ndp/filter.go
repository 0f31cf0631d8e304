package ndp

import (
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/responder"
)

// filter keeps what is neither a neighbour solicitation nor an advertisement, by which another station claims an address, about
// one of the ranges out of the process: also what a router has passed on (its hop limit is not 255), frames for another station
// (which promiscuous mode lets in) and tagged frames (a VLAN is an interface of its own). Extension headers are not looked behind:
// nobody sends them here, and fragments must not be believed (RFC 6980). All that IPv6 brings to the interface passes here, so
// the most telling look comes first. What others solicit passes too where the network card does not tell one group from another, as
// when there are more groups than it has room for. About an address is also what comes from it; an advertisement to this
// station alone, which asked, is let in whatever it is about.
func filter(ranges []l2.Range) ([]bpf.RawInstruction, error) {
	drop := bpf.RetConstant{Val: 0}
	return bpf.Assemble(slices.Concat([]bpf.Instruction{
		bpf.LoadAbsolute{Off: offsetNextHeader, Size: 2}, // and the hop limit behind it
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolICMPv6<<8 | hopLimit, SkipTrue: 9},
		bpf.LoadAbsolute{Off: offsetICMP, Size: 2}, // type, and code 0
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeSolicitation << 8, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: typeAdvertisement << 8, SkipTrue: 6},
		bpf.LoadAbsolute{Off: offsetEtherType, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IPV6, SkipTrue: 4},
		bpf.LoadExtension{Num: bpf.ExtType}, // PACKET_HOST 0, PACKET_BROADCAST 1, PACKET_MULTICAST 2
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: unix.PACKET_MULTICAST, SkipTrue: 2},
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		drop,
	}, responder.ToUs(bpf.LoadAbsolute{Off: offsetICMP, Size: 1}, typeAdvertisement),
		responder.Within(offsetTarget+12, ranges), responder.Within(offsetSource+12, ranges), []bpf.Instruction{drop}))
}
