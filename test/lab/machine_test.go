package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestOnlyAMachinesOwnFirstProcessIsKilled(t *testing.T) {
	d := stateDir(t.TempDir())
	stranger := exec.Command("sleep", "60")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = stranger.Wait(); close(ended) }()
	t.Cleanup(func() { _ = stranger.Process.Kill(); <-ended })
	for _, pid := range []string{fmt.Sprint(stranger.Process.Pid), "1", "999999999", "rubbish"} {
		if err := os.MkdirAll(d.machine("node1"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d.pidFile("node1"), []byte(pid), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := d.kill("node1"); err != nil {
			t.Errorf("recorded %s: %v", pid, err)
		}
		if _, err := os.Stat(d.pidFile("node1")); err == nil {
			t.Errorf("recorded %s: the record stayed", pid)
		}
	}
	select {
	case <-ended:
		t.Error("a process that only had the recorded number was killed")
	case <-time.After(50 * time.Millisecond):
	}
}

func TestLockIsHeldByOneAndSaysByWhom(t *testing.T) {
	const n = 9
	first, err := tryLock(n)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tryLock(n); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d (%s", os.Getpid(), os.Args[0])) {
		t.Errorf("a second one: %v", err)
	}
	got := make(chan error)
	go func() {
		_, second, err := claim(t.Context(), []int{n}, t.Logf)
		got <- errors.Join(err, second.Close())
	}()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("it is not free after its end: %v", err)
	}
}

// Numbers that no range has, so that no lab that runs beside this test is in the way.
func TestTheFirstFreeInstanceIsClaimed(t *testing.T) {
	t.Setenv("LAB_STATE", t.TempDir())
	of := []int{10, 11, 12}
	for i, want := range of {
		n, lock, err := claim(t.Context(), of, t.Logf)
		if err != nil || n != want {
			t.Fatalf("claim %d took %d: %v", i+1, n, err)
		}
		defer lock.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	said := ""
	_, _, err := claim(ctx, of, func(format string, args ...any) { said += fmt.Sprintf(format, args...) })
	if !errors.Is(err, context.DeadlineExceeded) || strings.Count(said, "belongs to process") != len(of) {
		t.Errorf("when none was free: %v; said was %q", err, said)
	}
}

func TestNothingIsDeletedThroughAMount(t *testing.T) {
	requireRoot(t)
	d := stateDir(filepath.Join(t.TempDir(), "lab9"))
	mounted := filepath.Join(d.machine("node1"), "disk")
	if err := os.MkdirAll(mounted, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", mounted, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(mounted, "precious")
	if err := os.WriteFile(precious, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	err := d.remove()
	if err == nil || !strings.Contains(err.Error(), mounted+" is still mounted") {
		t.Errorf("removed: %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
	if err := unix.Unmount(mounted, 0); err != nil {
		t.Fatal(err)
	}
	if err := d.remove(); err != nil {
		t.Error(err)
	}
}

func TestManagementNetworkMustBeFree(t *testing.T) {
	requireRoot(t)
	for name, test := range map[string]struct {
		address string
		free    bool
	}{
		"an address in it":               {"172.31.3.7/24", false},
		"a smaller network in it":        {"172.31.3.129/26", false},
		"an address in it, wider prefix": {"172.31.3.7/16", false},
		"a wider network around it":      {"172.31.9.7/16", true},
		"another network":                {"10.0.0.1/24", true},
	} {
		t.Run(name, func(t *testing.T) {
			err := onThread(func() error {
				if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
					t.Fatal(err)
				}
				link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a"}, PeerName: "b"}
				if err := netlink.LinkAdd(link); err != nil {
					return err
				}
				addr, err := netlink.ParseAddr(test.address)
				if err != nil {
					return err
				}
				if err := errors.Join(netlink.AddrAdd(link, addr), netlink.LinkSetUp(link)); err != nil {
					return err
				}
				err = plan{Instance: 3}.hostIsFree()
				if free := err == nil; free != test.free {
					t.Errorf("free %t, want %t; %v", free, test.free, err)
				}
				if err != nil && !strings.Contains(err.Error(), "set LAB_INSTANCE") {
					t.Errorf("it does not say what to do: %v", err)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestNamespacesTakeAThreadThatIsNotTheMainOne(t *testing.T) {
	for range 1000 {
		err := onThread(func() error {
			if unix.Gettid() == unix.Getpid() {
				return errors.New("on the main thread")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestNeeds(t *testing.T) {
	all := Packages(false, FRR, BIRD)
	for _, name := range []string{"runc", "containernetworking-plugins", "nftables", "iptables", "iproute2", "frr", "bird2"} {
		if !slices.Contains(all, name) {
			t.Errorf("%s is not in %v", name, all)
		}
	}
	if plain := Packages(false); slices.Contains(plain, "frr") || slices.Contains(plain, "bird2") {
		t.Errorf("routing programs that nobody asked for: %v", plain)
	}
	for _, n := range Missing(FRR, BIRD) {
		if n.Package != "" && !slices.Contains(Packages(true, FRR, BIRD), n.Package) {
			t.Errorf("%s is missing but its package is not", n.What)
		}
	}
	err := lackError([]Need{{What: "root", For: "to make namespaces"}, {What: "runc", Package: "runc", For: "to run containers"}})
	if want := "the lab cannot run here: root is needed to make namespaces; runc is needed to run containers (Debian package runc)"; err.Error() != want {
		t.Errorf("%v", err)
	}
}

// recorder is a test that notes how Require ends it.
type recorder struct {
	testing.TB
	ended string
}

func (r *recorder) Helper()           {}
func (r *recorder) Skip(args ...any)  { r.ended = "skipped: " + fmt.Sprint(args...) }
func (r *recorder) Fatal(args ...any) { r.ended = "failed: " + fmt.Sprint(args...) }

func TestAMissingToolSkipsLocallyAndFailsInCI(t *testing.T) {
	for ci, how := range map[string]string{"": "skipped: ", "true": "failed: "} {
		t.Setenv("CI", ci)
		r := &recorder{TB: t}
		Require(r, RouterKind("none")) // asks for what there is
		if len(Missing()) == 0 && r.ended != "" {
			t.Errorf("CI=%q: nothing is missing, yet it %s", ci, r.ended)
		}
		requireNone(r, []Need{{What: "runc", Package: "runc", For: "to run containers"}})
		if !strings.HasPrefix(r.ended, how+"the lab cannot run here: runc") || strings.Contains(r.ended, "\n") {
			t.Errorf("CI=%q: %s", ci, r.ended)
		}
	}
}

func TestDialTakesAddressesOnly(t *testing.T) {
	c := &Cluster{}
	for _, address := range []string{"localhost:80", "node1:80", "172.30.0.1"} {
		if _, err := c.Dial(t.Context(), Client, "tcp", address); err == nil {
			t.Errorf("%s: no error", address)
		}
	}
	if err := literal("[fd00:30::1]:80"); err != nil {
		t.Error(err)
	}
}

func TestPollReportsTheLastError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	err := poll(ctx, 10*time.Millisecond, "rain", func() error { return net.ErrClosed })
	if !errors.Is(err, net.ErrClosed) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "wait for rain") {
		t.Error(err)
	}
}

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		requireNone(t, []Need{{What: "root", For: "to mount and make namespaces"}})
	}
}
