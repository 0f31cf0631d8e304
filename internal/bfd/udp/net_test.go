package udp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/bfdtest"
	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/internal/l2/l2test"
)

// process marks a process that is a peer, or one of two on a node.
const process = "METALLB_TEST_BFD_PROCESS"

// soon is far more than anything takes but the timers that a test sets; a busy machine is no failure.
const soon = 20 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(process) != "" {
		if err := bfdtest.Serve(os.Stdin, os.Stdout, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	l2test.Main(m, (*testing.M).Run)
}

// addresses of the node (the test's namespace, interface lan0) and of the peer (eth0).
var (
	us4, peer4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	us6, peer6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
)

// lan makes a node and a peer's machine.
func lan(t *testing.T, tools ...string) *l2test.Host {
	t.Helper()
	l2test.Require(t, tools...)
	h := l2test.NewHost(t)
	h.Connect(t, "lan0", "eth0")
	l2test.IP(t, "addr add 192.0.2.1/24 dev lan0")
	l2test.IP(t, "addr add 2001:db8::1/64 dev lan0 nodad")
	h.IP(t, "addr add 192.0.2.2/24 dev eth0")
	h.IP(t, "addr add 2001:db8::2/64 dev eth0 nodad")
	l2test.Eventually(t, 10*time.Second, "the link-local addresses are there", func() bool {
		out, _ := h.Run("ip -6 addr show dev eth0 tentative")
		mine, _ := exec.Command("ip", "-6", "addr", "show", "dev", "lan0", "tentative").Output()
		return out == "" && len(mine) == 0 && linkLocal(t, h).IsValid()
	})
	return h
}

// linkLocal is the peer's link-local address as seen from here.
func linkLocal(t *testing.T, h *l2test.Host) netip.Addr {
	t.Helper()
	out, _ := h.Run("ip -o -6 addr show dev eth0 scope link")
	f := strings.Fields(out)
	if len(f) < 4 {
		return netip.Addr{}
	}
	return netip.MustParsePrefix(f[3]).Addr().WithZone("lan0")
}

func ourLinkLocal(t *testing.T) netip.Addr {
	t.Helper()
	ifi, err := net.InterfaceByName("lan0")
	if err != nil {
		t.Fatal(err)
	}
	all, err := ifi.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if p := netip.MustParsePrefix(a.String()); p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			return p.Addr()
		}
	}
	t.Fatal("no link-local address")
	return netip.Addr{}
}

func session(peer, local netip.Addr) udp.Session {
	return udp.Session{
		Key:      udp.Key{Peer: peer, Local: local},
		Settings: bfd.Settings{Transmit: 100 * time.Millisecond, Receive: 100 * time.Millisecond, Multiplier: 5},
	}
}

// server makes a Server that ends with the test.
func server(t *testing.T) *udp.Server {
	t.Helper()
	s := udp.New(udp.Options{})
	t.Cleanup(func() { shut(t, s) })
	return s
}

