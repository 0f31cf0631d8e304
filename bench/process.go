package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ProcessCPU is what the threads of a process have used of processors until now.
func ProcessCPU(pid int) (sum time.Duration, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("process %d is gone: %w", pid, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := bytes.Cut(text, []byte(" "))
		ns, err := strconv.ParseInt(string(first), 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// Memory is the memory of a process that is in use, now and at its highest, in MiB.
func Memory(pid int) (rss, peak float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	return parseMemory(string(text))
}

// parseMemory reads the file status of a process (proc(5)).
func parseMemory(status string) (rss, peak float64, err error) {
	for name, to := range map[string]*float64{"VmRSS:": &rss, "VmHWM:": &peak} {
		_, rest, found := strings.Cut("\n"+status, "\n"+name)
		var kib float64
		if _, err := fmt.Sscanf(rest, "%f kB", &kib); !found || err != nil {
			return 0, 0, fmt.Errorf("status of a process has no %s", name)
		}
		*to = kib / 1024
	}
	return rss, peak, nil
}

// inside marks a process that is in a network namespace of its own.
const inside = "METALLB_BENCH_NETNS"

// Isolate runs this command, with its arguments, once more in a new network namespace, and waits for it. It reports false in
// that one, which is to go on. It needs root.
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
	return true, cmd.Run()
}
