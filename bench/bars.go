// Package bench holds the bars that measurements are held against, and judges. What measures is a command of its own in
// a folder below; every bar stands in this file.
package bench

import "fmt"

// Measure names what is measured. Its unit is part of the name.
type Measure string

// What the command addresses measures: the controller and the allocator.
const (
	// CreatedRatio: Services created while the controller runs, until the last has its address, as a multiple of the
	// floor.
	CreatedRatio Measure = "created while running: time / floor"
	// PendingRatio: the same for Services that wait when the controller's process starts.
	PendingRatio Measure = "pending at start: time / floor"
	// CreatedCPU, PendingCPU: processor time of the controller for each of them.
	CreatedCPU Measure = "created while running: CPU ms per Service"
	PendingCPU Measure = "pending at start: CPU ms per Service"
	// PacedP50: half of the Services that are created at a steady pace have their address within this time after they are
	// there, as a client that watches sees both. How long the API server takes to create them is printed too, but no bar.
	PacedP50 Measure = "paced: p50 of creation to address, ms"
	// RestartReady: from the start of the process until it serves, with all Services adopted.
	RestartReady Measure = "restart: s until ready"
	// RestartWrites: requests of any outcome that would write a Service, as the API server counts them.
	RestartWrites Measure = "restart: writes of Services"
	// PeakRSS of any controller process of a run.
	PeakRSS Measure = "peak RSS, MiB"
	// AllocatorFill: 65 000 addresses of a /16, one after the other.
	AllocatorFill Measure = "allocator: ms for 65000 addresses of a /16"
	// AllocatorExhausted: the answer that there is no address left.
	AllocatorExhausted Measure = "allocator: ns until exhausted is known"
)

// What the command plan measures: the election and the plans of a speaker, with 100 nodes.
const (
	// Spread: the addresses of the node that has most, as a multiple of the mean of those that should have some.
	SpreadPlain     Measure = "spread: busiest / mean"
	SpreadPreferred Measure = "spread, half preferred: busiest / mean"
	SpreadLocal     Measure = "spread, Local: busiest / mean"
	// Moves: the addresses of others that move when a node leaves or returns, and those of its own that do not.
	MovesPlain     Measure = "node out and in: wrong moves"
	MovesPreferred Measure = "node out and in, half preferred: wrong moves"
	MovesLocal     Measure = "node out and in, Local: wrong moves"
	// FullPlan: processor time of deciding on all addresses anew, as when a node is lost.
	FullPlan Measure = "full plan: CPU ms"
	// OneService: the same of bringing the plan in line with a change of one Service.
	OneService Measure = "plan of one Service: CPU us"
)

// Bar is the most that the median of a measurement's runs may come to.
type Bar struct {
	Measure Measure
	// Services that are present; 0 where that is no matter.
	Services int
	Most     float64
}

// Addresses are the bars of the command addresses. They were set before anything was measured.
var Addresses = []Bar{
	{CreatedRatio, 1000, 1.5},
	{CreatedRatio, 5000, 1.5},
	{CreatedRatio, 10000, 1.5},
	{PendingRatio, 1000, 1.5},
	{PendingRatio, 5000, 1.5},
	{PendingRatio, 10000, 1.5},
	{CreatedCPU, 10000, 1},
	{PendingCPU, 10000, 1},
	{PacedP50, 5000, 10},
	{RestartReady, 10000, 3},
	{RestartWrites, 1000, 0},
	{RestartWrites, 5000, 0},
	{RestartWrites, 10000, 0},
	{PeakRSS, 10000, 120},
	{AllocatorFill, 0, 100},
	{AllocatorExhausted, 0, 1000},
}

// What the command bfd measures: a process that has BFD sessions and nothing else, at 100 ms in both directions.

// SessionsCPU is what so many sessions take of the processor.
func SessionsCPU(n int) Measure {
	return Measure(fmt.Sprintf("%d BFD sessions at 100 ms: %% of a core", n))
}

// SessionsRSS is the memory of a process with so many sessions.
func SessionsRSS(n int) Measure { return Measure(fmt.Sprintf("%d BFD sessions: RSS, MiB", n)) }

// What the suite test/e2e/bfd measures on the lab, in one run with the same case between two FRR.
const (
	// DetectionOverFRR: from the silent cut of a cable to the Down that the program sees, less what FRR takes until it logs
	// its own; of the medians and of the worst, whichever is more.
	DetectionOverFRR Measure = "BFD: detection less that between two FRR, ms"
	// DetectionWorst100: the slowest of all cuts at 100 ms x 3.
	DetectionWorst100 Measure = "BFD: worst detection at 100 ms x 3, ms"
	// FalseDowns300: Downs of sessions at 300 ms x 3 while ordinary pods saturate the node.
	FalseDowns300 Measure = "BFD: false Downs at 300 ms x 3 on a saturated node"
)

// What the suite test/e2e/bgp measures on the lab: how long the router's kernel forwards to a node that is lost.
const (
	// RouteOverFRR: from the silent cut of a node's cable, with BFD at 100 ms x 3, less what it takes for a second FRR in its
	// place in the same run; of the slowest.
	RouteOverFRR Measure = "BGP: route of a lost node less that of FRR, ms"
	// RouteWorst: the slowest of all cuts.
	RouteWorst Measure = "BGP: worst time of the route of a lost node, ms"
	// RouteKilled: from the kill of a speaker's process; the slowest.
	RouteKilled Measure = "BGP: worst time of the route of a killed speaker, ms"
)

