package main

import (
	"fmt"
	"time"

	"metallb.io/operator/bench"
	"metallb.io/operator/internal/ipam"
)

// measureAllocator measures the allocator alone, several times, since that is soon done.
func measureAllocator(samples bench.Samples, runs int) {
	const many, refusals = 65000, 100000
	fmt.Println("== the allocator alone")
	addresses, err := ipam.ParseRange("10.0.0.0/16")
	if err != nil {
		panic(err) // a constant
	}
	pools := []ipam.Pool{{Name: "p", AutoAssign: true, Ranges: []ipam.Range{addresses}}}
	requests := make([]ipam.Request, 1<<16+1)
	for i := range requests {
		requests[i] = ipam.Request{
			Key: ipam.Key{Namespace: "bench", Name: fmt.Sprintf("s%05d", i)}, Families: []ipam.Family{ipam.IPv4},
			OneIsEnough: true, Ports: []ipam.Port{{Protocol: "TCP", Number: 80}},
		}
	}
	for range max(runs, 9) {
		a := ipam.Rebuild(pools, nil, nil)
		began := time.Now()
		for i := range many {
			a.Assign(requests[i])
		}
		fill := float64(time.Since(began).Microseconds()) / 1000
		for i := many; i < 1<<16; i++ {
			a.Assign(requests[i])
		}
		last := requests[1<<16]
		began = time.Now()
		for range refusals {
			if res, _ := a.Assign(last); res.Reason != ipam.PoolExhausted {
				panic("a /16 has more addresses than it has: " + string(res.Reason))
			}
		}
		exhausted := float64(time.Since(began).Nanoseconds()) / refusals
		fmt.Printf("%d addresses in %.1f ms; exhausted is known in %.0f ns\n", many, fill, exhausted)
		samples.Add(bench.AllocatorFill, 0, fill)
		samples.Add(bench.AllocatorExhausted, 0, exhausted)
	}
}
