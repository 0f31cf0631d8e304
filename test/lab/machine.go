package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"metallb.io/operator/test/lab/internal/pid1"
)

// stateDir is where all files of a running cluster are. Each machine has a
// directory of its name in it, with its spec, the PID of its first process, its
// logs and (a node) its disk.
type stateDir string

func (d stateDir) machine(name string) string { return filepath.Join(string(d), name) }
func (d stateDir) spec(name string) string    { return filepath.Join(string(d), name, "spec.json") }
func (d stateDir) pidFile(name string) string { return filepath.Join(string(d), name, "pid") }
func (d stateDir) images() string             { return filepath.Join(string(d), "images") }
func (d stateDir) pki(file string) string     { return filepath.Join(string(d), "pki", file) }
func (d stateDir) kubeconfig() string         { return d.pki("admin.kubeconfig") }

// pid is the machine's first process as this host numbers it, if the machine runs.
func (d stateDir) pid(machine string) (int, bool) {
	b, err := os.ReadFile(d.pidFile(machine))
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || !d.isFirst(pid, machine) {
		return 0, false
	}
	return pid, true
}

// isFirst says whether process pid is the machine's first: a recorded number may be another's by now.
func (d stateDir) isFirst(pid int, machine string) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	args := bytes.Split(b, []byte{0})
	return len(args) >= 3 && slices.Contains([]string{pid1.Enter, pid1.Init}, string(args[1])) && string(args[2]) == d.spec(machine)
}

// boot starts a machine's first process with the spec that is stored for it.
func (c *Cluster) boot(machine string) error {
	d := c.dir
	if _, on := d.pid(machine); on {
		return fmt.Errorf("%s is on already", machine)
	}
	log, err := os.OpenFile(filepath.Join(d.machine(machine), "machine.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	// The process goes on when it reads a byte, so none lives that is not recorded.
	wait, gate, err := os.Pipe()
	if err != nil {
		return err
	}
	defer wait.Close()
	defer gate.Close()
	cmd := exec.Command(filepath.Join(c.bins.Lab, "lab"), pid1.Enter, d.spec(machine))
	cmd.Env = c.machineEnv()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = wait, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if err := c.InNamespace(machine, cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", machine, err)
	}
	c.reaping.Go(func() { _ = cmd.Wait() }) // killed in the end, as it should be
	if err := os.WriteFile(d.pidFile(machine), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		return err
	}
	_, err = gate.Write([]byte{1})
	return err
}

// kill ends a machine's first process and so, by the kernel, all in it. It
// returns when none is left.
func (d stateDir) kill(machine string) error {
	pid, on := d.pid(machine)
	if !on {
		return removeIfThere(d.pidFile(machine))
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return removeIfThere(d.pidFile(machine))
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !d.isFirst(pid, machine) { // the descriptor holds the right process, or none is left
		return removeIfThere(d.pidFile(machine))
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill %s (process %d): %w", machine, pid, err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1000)
		if n > 0 {
			return removeIfThere(d.pidFile(machine))
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s (process %d) does not die", machine, pid)
		}
	}
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// machineEnv is the environment of everything that runs in a machine. Nothing
// of this host's (proxies, kubeconfigs) reaches in.
func (c *Cluster) machineEnv() []string {
	return []string{
		"PATH=" + strings.Join(c.bins.path(), ":"),
		"HOME=/root", "LANG=C.UTF-8", "TERM=" + os.Getenv("TERM"),
		"KUBECONFIG=" + c.Kubeconfig(),
	}
}

// PowerOff pulls the plug of a node or of the control plane: its cables go dead
// first, then every process in it is killed at once and its network stack is
// gone. Its disk stays.
func (c *Cluster) PowerOff(machine string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.powered(machine)
	if err != nil {
		return err
	}
	for on := range m.NICs {
		if err := c.setPort(machine, on, CarrierLoss); err != nil {
			return err
		}
	}
	if err := c.dir.kill(machine); err != nil {
		return err
	}
	if err := c.plan.unplug(m); err != nil {
		return err
	}
	// Its dead Pods' cgroups too: the next kubelet would spend seconds on each.
	return c.cgroups.Remove(filepath.Join(c.plan.prefix(), machine))
}

// powered gives a machine that has a power switch.
func (c *Cluster) powered(machine string) (Machine, error) {
	if machine != ControlPlane && !slices.Contains(c.Nodes(), machine) {
		return Machine{}, fmt.Errorf("%s has no power switch; %s and %v have", machine, ControlPlane, c.Nodes())
	}
	return c.plan.machine(machine)
}

// PowerOn switches a machine on again, as after a reboot. It does not wait for
// a node to be Ready (see [Cluster.WaitNode]); for the control plane it waits until
// the API server answers.
func (c *Cluster) PowerOn(ctx context.Context, machine string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.powered(machine)
	if err != nil {
		return err
	}
	if c.On(machine) {
		return fmt.Errorf("%s is on already", machine)
	}
	if err := c.plan.plugIn(m); err != nil {
		return err
	}
	if _, err := c.cgroups.Prepare(c.plan.prefix(), machine); err != nil {
		return err
	}
	if machine != ControlPlane {
		return c.boot(machine)
	}
	if err := removeIfThere(filepath.Join(c.dir.machine(machine), apiReady)); err != nil {
		return err
	}
	if err := c.boot(machine); err != nil {
		return err
	}
	return c.waitAPI(ctx)
}

// writeSpec stores a machine's spec, with the cgroups that it makes for it.
func (c *Cluster) writeSpec(s pid1.Spec) error {
	var err error
	if s.Cgroups, err = c.cgroups.Prepare(c.plan.prefix(), s.Hostname); err != nil {
		return err
	}
	s.Env = c.machineEnv()
	return s.Write(c.dir.spec(s.Hostname))
}

// LoadImage loads an OCI or Docker image archive into every node; nodes that
// are off load it when they are powered on. Archives are known by their base
// name: a second one of the same name replaces the first.
func (c *Cluster) LoadImage(ctx context.Context, archive string) error {
	stored := filepath.Join(c.dir.images(), strings.TrimSuffix(filepath.Base(archive), ".tar")+".tar")
	if err := copyFile(archive, stored); err != nil {
		return err
	}
	r := render{bins: c.bins}
	loaded := make(chan error)
	nodes := c.Nodes()
	for _, node := range nodes {
		go func() {
			if !c.On(node) {
				loaded <- nil
				return
			}
			_, err := c.Exec(ctx, node, append(r.loadImage(), stored)...)
			loaded <- err
		}()
	}
	var errs []error
	for range nodes {
		errs = append(errs, <-loaded)
	}
	return errors.Join(errs...)
}
