package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// Children are the processes that a process has started and that still run.
func Children(pid int) (out []int, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				return nil, err
			}
			out = append(out, child)
		}
	}
	return out, nil
}
