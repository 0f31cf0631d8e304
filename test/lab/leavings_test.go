package lab_test

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/test/lab"
)

// leavings is what this instance of the lab could leave on this host. Others use the host
// meanwhile, other instances too, so it looks at names that only this one or what runs in it would use.
func leavings(t *testing.T) map[string]bool {
	t.Helper()
	prefix := "lab" + cmp.Or(os.Getenv("LAB_INSTANCE"), "0")
	state := filepath.Join(lab.StateRoot(), prefix)
	found := map[string]bool{}
	for _, pattern := range []string{"/run/netns/" + prefix + "*", "/sys/fs/cgroup/" + prefix, "/sys/fs/cgroup/*/" + prefix, state,
		"/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/var/log/pods", "/var/log/containers", "/etc/cni", "/run/containerd"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			found[path] = true
		}
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if strings.HasPrefix(link.Name, prefix) {
			found["link "+link.Name] = true
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[4]; strings.Contains(at, prefix) || strings.Contains(at, "kubelet") || strings.Contains(at, "containerd") {
			found["mount "+at] = true
		}
	}
	for _, file := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"} {
		value, err := os.ReadFile("/proc/sys/" + file)
		if err != nil {
			t.Fatal(err)
		}
		found[file+" is "+string(value)] = true
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commands {
		command, _ := os.ReadFile(path) // it may have ended
		if strings.Contains(string(command), state) {
			found["process "+strings.ReplaceAll(string(command), "\x00", " ")] = true
		}
	}
	return found
}

// clean removes what a lab that was killed with all it had started, or that was left running, left of this instance, once
// nobody holds it any more, and returns what is left after that.
func clean(t *testing.T) map[string]bool {
	t.Helper()
	eventually(t, within(t, 10*time.Minute), func() error { return lab.Down(0) })
	return leavings(t)
}

// sameLeavings checks that nothing was added or taken. Network devices go a moment later than their
// namespaces, hence the patience.
func sameLeavings(t *testing.T, before map[string]bool) {
	t.Helper()
	eventually(t, within(t, 5*time.Second), func() error {
		var errs []error
		after := leavings(t)
		for what := range after {
			if !before[what] {
				errs = append(errs, fmt.Errorf("left behind: %s", what))
			}
		}
		for what := range before {
			if !after[what] {
				errs = append(errs, fmt.Errorf("gone: %s", what))
			}
		}
		return errors.Join(errs...)
	})
}
