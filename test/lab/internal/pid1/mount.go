package pid1

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// mount makes the machine's own /proc, /sys, cgroups and /run, and what the spec
// covers and binds.
func (s *Spec) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// A copy of a mounted network namespace would keep it alive after its machine is off.
	if err := unmountBelow("/run/netns"); err != nil {
		return err
	}
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	if err := s.Cgroups.Mount(); err != nil {
		return err
	}
	// Held open, a directory can still be bound when it is covered.
	shown := s.Binds
	for _, dir := range s.Keep {
		shown = append(shown, Bind{dir, dir})
	}
	held := make([]int, len(shown))
	for i, b := range shown {
		fd, err := unix.Open(b.From, unix.O_PATH, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", b.From, err)
		}
		held[i] = fd
	}
	for _, dir := range append([]string{"/run"}, s.Cover...) {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("cover %s: %w", dir, err)
		}
	}
	if err := os.MkdirAll("/run/lock", 0o755); err != nil {
		return err
	}
	for i, b := range shown {
		if err := bind(held[i], b.To); err != nil {
			return fmt.Errorf("show %s at %s: %w", b.From, b.To, err)
		}
		unix.Close(held[i])
	}
	// Shared, for volumes with mount propagation.
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

func bind(fd int, to string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
	}
	return unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), to, "", unix.MS_BIND|unix.MS_REC, "")
}

func unmountBelow(dir string) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if at := fields[4]; at == dir || strings.HasPrefix(at, dir+"/") {
			// One may be below another that is gone by now.
			if err := unix.Unmount(at, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("unmount %s: %w", at, err))
			}
		}
	}
	return errors.Join(errs...)
}
