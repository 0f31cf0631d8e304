package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"metallb.io/operator/bench"
	"metallb.io/operator/bench/operand"
	"metallb.io/operator/controllers/service"
)

const (
	// patience bounds each scenario.
	patience = 10 * time.Minute
	// perSecond is the pace of the scenario with one.
	perSecond = 20
)

// Beginnings of addresses: those of the pool, and two sets that the floor writes.
const (
	given  = "10.64."
	floor1 = "198.18."
	floor2 = "198.19."
)

// trial is one run with one number of Services.
type trial struct {
	options
	*cluster
	n       int
	samples bench.Samples
	tracker *tracker
	peak    float64
}

// measure goes through all scenarios once. Services are created on an API server of its own: to delete all those of the others
// takes it as long as to create them.
func measure(ctx context.Context, o options, n int, samples bench.Samples) error {
	t := &trial{options: o, n: n, samples: samples}
	var created, patched time.Duration
	for _, scenarios := range [][]scenario{
		{
			{"the floor", func(ctx context.Context) (err error) { created, patched, err = t.floors(ctx); return err }},
			{"pending at start", func(ctx context.Context) error { return t.pending(ctx, patched) }},
			{"restart", t.restart},
		},
		{{"created while running", func(ctx context.Context) error { return t.created(ctx, created) }}},
	} {
		if err := t.run(ctx, scenarios); err != nil {
			return err
		}
	}
	samples.Add(bench.PeakRSS, n, t.peak)
	return nil
}

// scenario is a part of a trial.
type scenario struct {
	name string
	run  func(context.Context) error
}

