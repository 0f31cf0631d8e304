package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Output is what a command wrote.
type Output struct{ Stdout, Stderr string }

// Streams are the standard streams of a command; a nil one is /dev/null.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Exec runs a command in a machine and waits for it: in all namespaces of a
// node, the control plane or a running router, else in the machine's network
// namespace. The error holds what the command wrote to standard error. When ctx ends, the command
// and what it started are killed.
func (c *Cluster) Exec(ctx context.Context, machine string, args ...string) (Output, error) {
	var out, errOut bytes.Buffer
	err := c.ExecStreams(ctx, machine, Streams{Out: &out, Err: &errOut}, args...)
	if err != nil {
		err = fmt.Errorf("on %s: %s: %w%s", machine, strings.Join(args, " "), err, detail(errOut.String()))
	}
	return Output{out.String(), errOut.String()}, err
}

// ExecStreams is Exec with the caller's streams. A command that failed gives
// an *exec.ExitError.
func (c *Cluster) ExecStreams(ctx context.Context, machine string, s Streams, args ...string) error {
	if _, err := c.plan.machine(machine); err != nil && machine != Switch {
		return err
	}
	if len(args) == 0 {
		return errors.New("no command given")
	}
	cmd := exec.CommandContext(ctx, c.bins.lookPath(args[0]), args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Env = c.machineEnv()
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.In, s.Out, s.Err
	killGroup(cmd)
	start := func() error { return c.InNamespace(machine, cmd.Start) }
	if pid, on := c.dir.pid(machine); on {
		start = func() error { return onThread(func() error { return startInside(pid, cmd) }) }
	}
	if err := start(); err != nil {
		return err
	}
	return cmd.Wait()
}

// killGroup makes the end of the command's context kill its children too.
func killGroup(cmd *exec.Cmd) {
	if in, is := cmd.Stdin.(*os.File); !is || !isTerminal(in) { // a group of its own could not read a terminal
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	}
	cmd.WaitDelay = time.Second
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// startInside starts cmd in all namespaces of the machine whose first process
// is pid. It spoils the calling OS thread.
func startInside(pid int, cmd *exec.Cmd) error {
	// A thread may enter a mount namespace once its root and working directory are its own.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	var open []int
	defer func() {
		for _, fd := range open {
			unix.Close(fd)
		}
	}()
	for _, kind := range []string{"net", "uts", "ipc", "cgroup", "pid", "mnt"} {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, kind), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("machine is off: %w", err)
		}
		open = append(open, fd)
	}
	for _, fd := range open {
		if err := unix.Setns(fd, 0); err != nil {
			return fmt.Errorf("enter the machine: %w", err)
		}
	}
	return cmd.Start()
}

// Kubectl runs the cluster's own kubectl with all rights and returns what it
// printed; the error holds what it wrote to standard error.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.KubectlInput(ctx, "", args...)
}

// KubectlInput is Kubectl with standard input, for `apply -f -`.
func (c *Cluster) KubectlInput(ctx context.Context, stdin string, args ...string) (string, error) {
	var out, errOut bytes.Buffer
	cmd := c.KubectlCommand(ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	killGroup(cmd)
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w%s", strings.Join(args, " "), err, detail(errOut.String()))
	}
	return out.String(), nil
}

// KubectlCommand is a kubectl that is not started yet.
func (c *Cluster) KubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bins.Kubernetes, "kubectl"), args...)
	// No proxy of this host's reaches the lab.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(strings.ToLower(v), "=")
		return strings.HasSuffix(name, "_proxy") || name == "kubeconfig"
	})
	cmd.Env = append(cmd.Env, "KUBECONFIG="+c.Kubeconfig())
	return cmd
}

// detail is what a failed command wrote, fit to follow an error.
func detail(stderr string) string {
	if stderr = strings.TrimSpace(stderr); stderr == "" {
		return ""
	}
	return ": " + stderr
}
