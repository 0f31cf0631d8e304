// Package cgroup gives a lab machine its own place in this host's control
// groups, version 1 or 2, such that its programs take that place for the root. It starts nothing and
// knows no machines, only paths.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const dir = "/sys/fs/cgroup"

// Hierarchies are how this host groups processes: one hierarchy (version 2),
// or one for each set of controllers (version 1).
type Hierarchies struct {
	Version int
	Roots   []string // where each is mounted
	Mounts  []Mount
}

// Mount is one hierarchy as a machine mounts it.
type Mount struct {
	Dir  string // below /sys/fs/cgroup; empty for itself
	Type string // cgroup or cgroup2
	Data string // mount options: the controllers
}

// Place is a machine's own cgroup.
type Place struct {
	// Join lists its directories, one for each hierarchy.
	Join []string
	// Leaf is, on version 2 only, the child that holds the machine's first
	// processes: a cgroup that passes controllers on may hold none itself.
	Leaf   string
	Mounts []Mount
}

// Host finds this host's hierarchies.
func Host() (Hierarchies, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Hierarchies{}, fmt.Errorf("look at %s: %w", dir, err)
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		return version2(dir), nil
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Hierarchies{}, err
	}
	h := version1(string(b))
	if len(h.Roots) == 0 {
		return h, fmt.Errorf("neither cgroup v1 nor v2 is mounted at %s", dir)
	}
	return h, nil
}

func version2(root string) Hierarchies {
	return Hierarchies{2, []string{root}, []Mount{{Type: "cgroup2"}}}
}

// version1 finds the v1 hierarchies in a mountinfo file (proc_pid_mountinfo(5)).
// A cgroup2 mount beside them has no controllers of use and is left alone.
func version1(mountinfo string) Hierarchies {
	h := Hierarchies{Version: 1}
	for line := range strings.Lines(mountinfo) {
		before, after, _ := strings.Cut(line, " - ")
		at, fs := strings.Fields(before), strings.Fields(after)
		if len(at) < 5 || len(fs) < 3 || fs[0] != "cgroup" || filepath.Dir(at[4]) != dir || slices.Contains(h.Roots, at[4]) {
			continue
		}
		var data []string
		for _, option := range strings.Split(fs[2], ",") {
			switch name, _, _ := strings.Cut(option, "="); name {
			case "rw", "ro", "xattr", "nsroot", "release_agent", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods":
			case "name":
				data = append(data, "none", option)
			default:
				data = append(data, option)
			}
		}
		h.Roots = append(h.Roots, at[4])
		h.Mounts = append(h.Mounts, Mount{Dir: filepath.Base(at[4]), Type: "cgroup", Data: strings.Join(data, ",")})
	}
	return h
}

// Prepare makes the cgroup <parent>/<name> in every hierarchy.
func (h Hierarchies) Prepare(parent, name string) (Place, error) {
	p := Place{Mounts: h.Mounts}
	for _, root := range h.Roots {
		own := filepath.Join(root, parent, name)
		if err := os.MkdirAll(own, 0o755); err != nil {
			return p, fmt.Errorf("make cgroup: %w", err)
		}
		p.Join = append(p.Join, own)
		for _, d := range []string{filepath.Dir(own), own} {
			if err := inheritCPUSet(d); err != nil {
				return p, err
			}
		}
	}
	if h.Version == 1 {
		return p, nil
	}
	for _, d := range []string{h.Roots[0], filepath.Join(h.Roots[0], parent)} {
		if err := passOn(d); err != nil {
			return p, err
		}
	}
	p.Leaf = filepath.Join(p.Join[0], "init")
	return p, os.MkdirAll(p.Leaf, 0o755)
}

// Enter moves this process to its place and makes that the root of the calling
// OS thread's cgroup namespace. kubelet and runc then need no special setting.
func (p Place) Enter() error {
	for _, d := range p.Join {
		if err := join(d); err != nil {
			return err
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("make a cgroup namespace: %w", err)
	}
	if p.Leaf == "" {
		return nil
	}
	if err := join(p.Leaf); err != nil {
		return err
	}
	return passOn(p.Join[0])
}

// join moves this process; 0 is the process that writes.
func join(d string) error {
	if err := os.WriteFile(filepath.Join(d, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("join cgroup: %w", err)
	}
	return nil
}

// Mount mounts the hierarchies over /sys/fs/cgroup, in a mount namespace of
// its own, as the caller's cgroup namespace shows them.
func (p Place) Mount() error {
	if p.Mounts[0].Type == "cgroup" { // v1: one directory for each hierarchy
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return err
		}
	}
	for _, m := range p.Mounts {
		at := filepath.Join(dir, m.Dir)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.Type, at, m.Type, 0, m.Data); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.Type, at, err)
		}
		// Hierarchies of several controllers are also found by each one's name.
		if names := strings.Split(m.Dir, ","); len(names) > 1 {
			for _, name := range names {
				if err := os.Symlink(m.Dir, filepath.Join(dir, name)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// inheritCPUSet gives a new v1 cpuset its parent's processors and memory:
// without them it takes no process. In other hierarchies there is nothing to do.
func inheritCPUSet(group string) error {
	if _, err := os.Stat(filepath.Join(group, "cpuset.cpus")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	clone := filepath.Join(group, "cgroup.clone_children")
	if _, err := os.Stat(clone); errors.Is(err, fs.ErrNotExist) {
		return nil // version 2
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		have, err := os.ReadFile(filepath.Join(group, name))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(have)) != "" {
			continue
		}
		parents, err := os.ReadFile(filepath.Join(filepath.Dir(group), name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(group, name), parents, 0); err != nil {
			return err
		}
	}
	return os.WriteFile(clone, []byte("1"), 0)
}

// passOn lets the children of a v2 cgroup use all its controllers. A root that is
// not the real one (in a container) holds processes; they move to a child first.
func passOn(group string) error {
	have, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if err != nil {
		return err
	}
	var all []string
	for _, name := range strings.Fields(string(have)) {
		all = append(all, "+"+name)
	}
	enable := func() error {
		return os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte(strings.Join(all, " ")), 0)
	}
	err = enable()
	if errors.Is(err, unix.EBUSY) {
		if err := evacuate(group); err != nil {
			return err
		}
		err = enable()
	}
	if err != nil {
		return fmt.Errorf("pass on cgroup controllers: %w", err)
	}
	return nil
}

func evacuate(group string) error {
	to := filepath.Join(group, "init")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	procs, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, pid := range strings.Fields(string(procs)) {
		err := os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte(pid), 0)
		if err != nil && !errors.Is(err, unix.ESRCH) { // ended meanwhile
			return fmt.Errorf("move process %s out of %s: %w", pid, group, err)
		}
	}
	return nil
}

// Remove removes <root>/<below> and what is in it. A process that was just
// killed leaves its cgroup a moment later, so it tries for 5 s.
func (h Hierarchies) Remove(below string) error {
	deadline := time.Now().Add(5 * time.Second)
	for _, root := range h.Roots {
		for {
			err := removeTree(filepath.Join(root, below))
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("remove cgroup: %w", err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// removeTree removes a cgroup's directories, children first; the files in them go with them.
func removeTree(group string) error {
	entries, err := os.ReadDir(group)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(group, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(group); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s: %w", group, err)
	}
	return nil
}
