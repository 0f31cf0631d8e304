package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestVersion1(t *testing.T) {
	for name, test := range map[string]struct {
		mountinfo string
		want      []Mount
	}{
		"hierarchies of one and of two controllers, and systemd's own": {
			"30 24 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,size=4096k\n" +
				"31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n" +
				"32 30 0:28 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,xattr,name=systemd\n" +
				"33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n" +
				"34 30 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,clone_children\n",
			[]Mount{{"systemd", "cgroup", "none,name=systemd"}, {"cpu,cpuacct", "cgroup", "cpu,cpuacct"}, {"cpuset", "cgroup", "cpuset"}},
		},
		"a hierarchy mounted twice counts once, one mounted elsewhere does not": {
			"33 30 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n" +
				"34 30 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n" +
				"35 30 0:31 / /mnt/memory rw - cgroup cgroup rw,memory\n",
			[]Mount{{"pids", "cgroup", "pids"}},
		},
		"none": {"30 24 0:26 / /proc rw - proc proc rw\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, version1(test.mountinfo).Mounts); diff != "" {
				t.Error(diff)
			}
		})
	}
}

const enterEnv = "LAB_TEST_ENTER"

func TestMain(m *testing.M) {
	if place := os.Getenv(enterEnv); place != "" {
		enter(Place{Join: []string{place}, Leaf: filepath.Join(place, "init")})
	}
	os.Exit(m.Run())
}

// enter is a machine's first process: it prints what it sees of its cgroup and waits.
func enter(p Place) {
	runtime.LockOSThread()
	err := p.Enter()
	seen, _ := os.ReadFile("/proc/thread-self/cgroup")
	for line := range strings.Lines(string(seen)) {
		if strings.HasPrefix(line, "0::") {
			fmt.Print(line)
		}
	}
	fmt.Println("error:", err)
	_, _ = os.Stdin.Read(make([]byte, 1))
	os.Exit(0)
}

// TestVersion2 walks the whole way with the controllers that are there: on a host of version 1
// those that no v1 hierarchy took. The root is one that is not the real one and holds
// a process, as in a container.
func TestVersion2(t *testing.T) {
	mount := cgroup2(t)
	restore(t, mount)
	if err := passOn(mount); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(mount, fmt.Sprintf("cgroup-test-%d", os.Getpid()))
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	h := version2(root)
	t.Cleanup(func() {
		if err := h.Remove(""); err != nil {
			t.Error(err)
		}
	})
	resident := exec.Command("sleep", "60")
	if err := resident.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resident.Process.Kill(); _ = resident.Wait() })
	pid := fmt.Sprint(resident.Process.Pid)
	if err := os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte(pid), 0); err != nil {
		t.Fatal(err)
	}

	p, err := h.Prepare("lab9", "node1")
	if err != nil {
		t.Fatal(err)
	}
	want := read(t, root, "cgroup.controllers")
	first := exec.Command(os.Args[0])
	first.Env = append(os.Environ(), enterEnv+"="+p.Join[0])
	out, err := first.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	hold, err := first.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hold.Close(); _ = first.Wait() })
	said := make([]byte, 200)
	n, _ := out.Read(said)
	for !strings.Contains(string(said[:n]), "error:") {
		more, err := out.Read(said[n:])
		if n += more; err != nil {
			break
		}
	}
	if got := string(said[:n]); got != "0::/init\nerror: <nil>\n" {
		t.Errorf("the first process says %q", got)
	}
	if got := read(t, p.Leaf, "cgroup.procs"); got != fmt.Sprint(first.Process.Pid) {
		t.Errorf("in the leaf is %q, not the first process, %d", got, first.Process.Pid)
	}
	for _, group := range []string{root, filepath.Join(root, "lab9"), p.Join[0]} {
		if got := read(t, group, "cgroup.subtree_control"); got != want {
			t.Errorf("%s passes on %q, not %q", group, got, want)
		}
	}
	if got := read(t, root, "init/cgroup.procs"); got != pid {
		t.Errorf("the root's process %s was not moved to its child: %q", pid, got)
	}
}

// cgroup2 is where a hierarchy of version 2 with controllers is mounted.
func cgroup2(t *testing.T) string {
	for _, at := range []string{dir, filepath.Join(dir, "unified")} {
		var st unix.Statfs_t
		if unix.Statfs(at, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		if controllers, err := os.ReadFile(filepath.Join(at, "cgroup.controllers")); err == nil && len(controllers) > 1 && os.Geteuid() == 0 {
			return at
		}
	}
	why := "needs root and a cgroup2 mount with a controller"
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
	return ""
}

// restore undoes what the test passes on at the host's own root.
func restore(t *testing.T, root string) {
	before := strings.Fields(read(t, root, "cgroup.subtree_control"))
	t.Cleanup(func() {
		for _, name := range strings.Fields(read(t, root, "cgroup.subtree_control")) {
			if !strings.Contains(" "+strings.Join(before, " ")+" ", " "+name+" ") {
				if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("-"+name), 0); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

func read(t *testing.T, group, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(group, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}
