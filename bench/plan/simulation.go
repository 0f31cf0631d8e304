package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/bench"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/ipam"
)

const (
	nodes     = 100
	addresses = 10_000
	// preferred nodes, where some are.
	preferred = nodes / 2
	// endpoints of a Service with externalTrafficPolicy Local, on as many nodes.
	endpoints = 3
)

// kind of a simulated cluster. The addresses should spread over so many nodes.
type kind struct {
	name   string
	over   int
	spread bench.Measure
	moves  bench.Measure
	prefer bool
	local  bool
}

var kinds = []kind{
	{name: "any node", over: nodes, spread: bench.SpreadPlain, moves: bench.MovesPlain},
	{name: fmt.Sprintf("%d nodes preferred", preferred), over: preferred, prefer: true, spread: bench.SpreadPreferred, moves: bench.MovesPreferred},
	{name: fmt.Sprintf("Local, endpoints on %d nodes", endpoints), over: nodes, local: true, spread: bench.SpreadLocal, moves: bench.MovesLocal},
}

// cluster makes a snapshot for no node in particular, the same each time.
func (k kind) cluster() announce.Snapshot {
	r := rand.New(rand.NewPCG(1, 2))
	pool, err := ipam.ParseRange("10.0.0.0/16")
	if err != nil {
		panic(err) // it is one
	}
	adv := config.L2Advertisement{Name: "all"}
	if k.prefer {
		adv.Preferred = []config.PreferredNodes{{Selector: labels.SelectorFromSet(labels.Set{"near": "yes"}), Weight: 10}}
	}
	s := announce.Snapshot{Cluster: announce.Cluster{
		Joined: true,
		Config: &config.Config{Pools: []config.Pool{{Name: "all", Addresses: []ipam.Range{pool}, L2: []config.L2Advertisement{adv}}}},
	}}
	for i := range nodes {
		n := announce.Node{Name: fmt.Sprintf("worker-%d.example.org", i), Labels: labels.Set{"kubernetes.io/hostname": fmt.Sprintf("worker-%d", i)}}
		if i < preferred {
			n.Labels["near"] = "yes"
		}
		s.Nodes = append(s.Nodes, n)
		s.Members = append(s.Members, announce.Member{Node: n.Name, Interfaces: []string{"eth0"}})
	}
	a := netip.MustParseAddr("10.0.0.0")
	for i := range addresses {
		svc := announce.Service{Name: fmt.Sprintf("shop/web-%d", i), Addresses: []netip.Addr{a}, Local: k.local, Endpoints4: announce.Endpoints{Any: true}}
		for _, n := range r.Perm(nodes)[:endpoints] {
			svc.Endpoints4.Nodes = append(svc.Endpoints4.Nodes, s.Nodes[n].Name)
		}
		slices.Sort(svc.Endpoints4.Nodes)
		s.Services = append(s.Services, svc)
		a = a.Next()
	}
	return s
}

// owners of all addresses; those of none are not in it.
func owners(d announce.Desired) map[netip.Addr]string {
	out := make(map[netip.Addr]string, len(d.Why))
	for _, w := range d.Why {
		if w.Owner != "" {
			out[w.Address] = w.Owner
		}
	}
	return out
}

// moved counts the addresses of all that have another owner, of which others than the one had it before.
func moved(before, after map[netip.Addr]string, node string) (all, others int) {
	for a, was := range before {
		if now, ok := after[a]; !ok || now != was {
			all++
			if was != node {
				others++
			}
		}
	}
	return all, others
}

// simulate takes nodes out one after the other and in again. What it adds is the same each time.
func simulate(w io.Writer, samples bench.Samples) {
	for _, k := range kinds {
		s := k.cluster()
		var p announce.Planner
		before := owners(p.Plan(s.Cluster, s.Services))
		count := map[string]int{}
		for _, node := range before {
			count[node]++
		}
		most := 0
		for _, n := range count {
			most = max(most, n)
		}
		mean := float64(addresses) / float64(k.over)
		samples.Add(k.spread, addresses, float64(most)/mean)
		fmt.Fprintf(w, "%s: %d addresses of %d nodes, the busiest has %d, mean %.0f\n", k.name, len(before), len(count), most, mean)

		for _, i := range []int{17, nodes - 1} {
			node := s.Members[i].Node
			c := s.Cluster
			c.Members = slices.Delete(slices.Clone(c.Members), i, i+1)
			after := owners(p.Plan(c, nil))
			lost, others := moved(before, after, node)
			again := owners(p.Plan(s.Cluster, nil))
			back, _ := moved(after, again, "")
			wrong, _ := moved(before, again, "")
			fmt.Fprintf(w, "  %s, with %d addresses, leaves: %d move, %d of others; it returns: %d move\n", node, count[node], lost, others, back)
			samples.Add(k.moves, addresses, float64(others+wrong+abs(lost-count[node])+abs(back-count[node])))
		}
	}
}

func abs(n int) int { return max(n, -n) }