func shut(t *testing.T, s *udp.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func sync(t *testing.T, s *udp.Server, sessions ...udp.Session) []udp.Status {
	t.Helper()
	out, err := s.Sync(sessions)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// spawn starts a process with a Server on the host, or on the node itself where h is nil.
func spawn(t *testing.T, h *l2test.Host) (*bfdtest.Client, *exec.Cmd) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	if h != nil {
		cmd = h.Command(self)
	}
	cmd.Env = append(os.Environ(), process+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return bfdtest.NewClient(out, in), cmd
}

func ask(t *testing.T, c *bfdtest.Client, r bfdtest.Request) bfdtest.Reply {
	t.Helper()
	reply, err := c.Ask(r)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// all waits until all statuses are as wanted.
func all(t *testing.T, what string, get func() []udp.Status, ok func(udp.Status) bool) []udp.Status {
	t.Helper()
	var last []udp.Status
	defer func() {
		if t.Failed() {
			for _, s := range last {
				t.Logf("%+v", s)
			}
		}
	}()
	l2test.Eventually(t, soon, what, func() bool {
		last = get()
		for _, s := range last {
			if !ok(s) {
				return false
			}
		}
		return len(last) > 0
	})
	return last
}

// adminDown holds the sessions down on purpose until down has seen that the peer knows, and has them come up again.
func adminDown(t *testing.T, s *udp.Server, sessions []udp.Session, down func()) {
	t.Helper()
	hold := func(held bool) {
		for i := range sessions {
			sessions[i].AdminDown = held
		}
		sync(t, s, sessions...)
	}
	hold(true)
	down()
	for _, c := range s.Changes() {
		if c.Failed || c.To != bfd.AdminDown {
			t.Errorf("%+v", c)
		}
	}
	hold(false)
	all(t, "all are Up again", s.Status, isUp)
}

func isUp(s udp.Status) bool { return s.State == bfd.Up }

// settled: Up, and the peer knows and uses what was configured.
func settled(s udp.Status) bool {
	return isUp(s) && !s.Polling && s.Remote.State == bfd.Up && s.Remote.DesiredMinTx < time.Second
}

// frr is bfdd, and zebra that it needs, on a host.
type frr struct {
	h   *l2test.Host
	dir string
}

func startFRR(t *testing.T, h *l2test.Host) *frr {
	t.Helper()
	dir, err := os.MkdirTemp("", "bfd-frr-") // not t.TempDir: FRR's user must get into it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if out, err := exec.Command("chown", "frr:frrvty", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(dir, 0o775); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/empty.conf", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"zebra", "bfdd --bfdctl " + dir + "/bfdd.sock"} {
		name, _, _ := strings.Cut(d, " ")
		h.Start(t, fmt.Sprintf("/usr/lib/frr/%s -f %[2]s/empty.conf -z %[2]s/z -i %[2]s/%[3]s.pid --vty_socket %[2]s -u frr -g frr -P 0", d, dir, name))
		l2test.Eventually(t, soon, name+" is there", func() bool {
			_, err := os.Stat(dir + "/" + name + ".vty")
			return err == nil
		})
	}
	return &frr{h, dir}
}

// do gives commands of the configuration mode.
func (f *frr) do(t *testing.T, lines ...string) {
	t.Helper()
	args := []string{"--vty_socket", f.dir, "-c", "configure terminal", "-c", "bfd"}
	for _, l := range lines {
		args = append(args, "-c", l)
	}
	if out, err := f.h.Command("vtysh", args...).CombinedOutput(); err != nil || strings.Contains(string(out), "Unknown") {
		t.Fatalf("vtysh %q: %v: %s", lines, err, out)
	}
}

type frrPeer struct {
	Peer, Status, Diagnostic string
	Transmit                 int `json:"transmit-interval"`
	RemoteTransmit           int `json:"remote-transmit-interval"`
	RemoteReceive            int `json:"remote-receive-interval"`
	RemoteMultiplier         int `json:"remote-detect-multiplier"`
	RemoteDiagnostic         string
}

func (f *frr) peers(t *testing.T) (out []frrPeer) {
	t.Helper()
	text, err := f.h.Command("vtysh", "--vty_socket", f.dir, "-c", "show bfd peers json").Output()
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

// peersAre waits until all peers of FRR are as wanted.
func (f *frr) peersAre(t *testing.T, what string, ok func(frrPeer) bool) {
	t.Helper()
	var last []frrPeer
	defer func() {
		if t.Failed() {
			t.Logf("%+v", last)
		}
	}()
	l2test.Eventually(t, soon, what, func() bool {
		last = f.peers(t)
		for _, p := range last {
			if !ok(p) {
				return false
			}
		}
		return len(last) > 0
	})
}

// counter sums a counter of all peers.
func (f *frr) counter(t *testing.T, name string) (sum int) {
	t.Helper()
	text, err := f.h.Command("vtysh", "--vty_socket", f.dir, "-c", "show bfd peers counters json").Output()
	var peers []map[string]any
	if err == nil {
		err = json.Unmarshal(text, &peers)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, p := range peers {
		n, _ := p[name].(float64)
		sum += int(n)
	}
	return sum
}
