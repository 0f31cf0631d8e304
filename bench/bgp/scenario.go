package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/bench"
	"metallb.io/operator/bench/operand"
)

const (
	// patience is how long a run may take.
	patience = 30 * time.Minute
	// changing is how many Services take turns at getting an address and losing it, and pace the pause between two turns.
	changing, pace = 20, 50 * time.Millisecond
	// settled is when a process has given back what it took to read everything.
	settled = 15 * time.Second
	// writers is how many Services are made at the same time.
	writers = 16
)

// scenario is one run.
type scenario struct {
	options
	dir     string
	cluster *operand.Cluster
	id      operand.Identity
	router  *router
	turns   []*corev1.Service // that get an address and lose it
	samples bench.Samples
}

// measure makes a cluster with a router beside it, and measures one thing after the other.
func measure(ctx context.Context, o options, samples bench.Samples) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := operand.New(ctx, operand.System)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	s := &scenario{options: o, dir: cmp.Or(o.keep, c.Dir), cluster: c, samples: samples}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	if s.id, err = c.Identify(ctx, "speaker"); err != nil {
		return err
	}
	here := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: operand.System, Name: name} }
	if err := c.InstallSpeaker(ctx,
		&v1beta1.IPAddressPool{ObjectMeta: here("pool"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{operand.Pool}}},
		&v1beta1.BGPAdvertisement{ObjectMeta: here("all")},
		&v1beta2.BGPPeer{ObjectMeta: here("router"), Spec: v1beta2.BGPPeerSpec{MyASN: 64512, ASN: 64513, Address: operand.Neighbour}},
	); err != nil {
		return err
	}
	machine, unplug, err := operand.Plug()
	if err != nil {
		return err
	}
	defer unplug()
	if s.router, err = startRouter(machine, s.dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.router.stop()) }()
	return s.run(ctx)
}

func (s *scenario) run(ctx context.Context) error {
	few, err := s.fill(ctx)
	if err != nil {
		return err
	}
	return s.speak(ctx, func(p *operand.Process) error {
		if err := s.start(ctx, p); err != nil {
			return err
		}
		p50, err := s.change(ctx, p, s.n)
		if err != nil {
			return err
		}
		s.samples.Add(bench.ChangeRatio, s.n, p50/few)
		return s.drain(ctx)
	})
}

// speak has a speaker run while something is done. Afterwards the router has no routes.
func (s *scenario) speak(ctx context.Context, do func(*operand.Process) error) error {
	p, err := s.cluster.StartSpeaker(s.id, s.binary, s.dir, s.profile > 0)
	if err != nil {
		return err
	}
	err = do(p)
	if err != nil {
		err = fmt.Errorf("%w; the speaker's log ends with:\n%s", err, p.Tail())
	}
	if err := errors.Join(err, p.Stop()); err != nil {
		return err
	}
	_, err = s.router.has(ctx, 0)
	return err
}

// fill makes the Services: a few first, beside which a change is measured, of which it returns the median in milliseconds. A
// speaker runs, so that the next one finds all reports written, as after years.
func (s *scenario) fill(ctx context.Context) (few float64, err error) {
	for i := range changing {
		svc, err := s.cluster.CreateService(ctx, s.n+i)
		if err != nil {
			return 0, err
		}
		s.turns = append(s.turns, svc)
	}
	err = s.speak(ctx, func(p *operand.Process) error {
		if err := s.create(ctx, 0, s.few); err != nil {
			return err
		}
		if err := s.settle(ctx, p, s.few); err != nil {
			return err
		}
		if few, err = s.change(ctx, p, s.few); err != nil {
			return err
		}
		if err := s.create(ctx, s.few, s.n); err != nil {
			return err
		}
		return s.settle(ctx, p, s.n)
	})
	return few, err
}

func (s *scenario) create(ctx context.Context, from, to int) error {
	return bench.Parallel(ctx, writers, to-from, func(ctx context.Context, i int) error {
		svc, err := s.cluster.CreateService(ctx, from+i)
		if err == nil {
			_, err = s.cluster.SetAddresses(ctx, svc, operand.Address(from+i))
		}
		return err
	})
}

// settle waits until the router has so many routes and the speaker nothing more to do.
func (s *scenario) settle(ctx context.Context, p *operand.Process, routes int) error {
	if _, err := s.router.has(ctx, routes); err != nil {
		return err
	}
	return p.Quiet(ctx)
}

