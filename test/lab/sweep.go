package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"metallb.io/operator/test/lab/internal/cgroup"
)

// Down ends the cluster of an instance (zero: LAB_INSTANCE, or 0), or removes
// what is left of one. It refuses if the process that brought it up still runs and holds it.
func Down(n int) error {
	n, err := instance(n)
	if err != nil {
		return err
	}
	return down(n)
}

func down(n int) error {
	lock, err := tryLock(n)
	if err != nil {
		return err
	}
	defer lock.Close()
	return sweep(n)
}

// sweep removes every trace of an instance, whatever state it is in: first the
// machines, by their recorded first processes, then namespaces, cgroups and files.
func sweep(n int) error {
	dir, p := instanceDir(n), plan{Instance: n}
	machines, err := filepath.Glob(dir.pidFile("*"))
	if err != nil {
		return err
	}
	killed := make([]error, len(machines))
	var all sync.WaitGroup
	for i, file := range machines {
		all.Go(func() { killed[i] = dir.kill(filepath.Base(filepath.Dir(file))) })
	}
	all.Wait()
	if err := errors.Join(killed...); err != nil {
		return err
	}
	if err := p.removeNetwork(); err != nil {
		return fmt.Errorf("remove the network: %w", err)
	}
	groups, err := cgroup.Host()
	if err != nil {
		return err
	}
	if err := groups.Remove(p.prefix()); err != nil {
		return err
	}
	return dir.remove()
}

// remove deletes the state, unless something is mounted in it: never delete
// into another file system.
func (d stateDir) remove() error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[4]; strings.HasPrefix(at, string(d)+"/") {
			return fmt.Errorf("%s is still mounted: unmount it, then remove %s", at, d)
		}
	}
	if err := os.RemoveAll(string(d)); err != nil {
		return err
	}
	// The root too, with the last instance.
	if err := os.Remove(filepath.Dir(string(d))); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}

// The lock of an instance is a listening socket with an abstract name: it goes
// with the last process that holds it and leaves no file.
func lockName(n int) string { return fmt.Sprintf("@metallb-lab/%d", n) }

func tryLock(n int) (*os.File, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: lockName(n), Net: "unix"})
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("instance %d belongs to %s", n, lockHolder(n))
	}
	if err != nil {
		return nil, err
	}
	defer l.Close() // the file is a duplicate
	return l.File()
}

// claim takes the lock of the first instance that is free. It waits for one until ctx ends, unless all were made to stay.
func claim(ctx context.Context, of []int, logf func(string, ...any)) (n int, lock *os.File, err error) {
	for told := false; ; told = true {
		held := false
		var taken []error
		for _, n := range of {
			lock, err := tryLock(n)
			if err == nil {
				if err = stays(n); err == nil {
					return n, lock, nil
				}
				lock.Close()
			} else {
				held = true
			}
			taken = append(taken, err)
		}
		err := errors.Join(taken...)
		if !held {
			return 0, nil, err
		}
		if !told {
			logf("waiting: %v", err)
		}
		select {
		case <-ctx.Done():
			return 0, nil, errors.Join(err, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// stays returns [ErrRunning] if the cluster of an instance was made to stay and runs.
func stays(n int) error {
	c, err := attach(n)
	if err != nil || !c.Options.Detach || !c.alive() {
		return nil
	}
	return fmt.Errorf("%w, made to stay at %s: `lab down` ends it, another LAB_INSTANCE makes another beside it",
		ErrRunning, c.Started.Format(time.DateTime))
}

// lockHolder describes the process that took the lock.
func lockHolder(n int) string {
	c, err := net.DialTimeout("unix", lockName(n), time.Second)
	if err != nil {
		return "another process"
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return "another process"
	}
	var peer *unix.Ucred
	err = errors.Join(raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }), err)
	if err != nil {
		return "another process"
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", peer.Pid))
	if err != nil || len(command) == 0 { // a process that waits to be reaped has none
		return fmt.Sprintf("process %d, which has ended and is being cleaned up after", peer.Pid)
	}
	return fmt.Sprintf("process %d (%s), which still runs", peer.Pid, strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " ")))
}

// janitor is a process that tears the cluster down when this one ends without
// having done so: after a panic, a time-out, a signal.
type janitor struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

// JanitorCommand is the first argument of the lab command as the janitor.
const JanitorCommand = "__janitor"

func startJanitor(bins binaries, n int, lock *os.File) (*janitor, error) {
	cmd := exec.Command(filepath.Join(bins.Lab, "lab"), JanitorCommand, string(instanceDir(n))) // the last for who looks at processes
	cmd.Env = append(os.Environ(), fmt.Sprintf("LAB_INSTANCE=%d", n), "LAB_STATE="+StateRoot())
	cmd.ExtraFiles = []*os.File{lock}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is not meant for it
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	return &janitor{cmd, pipe}, nil
}

// dismiss ends the janitor; nothing is torn down.
func (j *janitor) dismiss() error {
	_, err := j.pipe.Write([]byte{1})
	return errors.Join(err, j.pipe.Close(), j.cmd.Wait())
}

// Janitor is what the janitor does: it waits for the end of its parent, which it sees as the end of
// standard input, and tears the cluster of LAB_INSTANCE down. A byte dismisses it.
func Janitor() error {
	if n, _ := os.Stdin.Read(make([]byte, 1)); n > 0 {
		return nil
	}
	n, err := instance(0)
	if err != nil {
		return err
	}
	return sweep(n)
}
