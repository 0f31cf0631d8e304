package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"metallb.io/operator/bench"
	"metallb.io/operator/internal/l2"
)

// family is one of the two protocols.
type family struct {
	name   string
	kernel netip.Addr // held by the node
	// What is answered: one address, and very many, in more blocks than the filter of a socket tells apart.
	one                    block
	many                   []block
	latency, cost, foreign bench.Measure
	stranger               func() netip.Addr // an address of the LAN that nobody answers for
}

var families = []family{
	{
		name: "ARP", kernel: netip.MustParseAddr(nodeIPv4), one: block{netip.MustParseAddr("10.64.0.1"), 1}, many: blocks("10.64.%d.0"),
		latency: bench.ARPLatency, cost: bench.ARPCost, foreign: bench.ARPForeign,
		stranger: func() netip.Addr { return netip.AddrFrom4([4]byte{10, byte(1 + rand.N(63)), random(), random()}) },
	},
	{
		name: "NDP", kernel: netip.MustParseAddr(nodeIPv6), one: block{netip.MustParseAddr("2001:db8::64:1"), 1}, many: blocks("2001:db8::%x:0"),
		latency: bench.NDPLatency, cost: bench.NDPCost, foreign: bench.NDPForeign,
		stranger: func() netip.Addr {
			return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 12: random() | 1, random(), random(), random()})
		},
	},
}

func random() byte { return byte(rand.N(256)) }

// manyAddresses is how many a node is to answer for.
const manyAddresses = 10000

// blocks are manyAddresses in 50 blocks of 200.
func blocks(format string) (out []block) {
	for i := range 50 {
		out = append(out, block{netip.MustParseAddr(fmt.Sprintf(format, 1+i)), manyAddresses / 50})
	}
	return out
}

const (
	questions = 2000 // asked of each in one go
	rounds    = 5    // by turns, where processor time is compared
	perSecond = 2000 // questions that are for others
	// breath is the pause before a question, in which a node that has answered comes to rest: what the kernel does when the
	// next one arrives is no time of the process's then.
	breath = 300 * time.Microsecond
)

// responders measures each protocol with two nodes: one that answers for an address, and one that answers for very many.
func responders(ctx context.Context, _ options, samples bench.Samples) error {
	for _, f := range families {
		if err := f.measure(ctx, samples); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

func (f family) measure(ctx context.Context, samples bench.Samples) error {
	few, err := startNode("few0")
	if err != nil {
		return err
	}
	defer few.close()
	lots, err := startNode("many0")
	if err != nil {
		return err
	}
	defer lots.close()
	began := time.Now()
	if _, err := few.answer(f.one); err != nil {
		return err
	}
	if _, err := lots.answer(f.many...); err != nil {
		return err
	}
	// The claims end, and refreshing begins only after l2.Refresh.
	if err := pause(ctx, l2.Claim[len(l2.Claim)-1]+2*time.Second); err != nil {
		return err
	}

	one, all, err := costs(few, lots, f.one.First, addresses(f.many...))
	if err != nil {
		return err
	}
	fmt.Printf("%s: CPU per answer %.1f us with 1 address, %.1f us with %d\n", f.name, one, all, manyAddresses)
	if time.Since(began) > l2.Refresh {
		fmt.Println("  with refreshing in it, which has begun meanwhile: the machine is busy with something else")
	}
	samples.Add(f.cost, 0, all/one)

	ours, kernels, err := latencies(few, f.one.First, f.kernel)
	if err != nil {
		return err
	}
	p50, kernelP50 := bench.Percentile(ours, 0.5), bench.Percentile(kernels, 0.5)
	fmt.Printf("%s: answered after p50 %.0f us, p99 %.0f us; by the kernel after p50 %.0f us, p99 %.0f us\n",
		f.name, p50, bench.Percentile(ours, 0.99), kernelP50, bench.Percentile(kernels, 0.99))
	samples.Add(f.latency, 0, p50/kernelP50)

	busy, idle, err := strangers(lots, f.stranger)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d requests a second for others: %.2f %% of a core, and %.2f %% without them\n", f.name, perSecond, busy, idle)
	samples.Add(f.foreign, 0, busy-idle)
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// latencies asks for an address that is answered by a responder and one that the kernel holds, by turns, in microseconds.
func latencies(n *node, our, kernel netip.Addr) (ours, kernels []float64, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, nil, err
	}
	one.Set(clientCPU)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, unix.SchedSetaffinity(0, &all)) }()
	for range questions {
		for a, to := range map[netip.Addr]*[]float64{our: &ours, kernel: &kernels} { // in either order
			time.Sleep(breath)
			took, err := n.ask(a)
			if err != nil {
				return nil, nil, err
			}
			*to = append(*to, float64(took.Nanoseconds())/1000)
		}
	}
	return ours, kernels, nil
}

// costs is the processor time of an answer, in microseconds, where there is one address and where there are many.
func costs(few, lots *node, one netip.Addr, many []netip.Addr) (ofOne, ofMany float64, err error) {
	var sums [2]time.Duration
	for range rounds {
		for i, n := range []*node{few, lots} {
			before, err := n.cpu()
			if err != nil {
				return 0, 0, err
			}
			for range questions {
				a := one
				if i == 1 {
					a = many[rand.N(len(many))]
				}
				time.Sleep(breath)
				if _, err := n.ask(a); err != nil {
					return 0, 0, err
				}
			}
			after, err := n.cpu()
			if err != nil {
				return 0, 0, err
			}
			sums[i] += after - before
		}
	}
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / (rounds * questions) }
	return per(sums[0]), per(sums[1]), nil
}

// strangers is the share of a core, in percent, that a node uses while others are asked for, and while nobody is: a second of
// each, by turns.
func strangers(n *node, stranger func() netip.Addr) (busy, idle float64, err error) {
	var spent, took [2]time.Duration
	for range rounds {
		for i, during := range []func() error{func() error { return flood(n, stranger) }, func() error { time.Sleep(time.Second); return nil }} {
			before, err := n.cpu()
			if err != nil {
				return 0, 0, err
			}
			began := time.Now()
			if err := during(); err != nil {
				return 0, 0, err
			}
			after, err := n.cpu()
			if err != nil {
				return 0, 0, err
			}
			spent[i] += after - before
			took[i] += time.Since(began)
		}
	}
	percent := func(i int) float64 { return 100 * float64(spent[i]) / float64(took[i]) }
	return percent(0), percent(1), nil
}

// flood asks for others for a second.
func flood(n *node, stranger func() netip.Addr) error {
	began := time.Now()
	for i := range perSecond {
		if wait := time.Until(began.Add(time.Duration(i) * time.Second / perSecond)); wait > 0 {
			time.Sleep(wait)
		}
		a := stranger()
		if err := n.send(n.request(a), a); err != nil {
			return err
		}
	}
	return nil
}