// start measures how soon a process that has just been started has told the router everything.
func (s *scenario) start(ctx context.Context, p *operand.Process) error {
	s.record(p, "start")
	h, err := s.router.has(ctx, s.n)
	if err != nil {
		return err
	}
	told, err := p.Usage()
	if err != nil {
		return err
	}
	if err := p.Quiet(ctx); err != nil {
		return err
	}
	rest, err := p.Usage()
	if err != nil {
		return err
	}
	if s.profile > 0 {
		if err := p.Fetch(ctx, "/debug/pprof/heap", filepath.Join(s.dir, "start.heap")); err != nil {
			return err
		}
	}
	began, last := h.established.Sub(p.Began), h.last.Sub(h.established)
	select {
	case <-time.After(time.Until(p.Began.Add(settled))):
	case <-ctx.Done():
		return ctx.Err()
	}
	since, err := p.Usage()
	if err != nil {
		return err
	}
	fmt.Printf("start: Established after %.2f s, the last of %d routes %.3f s later; CPU %.2f s until then, %.2f s until all is at rest; RSS %.1f MiB then (peak %.1f), %.1f MiB %s after the start\n",
		began.Seconds(), s.n, last.Seconds(), told.CPU.Seconds(), rest.CPU.Seconds(), rest.RSS, rest.Peak, since.RSS, settled)
	s.samples.Add(bench.RoutesTold, s.n, last.Seconds())
	s.samples.Add(bench.RoutesStart, s.n, (began + last).Seconds())
	s.samples.Add(bench.RoutesCPU, s.n, told.CPU.Seconds())
	s.samples.Add(bench.RoutesRSS, s.n, since.RSS)
	return nil
}

// record begins a CPU profile of the speaker, where one is wanted.
func (s *scenario) record(p *operand.Process, name string) {
	if s.profile > 0 {
		go p.Profile(filepath.Join(s.dir, name), s.profile)
	}
}

// change gives one Service after the other an address and takes it away again, and returns the median of the times until the
// router has the route, in milliseconds.
func (s *scenario) change(ctx context.Context, p *operand.Process, present int) (p50 float64, err error) {
	s.record(p, fmt.Sprint("change-", present))
	before, err := p.Usage()
	if err != nil {
		return 0, err
	}
	var took []float64
	for i := range s.changes {
		turn := i % changing
		ms, err := s.turn(ctx, turn, operand.Address(s.n+turn), present)
		if err != nil {
			return 0, err
		}
		took = append(took, ms)
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(pace):
		}
	}
	after, err := p.Usage()
	if err != nil {
		return 0, err
	}
	p50, p99 := bench.Percentile(took, 0.5), bench.Percentile(took, 0.99)
	fmt.Printf("one new Service with %d present: route after %.1f ms (p50), %.1f ms (p99), %.1f ms (worst); CPU %.1f ms for each that comes and goes; RSS %.1f MiB then\n",
		present, p50, p99, bench.Percentile(took, 1), 1000*(after.CPU-before.CPU).Seconds()/float64(s.changes), after.RSS)
	if present == s.n {
		s.samples.Add(bench.ChangeP50, s.n, p50)
		s.samples.Add(bench.ChangeP99, s.n, p99)
	}
	return p50, nil
}

// turn gives a Service an address, until the router knows, and takes it away again. It returns the milliseconds from the
// answer of the API server to the route.
func (s *scenario) turn(ctx context.Context, i int, a netip.Addr, present int) (ms float64, err error) {
	given, err := s.cluster.SetAddresses(ctx, s.turns[i], a)
	if err != nil {
		return 0, err
	}
	written := time.Now()
	h, err := s.router.has(ctx, present+1)
	if err != nil {
		return 0, err
	}
	if s.turns[i], err = s.cluster.SetAddresses(ctx, given); err != nil {
		return 0, err
	}
	_, err = s.router.has(ctx, present)
	return 1000 * h.last.Sub(written).Seconds(), err
}

// drain measures how soon the router has heard that a node is to announce nothing more.
func (s *scenario) drain(ctx context.Context) error {
	const label = `{"metadata":{"labels":{"` + corev1.LabelNodeExcludeBalancers + `":""}}}`
	if _, err := s.cluster.Admin.CoreV1().Nodes().Patch(ctx, operand.NodeName, types.MergePatchType, []byte(label), metav1.PatchOptions{}); err != nil {
		return err
	}
	written := time.Now()
	h, err := s.router.has(ctx, 0)
	if err != nil {
		return err
	}
	fmt.Printf("drain: all routes are withdrawn after %.3f s\n", h.last.Sub(written).Seconds())
	s.samples.Add(bench.Drain, s.n, h.last.Sub(written).Seconds())
	return nil
}
