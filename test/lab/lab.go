package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"metallb.io/operator/test/lab/internal/cgroup"
)

// Cluster is a running cluster. Its methods may be called from many goroutines.
type Cluster struct {
	state
	plan    plan
	dir     stateDir
	bins    binaries
	cgroups cgroup.Hierarchies
	logf    func(format string, args ...any)

	mu      sync.Mutex     // held while machines, cables or the router change
	reaping sync.WaitGroup // machines of which this process is the parent
	janitor *janitor       // nil unless this process made the cluster and keeps it
}

// state is what a cluster's state.json tells those who attach to it.
type state struct {
	Options     Options
	Binaries    binaries
	Snapshotter string
	Started     time.Time
}

// ErrRunning says that a cluster that was made to stay runs under this instance.
var ErrRunning = errors.New("a cluster is up already")

// Up builds what is not built yet, cleans up what a crashed run left, and
// returns when all nodes are Ready and Pods can be made in namespace default.
// When it fails it leaves nothing but a copy of the logs, which the error names.
// A cluster that is not detached is torn down when this process ends, however it
// ends. If other processes hold all its instances, Up waits for one until ctx ends.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	of, err := instances(o.Instance)
	if err != nil {
		return nil, err
	}
	if lacks := Missing(); len(lacks) > 0 {
		return nil, lackError(lacks)
	}
	dirs, err := build(ctx, o.Logf, "kubernetes", "containerd", "lab")
	if err != nil {
		return nil, err
	}
	groups, err := cgroup.Host()
	if err != nil {
		return nil, err
	}
	var lock *os.File
	if o.Instance, lock, err = claim(ctx, of, o.Logf); err != nil {
		return nil, err
	}
	defer lock.Close() // the janitor has it too
	c := &Cluster{plan: plan{o.Instance, o.Nodes}, dir: instanceDir(o.Instance), cgroups: groups, logf: o.Logf,
		bins: binaries{dirs["kubernetes"], dirs["containerd"], dirs["lab"]}}
	c.state = state{Options: o, Binaries: c.bins, Started: time.Now()}
	if err := sweep(o.Instance); err != nil {
		return nil, fmt.Errorf("clean up after an earlier run: %w", err)
	}
	if c.janitor, err = startJanitor(c.bins, o.Instance, lock); err != nil {
		return nil, err
	}
	if err := c.up(ctx); err != nil {
		if !errors.Is(err, context.Canceled) {
			err = errors.Join(err, c.saveFailure())
		}
		return nil, errors.Join(err, c.tearDown())
	}
	if o.Detach {
		err := c.janitor.dismiss()
		c.janitor = nil
		return c, err
	}
	return c, nil
}

