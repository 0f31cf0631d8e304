package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// inside marks a process that is in a network namespace of its own.
const inside = "METALLB_BENCH_NETNS"

// Isolate runs this command, with its arguments, once more in a new network namespace, and waits for it; where that one fails, which
// has said why, this one ends alike. It reports false in that one, which is to go on. It needs root.
func Isolate() (outside bool, err error) {
	if os.Getenv(inside) != "" {
		return false, nil
	}
	if os.Geteuid() != 0 {
		return true, errors.New("needs root to make network namespaces")
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var failed *exec.ExitError
	if errors.As(err, &failed) && failed.ExitCode() > 0 {
		os.Exit(failed.ExitCode())
	}
	return true, err
}

// Machine makes a network namespace that is kept, by a process, until it is released.
func Machine() (pid int, release func(), err error) {
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	return cmd.Process.Pid, func() {
		_ = in.Close()
		_ = cmd.Wait()
	}, nil
}

// Batch runs lines of the command ip, given with what is to run it, if anything.
func Batch(lines string, command ...string) error {
	cmd := exec.Command(command[0], append(command[1:], "-batch", "-")...)
	cmd.Stdin = strings.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return nil
}

// IP runs the command ip.
func IP(args ...string) error {
	cmd := exec.Command("ip", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return nil
}