// LostRoutes are the bars of the suite test/e2e/bgp.
var LostRoutes = []Bar{
	{RouteOverFRR, 0, 50},
	{RouteWorst, 0, 500},
	{RouteKilled, 0, 150},
}

// BFD are the bars of the command bfd and of the suite test/e2e/bfd.
var BFD = []Bar{
	{SessionsCPU(1), 0, 2},
	{SessionsCPU(10), 0, 5},
	{SessionsCPU(100), 0, 15},
	{SessionsCPU(500), 0, 30},
	{SessionsRSS(1), 0, 10},
	{SessionsRSS(10), 0, 10},
	{SessionsRSS(100), 0, 12},
	{SessionsRSS(500), 0, 20},
	{DetectionOverFRR, 0, 50},
	{DetectionWorst100, 0, 500},
	{FalseDowns300, 0, 0},
}

// Election are the bars of the command plan that do not depend on the machine.
var Election = []Bar{
	{SpreadPlain, 10000, 1.5},
	{SpreadPreferred, 10000, 1.5},
	{SpreadLocal, 10000, 1.5},
	{MovesPlain, 10000, 0},
	{MovesPreferred, 10000, 0},
	{MovesLocal, 10000, 0},
}

// Plan are its other bars.
var Plan = []Bar{
	{FullPlan, 10000, 100},
	{OneService, 10000, 200},
}

// What the command l2 measures: the responders in network namespaces, next to the kernel's own answer in the same run.
const (
	// Latency: half of the requests are answered within this time, as a multiple of that of the kernel for an address that it
	// holds on the same interface.
	ARPLatency Measure = "ARP: p50 of the answer / the kernel's"
	NDPLatency Measure = "NDP: p50 of the answer / the kernel's"
	// Cost: processor time of an answer.
	ARPCost Measure = "ARP: CPU of an answer, 10000 addresses / 1"
	NDPCost Measure = "NDP: CPU of an answer, 10000 addresses / 1"
	// Foreign: what requests for addresses outside the pools cost a node that answers for 10 000.
	ARPForeign Measure = "ARP: 2000 foreign requests/s: % of a core"
	NDPForeign Measure = "NDP: 2000 foreign requests/s: % of a core"
	// ManyReady: until all are claimed and all their groups are joined.
	ManyReady      Measure = "10000 IPv6 addresses: s until ready"
	ManyUnanswered Measure = "10000 IPv6 addresses: not answered"
	// RSS of the process of a speaker that has come to rest.
	SpeakerIdleRSS Measure = "idle speaker: RSS, MiB"
	SpeakerRSS     Measure = "speaker with 1000 addresses: RSS, MiB"
)

// Responders, ManyAddresses and SpeakerMemory are the bars of the command l2.
var (
	Responders = []Bar{
		{ARPLatency, 0, 3},
		{ARPCost, 0, 1.2},
		{ARPForeign, 0, 1},
		{NDPLatency, 0, 3},
		{NDPCost, 0, 1.2},
		{NDPForeign, 0, 1},
	}
	ManyAddresses = []Bar{
		{ManyReady, 0, 5},
		{ManyUnanswered, 0, 0},
	}
	SpeakerMemory = []Bar{
		{SpeakerIdleRSS, 0, 45},
		{SpeakerRSS, 0, 70},
	}
)

// What the command bgp measures: a speaker with one router, as that router sees it.
const (
	// RoutesTold: from the router's Established to the last route, after a start with all Services there.
	RoutesTold Measure = "BGP start: s from Established to the last route"
	// RoutesStart: the same from the start of the process.
	RoutesStart Measure = "BGP start: s from the process to the last route"
	// RoutesCPU: processor time of the speaker and its BGP engine until then.
	RoutesCPU Measure = "BGP start: CPU s until the last route"
	// RoutesRSS: the speaker and its BGP engine, once they have given back what they took to read everything. What they have at
	// rest before that, at their peak and after many changes is printed too.
	RoutesRSS Measure = "BGP: RSS of both processes, MiB"
	// Change: from the API server's answer to the write of a Service's status until the router has the route; ChangeRatio: the
	// median, as a multiple of that with 100 Services in the same run.
	ChangeP50   Measure = "one new Service: p50 of status to route, ms"
	ChangeP99   Measure = "one new Service: p99 of status to route, ms"
	ChangeRatio Measure = "one new Service: p50 / p50 with 100 present"
	// Drain: from the API server's answer to the label that excludes the node until the last route is withdrawn.
	Drain Measure = "node drain: s until all is withdrawn"
)

// Routes are the bars of the command bgp. They were set before anything was measured.
var Routes = []Bar{
	{RoutesTold, 5000, 1},
	{RoutesStart, 5000, 3.5},
	{RoutesCPU, 5000, 2},
	{RoutesRSS, 5000, 140},
	{ChangeP50, 5000, 10},
	{ChangeP99, 5000, 30},
	{ChangeRatio, 5000, 2},
	{Drain, 5000, 1},
}
