// Command plan simulates which of 100 nodes own 10 000 addresses: how evenly they spread, which of them move when a node
// leaves and returns, and what a plan costs. It prints what it finds and ends with 1 where a bar of package bench is
// missed.
//
//	go run ./bench/plan
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"

	"metallb.io/operator/bench"
	"metallb.io/operator/internal/announce"
)

func main() {
	runs := flag.Int("runs", 5, "runs of what takes time; medians are judged")
	flag.Parse()
	samples := bench.Samples{}
	simulate(os.Stdout, samples)
	for range *runs {
		measure(samples)
	}
	fmt.Println()
	if !bench.Report(os.Stdout, bench.Judge(slices.Concat(bench.Election, bench.Plan), samples)) {
		os.Exit(1)
	}
}

// measure adds what plans for one of the nodes cost.
func measure(samples bench.Samples) {
	s := kinds[0].cluster()
	s.Node, s.Interfaces = s.Members[7].Node, s.Members[7].Interfaces
	var p announce.Planner
	p.Plan(s.Cluster, s.Services)

	const full = 10
	c := s.Cluster
	start := bench.OwnCPU()
	for i := range full { // a member leaves, another returns
		c.Members = slices.Delete(slices.Clone(s.Members), 8+i, 9+i)
		p.Plan(c, nil)
	}
	samples.Add(bench.FullPlan, addresses, (bench.OwnCPU()-start).Seconds()*1e3/full)

	const steps = 20_000
	start = bench.OwnCPU()
	for i := range steps { // its endpoints go, those of another come
		svc := s.Services[i%len(s.Services)]
		svc.Endpoints4.Any = i%2 == 0
		p.Plan(c, []announce.Service{svc})
	}
	samples.Add(bench.OneService, addresses, (bench.OwnCPU()-start).Seconds()*1e6/steps)
}
