package responder

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2"
)

// MaxRanges is how many ranges of addresses the filter of a socket tells apart. It is what a frame for somebody else is
// compared with in the worst case, in the kernel, where each comparison takes about a nanosecond.
const MaxRanges = 16

// Within returns the part of a socket's filter that accepts a frame whose 32 bits at an offset are in one of the ranges,
// sorted. What is in none goes on to what follows.
func Within(offset uint32, ranges []l2.Range) []bpf.Instruction {
	program := []bpf.Instruction{bpf.LoadAbsolute{Off: offset, Size: 4}}
	for _, r := range ranges {
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpLessThan, Val: r.First, SkipTrue: 2},
			bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: r.Last, SkipTrue: 1},
			bpf.RetConstant{Val: MaxFrame})
	}
	return program
}

// ToUs returns the part of a socket's filter that accepts a frame for this station alone in which a value is so. What is
// for others too goes on to what follows.
func ToUs(value bpf.LoadAbsolute, is uint32) []bpf.Instruction {
	return []bpf.Instruction{
		value,
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: is, SkipTrue: 3},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_HOST, SkipTrue: 1},
		bpf.RetConstant{Val: MaxFrame},
	}
}
