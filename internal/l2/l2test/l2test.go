// Package l2test gives tests a LAN of their own: the test binary runs in a network namespace that it made, and further
// namespaces stand for the other machines. Nothing outside of those namespaces is touched. It needs root and the
// commands ip and nsenter.
package l2test

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// inside marks the process that runs in the namespace.
const inside = "METALLB_TEST_NETNS"

// Main is TestMain for packages that need a LAN: it runs the same test binary again inside a new network namespace.
// Without the rights for it the tests run where they are and Require decides. Goroutines that are left are a failure,
// but for those that the caller knows of.
func Main(m *testing.M, run func(*testing.M) int, known ...goleak.Option) {
	if os.Getenv(inside) != "" || why() != "" {
		code := run(m)
		if err := goleak.Find(known...); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	signal.Ignore(os.Interrupt, syscall.SIGQUIT) // the child says what it was doing
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "cannot run the tests in a network namespace:", err)
		os.Exit(1)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// why says what is missing for a LAN; empty when nothing is.
func why() string {
	if os.Geteuid() != 0 {
		return "needs root to make network namespaces"
	}
	return missing("ip", "nsenter")
}

// packages are Debian's names for commands that come in a package of another name.
var packages = map[string]string{"ip": "iproute2", "bridge": "iproute2", "nsenter": "util-linux", "arping": "iputils-arping"}

// missing says which of the commands is not there; empty when all are.
func missing(tools ...string) string {
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Sprintf("needs the command %s (Debian's package %s)", tool, cmp.Or(packages[tool], tool))
		}
	}
	return ""
}

// Require skips a test that cannot have a LAN, or fails it where CI=true. Tools are further commands that it needs.
func Require(t testing.TB, tools ...string) {
	t.Helper()
	reason := cmp.Or(why(), missing(tools...))
	switch {
	case reason == "" && os.Getenv(inside) == "":
		t.Fatal("TestMain must call l2test.Main")
	case reason == "":
		IP(t, "link set lo up")
	case os.Getenv("CI") == "true":
		t.Fatal(reason)
	default:
		t.Skip(reason)
	}
}

// IP runs an ip command, given as one line, in the test's own namespace.
func IP(t testing.TB, line string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", line, err, out)
	}
}

// Host is another machine on the LAN: a network namespace.
type Host struct {
	pid int
}

// NewHost makes a machine that exists until the test ends.
func NewHost(t testing.TB) *Host {
	t.Helper()
	// cat ends when its standard input does, so it does not outlive this process whatever happens to it.
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	h := &Host{pid: cmd.Process.Pid}
	h.IP(t, "link set lo up")
	return h
}

// Connect lays a cable: a veth pair between the interface named here in the test's namespace and the one named there on
// the host. Both ends are up and carry traffic when it returns.
func (h *Host) Connect(t testing.TB, here, there string) {
	t.Helper()
	IP(t, fmt.Sprintf("link add %s type veth peer name %s netns %d", here, there, h.pid))
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", here).Run() })
	h.IP(t, "link set "+there+" up")
	IP(t, "link set "+here+" up")
	Eventually(t, 2*time.Second, "the cable carries", func() bool {
		out, _ := exec.Command("ip", "-o", "link", "show", "dev", here).Output()
		return strings.Contains(string(out), "LOWER_UP")
	})
}

// Command prepares a command on the host.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", strconv.Itoa(h.pid), "-n", name}, args...)...)
}

// Run runs a command, given as one line, on the host and returns what it printed and whether it succeeded.
func (h *Host) Run(line string) (string, bool) {
	f := strings.Fields(line)
	out, err := h.Command(f[0], f[1:]...).CombinedOutput()
	return string(out), err == nil
}

// IP runs an ip command, given as one line, on the host.
func (h *Host) IP(t testing.TB, line string) {
	t.Helper()
	if out, ok := h.Run("ip " + line); !ok {
		t.Fatalf("host: ip %s: %s", line, out)
	}
}

// MAC is the hardware address of one of the host's interfaces.
func (h *Host) MAC(t testing.TB, name string) (mac string) {
	t.Helper()
	h.Inside(t, func() error {
		ifi, err := net.InterfaceByName(name)
		if err == nil {
			mac = ifi.HardwareAddr.String()
		}
		return err
	})
	return mac
}

// Start runs a command on the host until the test ends and returns its output.
func (h *Host) Start(t testing.TB, line string) io.Reader {
	t.Helper()
	f := strings.Fields(line)
	cmd := h.Command(f[0], f[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return out
}

// Inside runs f in the host's namespace. Sockets that it opens stay there.
func (h *Host) Inside(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", h.pid))
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			_ = ns.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// WithCapabilities runs f with these capabilities (bits as in linux/capability.h) and no others, and returns its error.
// Only what f does itself is bound by that, not what it starts.
func WithCapabilities(t testing.TB, bits uint64, f func() error) error {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		for i := range data {
			word := uint32(bits >> (32 * i))
			data[i] = unix.CapUserData{Effective: word, Permitted: word}
		}
		err := unix.Capset(&header, &data[0])
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// Eventually waits until ok holds and fails the test if it does not within the time.
func Eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}