// up makes the network, the files and the machines, and waits for the nodes.
func (c *Cluster) up(ctx context.Context) error {
	if err := os.MkdirAll(c.dir.images(), 0o755); err != nil {
		return err
	}
	var err error
	if c.Snapshotter, err = snapshotter(string(c.dir)); err != nil {
		return err
	}
	files := make(chan error, 1)
	go func() { files <- c.writeFiles() }()
	err = c.plan.makeNetwork()
	if err := errors.Join(err, <-files); err != nil {
		return err
	}
	c.logf("network and files made after %s", c.age())
	for _, name := range append([]string{ControlPlane}, c.Nodes()...) {
		if err := c.boot(name); err != nil {
			return err
		}
	}
	if err := c.waitAPI(ctx); err != nil {
		return err
	}
	c.logf("API server ready after %s", c.age())
	a, err := c.newAPI()
	if err != nil {
		return err
	}
	for i, name := range c.Nodes() {
		if err := a.putNode(ctx, name, nodeObject(name, i+1)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(string(c.dir), nodesMade), nil, 0o644); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	for _, name := range c.Nodes() {
		if err := c.WaitNode(ctx, name, true); err != nil {
			return err
		}
	}
	// Without it no Pod can be made.
	err = poll(ctx, 50*time.Millisecond, "ServiceAccount default", func() error {
		return a.do(ctx, "GET", "/api/v1/namespaces/default/serviceaccounts/default", "", nil)
	})
	if err != nil {
		return err
	}
	c.logf("all nodes Ready after %s", c.age())
	return nil
}

// waitAPI waits for the API server and lets the programs go on that wait for it.
func (c *Cluster) waitAPI(ctx context.Context) error {
	a, err := c.newAPI()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	err = poll(ctx, 50*time.Millisecond, "the API server", func() error {
		err := a.do(ctx, "GET", "/readyz", "", nil)
		if refused := new(apiError); errors.As(err, &refused) || err == nil {
			return err
		}
		if _, on := c.dir.pid(ControlPlane); !on {
			return fmt.Errorf("the control plane machine ended: %w", err)
		}
		return err
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir.machine(ControlPlane), apiReady), nil, 0o644)
}

func (c *Cluster) age() time.Duration { return time.Since(c.Started).Round(10 * time.Millisecond) }

// attach reads the state of an instance's cluster; the cluster may be dead.
func attach(n int) (*Cluster, error) {
	c := &Cluster{dir: instanceDir(n), logf: logOr(nil)}
	b, err := os.ReadFile(c.dir.stateFile())
	if err != nil {
		return nil, fmt.Errorf("no lab is up: %w", err)
	}
	if err := json.Unmarshal(b, &c.state); err != nil {
		return nil, fmt.Errorf("%s: %w", c.dir.stateFile(), err)
	}
	c.plan, c.bins = plan{n, c.Options.Nodes}, c.Binaries
	c.cgroups, err = cgroup.Host()
	return c, err
}

// Attach returns the cluster that another process brought up under an instance
// (zero: LAB_INSTANCE, or 0).
func Attach(n int) (*Cluster, error) {
	n, err := instance(n)
	if err != nil {
		return nil, err
	}
	c, err := attach(n)
	if err != nil {
		return nil, err
	}
	if !c.alive() {
		return nil, fmt.Errorf("the lab of %s is dead; `lab down` cleans up", c.Started.Format(time.DateTime))
	}
	return c, nil
}

// alive says whether any machine is on.
func (c *Cluster) alive() bool {
	for _, m := range c.plan.machines() {
		if _, on := c.dir.pid(m.Name); on {
			return true
		}
	}
	return false
}

// Down ends the cluster and removes every trace of it. A cluster that belongs
// to another process that still runs is left alone.
func (c *Cluster) Down() error {
	if c.janitor != nil {
		return c.tearDown()
	}
	return down(c.plan.Instance)
}

// tearDown is Down by the process that holds the lock.
func (c *Cluster) tearDown() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := sweep(c.plan.Instance)
	if err == nil {
		c.reaping.Wait()
	}
	if c.janitor != nil {
		err = errors.Join(err, c.janitor.dismiss())
		c.janitor = nil
	}
	return err
}

// Nodes returns the names of the nodes, in order.
func (c *Cluster) Nodes() []string { return c.plan.nodes() }

// Machines returns every machine that has an address.
func (c *Cluster) Machines() []Machine { return c.plan.machines() }

// Machine returns the machine of that name. It panics if there is none.
func (c *Cluster) Machine(name string) Machine {
	m, err := c.plan.machine(name)
	if err != nil {
		panic(err)
	}
	return m
}

// On says whether a machine with processes of its own (a node, the control plane, the
// router with a routing program) is powered on.
func (c *Cluster) On(machine string) bool {
	_, on := c.dir.pid(machine)
	return on
}

// Kubeconfig is the path of a kubeconfig with all rights that works on this host.
func (c *Cluster) Kubeconfig() string { return c.dir.kubeconfig() }

// LogDir is where a machine's programs write, one file <program>.log each.
func (c *Cluster) LogDir(machine string) string { return c.dir.machine(machine) }

// CgroupVersion is 1 or 2: what this host has, and so the nodes.
func (c *Cluster) CgroupVersion() int { return c.cgroups.Version }
