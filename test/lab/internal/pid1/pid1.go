package pid1

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Names of the two stages, as the command's first argument.
const (
	Enter = "__enter" // join the cgroups, then become Init
	Init  = "__init"
)

// Main runs a stage with the spec at path. It returns only an error.
//
// Enter is started in new PID, mount, UTS and IPC namespaces and in the machine's network
// namespace. It waits for a byte on standard input: by then whoever started it has
// recorded its PID. If it ends instead, so does the machine.
func Main(stage, path string) error {
	s, err := read(path)
	if err != nil {
		return err
	}
	if stage == Init {
		return s.run()
	}
	if _, err := io.ReadFull(os.Stdin, make([]byte, 1)); err != nil {
		return fmt.Errorf("whoever started this machine is gone: %w", err)
	}
	return s.enter(path)
}

func (s *Spec) enter(path string) error {
	// A cgroup namespace is one thread's, and exec makes that thread the only one.
	runtime.LockOSThread()
	if err := s.Cgroups.Enter(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return unix.Exec(self, []string{os.Args[0], Init, path}, s.Env)
}

func (s *Spec) run() error {
	if err := s.mount(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return err
	}
	if err := os.Chdir(s.Dir); err != nil {
		return err
	}
	children := &children{env: s.Env, ended: map[int]chan syscall.WaitStatus{}}
	go func() {
		for _, step := range s.Steps {
			if err := children.do(step); err != nil {
				fmt.Println(time.Now().Format(time.TimeOnly), err)
			}
		}
	}()
	children.reap()
	return errors.New("not reached")
}

// children are the processes of this machine that this one started.
type children struct {
	env   []string
	mu    sync.Mutex // held from before a fork until the child is in ended
	ended map[int]chan syscall.WaitStatus
}

// reap collects every process of the machine that ends, for ever.
func (c *children) reap() {
	wake := make(chan os.Signal, 1)
	signal.Notify(wake, syscall.SIGCHLD)
	for ; ; <-wake {
		for {
			var status syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
			if err == syscall.EINTR {
				continue
			}
			if pid <= 0 {
				break
			}
			c.mu.Lock()
			if ch, mine := c.ended[pid]; mine {
				ch <- status
				delete(c.ended, pid)
			}
			c.mu.Unlock()
		}
	}
}

func (c *children) do(s Step) error {
	for s.Await != "" {
		if _, err := os.Stat(s.Await); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	runs := [][]string{s.Args}
	if s.Each != "" {
		matches, err := filepath.Glob(s.Each)
		if err != nil {
			return err
		}
		runs = nil
		for _, m := range matches {
			runs = append(runs, append(s.Args[:len(s.Args):len(s.Args)], m))
		}
	}
	var errs []error
	for _, args := range runs {
		errs = append(errs, c.runStep(s, args))
	}
	return errors.Join(errs...)
}

func (c *children) runStep(s Step, args []string) error {
	deadline := time.Now().Add(time.Minute)
	for {
		ended, err := c.start(s.Name, args)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		if !s.Wait && !s.Retry {
			go func() { report(s.Name, <-ended) }()
			return nil
		}
		status := <-ended
		if status.ExitStatus() == 0 {
			return nil
		}
		if !s.Retry || time.Now().After(deadline) {
			report(s.Name, status)
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func report(name string, s syscall.WaitStatus) {
	fmt.Println(time.Now().Format(time.TimeOnly), name, "ended: exit status", s.ExitStatus(), "signal", s.Signal())
}

func (c *children) start(name string, args []string) (<-chan syscall.WaitStatus, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	log, err := os.OpenFile(name+".log", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := syscall.ForkExec(args[0], args, &syscall.ProcAttr{Env: c.env, Files: []uintptr{null.Fd(), log.Fd(), log.Fd()}})
	if err != nil {
		return nil, err
	}
	ch := make(chan syscall.WaitStatus, 1)
	c.ended[pid] = ch
	return ch, nil
}