// run goes through scenarios on a new API server.
func (t *trial) run(ctx context.Context, scenarios []scenario) (err error) {
	if t.cluster, err = newCluster(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the watch
	if t.tracker, err = newTracker(ctx, t.Admin); err != nil {
		return err
	}
	for _, s := range scenarios {
		limited, cancel := context.WithTimeout(ctx, patience)
		err := s.run(limited)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (t *trial) address(begin string, i int) string {
	return fmt.Sprintf("%s%d.%d", begin, i/256, i%256)
}

// floors measures the bare client: Services created and at once patched, and Services that are there patched. It leaves
// all Services without an address.
func (t *trial) floors(ctx context.Context) (created, patched time.Duration, err error) {
	spent := bench.OwnCPU()
	began, g := time.Now(), t.tracker.expect(t.n, hasAddress(floor1))
	// As with the controller, creating and patching are done by as many at a time each.
	made := make(chan *corev1.Service, t.n)
	var errs [2]error
	var group sync.WaitGroup
	group.Go(func() {
		errs[0] = t.createAll(ctx, t.n, func(_ context.Context, svc *corev1.Service, _ int) error { made <- svc; return nil })
		close(made)
	})
	group.Go(func() {
		errs[1] = bench.Parallel(ctx, service.Writers, t.n, func(ctx context.Context, i int) error {
			svc, ok := <-made
			if !ok {
				return nil // the other's error says it
			}
			return t.status(ctx, svc.Name, svc.ResourceVersion, t.address(floor1, i))
		})
	})
	group.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return 0, 0, err
	}
	end, err := t.tracker.wait(ctx, g)
	if err != nil {
		return 0, 0, err
	}
	created = end.Sub(began)
	createdCPU := bench.OwnCPU() - spent

	spent = bench.OwnCPU()
	began, g = time.Now(), t.tracker.expect(t.n, hasAddress(floor2))
	err = bench.Parallel(ctx, service.Writers, t.n, func(ctx context.Context, i int) error {
		return t.status(ctx, name(i), t.tracker.version(name(i)), t.address(floor2, i))
	})
	if err != nil {
		return 0, 0, err
	}
	if end, err = t.tracker.wait(ctx, g); err != nil {
		return 0, 0, err
	}
	patched = end.Sub(began)
	fmt.Printf("floor: created and patched in %s, CPU of the client %.2f ms per Service; patched in %s, CPU %.2f ms per Service\n",
		seconds(created), millis(createdCPU)/float64(t.n), seconds(patched), millis(bench.OwnCPU()-spent)/float64(t.n))

	g = t.tracker.expect(t.n, hasNone)
	if err := bench.Parallel(ctx, service.Writers, t.n, func(ctx context.Context, i int) error { return t.clear(ctx, name(i)) }); err != nil {
		return 0, 0, err
	}
	_, err = t.tracker.wait(ctx, g)
	return created, patched, err
}

// pending starts the controller with all Services waiting, and when it is done adds some at a steady pace.
func (t *trial) pending(ctx context.Context, floor time.Duration) (err error) {
	before, err := readWrites(ctx, t.Admin)
	if err != nil {
		return err
	}
	g := t.tracker.expect(t.n, hasAddress(given))
	p, err := t.start("pending")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	end, err := t.tracker.wait(ctx, g)
	if err != nil {
		return fmt.Errorf("%w; the controller's log ends with:\n%s", err, p.Tail())
	}
	took := end.Sub(p.Began)
	if err := p.Quiet(ctx); err != nil {
		return err
	}
	u, err := t.note(ctx, p, before, "pending at start", took, floor)
	if err != nil {
		return err
	}
	t.samples.Add(bench.PendingRatio, t.n, took.Seconds()/floor.Seconds())
	t.samples.Add(bench.PendingCPU, t.n, millis(u.CPU)/float64(t.n))
	return t.steady(ctx, p)
}

// steady creates Services at a pace while all others are there.
func (t *trial) steady(ctx context.Context, p *operand.Process) error {
	before, err := readWrites(ctx, t.Admin)
	if err != nil {
		return err
	}
	start, err := p.Usage()
	if err != nil {
		return err
	}
	g := t.tracker.expect(t.paced, hasAddress(given))
	sent := make([]time.Time, t.paced)
	names := make([]string, t.paced)
	began := time.Now()
	err = pace(ctx, t.paced, perSecond, func(ctx context.Context, i int) error {
		names[i] = fmt.Sprintf("paced%05d", i)
		sent[i] = time.Now()
		_, err := t.create(ctx, names[i])
		return err
	})
	if err != nil {
		return err
	}
	if _, err := t.tracker.wait(ctx, g); err != nil {
		return err
	}
	var whole, seen []float64
	for i, name := range names {
		whole = append(whole, millis(g.at[name].Sub(sent[i])))
		seen = append(seen, millis(g.at[name].Sub(t.tracker.addedAt(name))))
	}
	u, err := p.Usage()
	if err != nil {
		return err
	}
	after, err := readWrites(ctx, t.Admin)
	if err != nil {
		return err
	}
	fmt.Printf("%d a second with %d present, %d in %s: from the request to the address %s; from the Service to the address, as a watch sees both, %s; CPU %s\n",
		perSecond, t.n, t.paced, seconds(time.Since(began)), distribution(whole), distribution(seen), seconds(u.CPU-start.CPU))
	fmt.Printf("  writes: %s\n", after.since(before))
	t.samples.Add(bench.PacedP50, t.n, bench.Percentile(seen, 0.5))
	return nil
}

func distribution(ms []float64) string {
	return fmt.Sprintf("p50 %.1f, p99 %.1f, worst %.1f ms", bench.Percentile(ms, 0.5), bench.Percentile(ms, 0.99), slices.Max(ms))
}

// restart starts the controller with all Services assigned, and one that was created in its absence: once that has its
// address the controller serves, and none is served before all others are adopted.
func (t *trial) restart(ctx context.Context) (err error) {
	const probe = "probe"
	g := t.tracker.expect(1, func(svc *corev1.Service) bool { return svc.Name == probe && hasAddress(given)(svc) })
	if _, err := t.create(ctx, probe); err != nil {
		return err
	}
	before, err := readWrites(ctx, t.Admin)
	if err != nil {
		return err
	}
	p, err := t.start("restart")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	end, err := t.tracker.wait(ctx, g)
	if err != nil {
		return err
	}
	took := end.Sub(p.Began)
	if err := p.Quiet(ctx); err != nil {
		return err
	}
	if _, err := t.note(ctx, p, before, "restart", took, 0); err != nil {
		return err
	}
	after, err := readWrites(ctx, t.Admin)
	if err != nil {
		return err
	}
	t.samples.Add(bench.RestartReady, t.n, took.Seconds())
	t.samples.Add(bench.RestartWrites, t.n, float64(after.since(before).of("services")-1)) // the probe's
	return nil
}

// created creates all Services while the controller runs.
func (t *trial) created(ctx context.Context, floor time.Duration) (err error) {
	p, err := t.start("created")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	g := t.tracker.expect(1, hasAddress(given))
	if _, err := t.create(ctx, "first"); err != nil {
		return err
	}
	if _, err := t.tracker.wait(ctx, g); err != nil {
		return err
	}
	if err := p.Quiet(ctx); err != nil {
		return err
	}
	start, err := p.Usage()
	if err != nil {
		return err
	}
	before, err := readWrites(ctx, t.Admin)
	if err != nil {
		return err
	}
	g = t.tracker.expect(t.n, hasAddress(given))
	began := time.Now()
	if err := t.createAll(ctx, t.n, nil); err != nil {
		return err
	}
	end, err := t.tracker.wait(ctx, g)
	if err != nil {
		return err
	}
	took := end.Sub(began)
	if err := p.Quiet(ctx); err != nil {
		return err
	}
	u, err := t.note(ctx, p, before, "created while running", took, floor)
	if err != nil {
		return err
	}
	t.samples.Add(bench.CreatedRatio, t.n, took.Seconds()/floor.Seconds())
	t.samples.Add(bench.CreatedCPU, t.n, millis(u.CPU-start.CPU)/float64(t.n))
	return nil
}

// start starts the controller, with a log and profiles in the name of a scenario.
func (t *trial) start(scenario string) (*operand.Process, error) {
	dir := cmp.Or(t.keep, t.Dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	base := filepath.Join(dir, fmt.Sprintf("%s-%d", scenario, t.n))
	p, err := operand.StartProcess(operand.Options{
		Binary: t.binary, Args: []string{"controller", "--namespace", system}, Kubeconfig: t.kubeconfig, Log: base + ".log", Profiled: t.profile > 0,
	})
	if err == nil && t.profile > 0 {
		go p.Profile(base, t.profile)
	}
	return p, err
}

// note prints what a scenario took, and keeps the peak of memory.
func (t *trial) note(ctx context.Context, p *operand.Process, before writes, what string, took, floor time.Duration) (operand.Usage, error) {
	u, err := p.Usage()
	if err != nil {
		return u, err
	}
	after, err := readWrites(ctx, t.Admin)
	if err != nil {
		return u, err
	}
	if t.profile > 0 {
		if err := p.Fetch(ctx, "/debug/pprof/heap", p.Log+".heap"); err != nil {
			return u, err
		}
	}
	ratio := ""
	if floor > 0 {
		ratio = fmt.Sprintf(", %.2f x floor", took.Seconds()/floor.Seconds())
	}
	fmt.Printf("%s: %s%s; CPU of the process %s (%.2f ms per Service); RSS %.0f MiB, peak %.0f MiB\n  writes: %s\n",
		what, seconds(took), ratio, seconds(u.CPU), millis(u.CPU)/float64(t.n), u.RSS, u.Peak, after.since(before))
	t.peak = max(t.peak, u.Peak)
	return u, nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
