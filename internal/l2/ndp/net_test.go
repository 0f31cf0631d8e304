package ndp

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/l2test"
)

func TestMain(m *testing.M) {
	l2test.Main(m, (*testing.M).Run)
}

const noProbes = "accept_dad" // 0: the kernel uses its own addresses at once

// sysctl sets a parameter of IPv6, like "conf/eth0/accept_dad", in the test's namespace (h nil) or on a host.
func sysctl(t *testing.T, h *l2test.Host, name, value string) {
	t.Helper()
	set := func() error { return os.WriteFile("/proc/sys/net/ipv6/"+name, []byte(value), 0) }
	if h != nil {
		h.Inside(t, set)
	} else if err := set(); err != nil {
		t.Fatal(err)
	}
}

// lan is a node (the test's namespace, interface lan0) and a client with the kernel's own NDP. Their kernels do not probe
// for duplicates, which takes seconds.
func lan(t *testing.T, tools ...string) (*l2test.Host, *Responders, *count) {
	l2test.Require(t, tools...)
	h := l2test.NewHost(t)
	for _, conf := range []string{"conf/all/", "conf/default/"} {
		sysctl(t, nil, conf+noProbes, "0")
		sysctl(t, h, conf+noProbes, "0")
	}
	connect(t, h)
	m := &count{}
	r := New(m, quiet)
	t.Cleanup(r.Close)
	return h, r, m
}

func connect(t *testing.T, h *l2test.Host) {
	t.Helper()
	h.Connect(t, "lan0", "eth0")
	h.IP(t, "addr add 2001:db8::99/64 dev eth0 nodad")
	sysctl(t, h, "neigh/eth0/retrans_time_ms", "200") // a silent address is given up on after three times that
	l2test.Eventually(t, 10*time.Second, "both have a link-local address", func() bool {
		out, _ := h.Run("ip -6 -o addr show dev eth0 scope link -tentative")
		here, err := linkLocal(ifi(t, "lan0"))
		return err == nil && here.IsValid() && strings.Contains(out, "fe80:")
	})
}

// ifi is an interface of the test's namespace as it is now.
func ifi(t *testing.T, name string) l2.Interface {
	t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l2.Interface{Name: name, Index: i.Index, MAC: [6]byte(i.HardwareAddr)}
}

func syncOK(t *testing.T, r *Responders, interfaces []l2.Interface, e []l2.Entry) {
	t.Helper()
	if _, err := r.Sync(interfaces, e); err != nil {
		t.Fatal(err)
	}
}

// ask makes the client's kernel resolve addresses that it does not know, by sending a datagram to each.
func ask(t *testing.T, h *l2test.Host, addresses ...string) {
	t.Helper()
	h.Inside(t, func() error {
		for _, a := range addresses {
			c, err := net.Dial("udp6", net.JoinHostPort(a, "9"))
			if err != nil {
				return err
			}
			_, _ = c.Write([]byte("x")) // refused where the kernel has given up on the address before
			_ = c.Close()
		}
		return nil
	})
}

// neighbour is the client's neighbour entry of an address.
func neighbour(h *l2test.Host, address string) string {
	out, _ := h.Run("ip -6 neigh show " + address)
	return strings.TrimSpace(out)
}

// resolves reports whether the client's kernel gets this hardware address as the answer to a solicitation. It asks three
// times. A round of the claim may tell it as well, which does not count: the address is forgotten and asked for again.
func resolves(t *testing.T, h *l2test.Host, address string, mac net.HardwareAddr) bool {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		switch n := neighbour(h, address); {
		case n == "":
			ask(t, h, address)
		case strings.Contains(n, "FAILED"):
			h.IP(t, "-6 neigh flush all nud failed")
			return false
		case strings.Contains(n, "lladdr"):
			h.IP(t, "-6 neigh flush dev eth0")
			if strings.Contains(n, "lladdr "+mac.String()) && strings.Contains(n, "REACHABLE") {
				return true
			}
		}
	}
	t.Fatalf("%s is neither resolved nor given up on", address)
	return false
}

func TestTheKernelResolvesOurAddressAndNoOther(t *testing.T) {
	h, r, m := lan(t)
	us := ifi(t, "lan0")
	syncOK(t, r, []l2.Interface{us}, entries("2001:db8::10"))
	if !resolves(t, h, "2001:db8::10", us.HardwareAddr()) {
		t.Error("not resolved")
	}
	if n := neighbour(h, "2001:db8::10"); strings.Contains(n, "router") {
		t.Errorf("the client takes us for a router: %s", n)
	}
	if got := m.all(); got[0] < 1 || got[1] != got[0] {
		t.Errorf("counted %v, want as many answers as requests", got)
	}
	if resolves(t, h, "2001:db8::11", us.HardwareAddr()) {
		t.Error("answered for an address that is not ours")
	}
	if resolves(t, h, "2001:db8::1:0:10", us.HardwareAddr()) {
		t.Error("answered for another address of the same solicited-node group")
	}
}

func TestAWithdrawnAddressIsSilentAtOnce(t *testing.T) {
	h, r, _ := lan(t)
	us := ifi(t, "lan0")
	syncOK(t, r, []l2.Interface{us}, entries("2001:db8::10", "2001:db8::11"))
	if !resolves(t, h, "2001:db8::10", us.HardwareAddr()) {
		t.Fatal("not answered")
	}
	syncOK(t, r, []l2.Interface{us}, entries("2001:db8::11"))
	if resolves(t, h, "2001:db8::10", us.HardwareAddr()) {
		t.Error("still answered")
	}
	if !resolves(t, h, "2001:db8::11", us.HardwareAddr()) {
		t.Error("the other address is silent too")
	}
	syncOK(t, r, []l2.Interface{us}, nil)
	if resolves(t, h, "2001:db8::11", us.HardwareAddr()) {
		t.Error("the last address is still answered")
	}
	if g := joined(t); len(g) > 0 {
		t.Errorf("groups not left: %v", g)
	}
}

func TestAnAddressIsAnsweredOnItsInterfacesOnly(t *testing.T) {
	h, r, _ := lan(t)
	other := l2test.NewHost(t)
	sysctl(t, other, "conf/all/"+noProbes, "0")
	sysctl(t, other, "conf/default/"+noProbes, "0")
	other.Connect(t, "lan1", "eth0")
	other.IP(t, "addr add 2001:db8::98/64 dev eth0 nodad")
	a, b := ifi(t, "lan0"), ifi(t, "lan1")
	syncOK(t, r, []l2.Interface{a, b}, entries("2001:db8::10@lan1", "2001:db8::11"))
	for _, c := range []struct {
		from     *l2test.Host
		by       l2.Interface
		address  string
		answered bool
	}{{h, a, "2001:db8::10", false}, {other, b, "2001:db8::10", true}, {h, a, "2001:db8::11", true}, {other, b, "2001:db8::11", true}} {
		if resolves(t, c.from, c.address, c.by.HardwareAddr()) != c.answered {
			t.Errorf("%s on %s: answered is not %v", c.address, c.by.Name, c.answered)
		}
	}
}

func TestANeighbourThatChecksByUnicastFindsUsReachable(t *testing.T) {
	h, r, m := lan(t, "tcpdump")
	us := ifi(t, "lan0")
	seen := watchWire(t, h)
	syncOK(t, r, []l2.Interface{us}, entries("2001:db8::10"))
	sysctl(t, h, "neigh/eth0/delay_first_probe_time", "3") // long enough for the look below on a busy machine
	h.IP(t, "-6 neigh replace 2001:db8::10 lladdr "+us.HardwareAddr().String()+" nud stale dev eth0")
	ask(t, h, "2001:db8::10")
	if n := neighbour(h, "2001:db8::10"); !strings.Contains(n, "DELAY") {
		t.Fatalf("the kernel does not check the entry %q", n)
	}
	l2test.Eventually(t, 10*time.Second, "the entry is confirmed", func() bool {
		return strings.Contains(neighbour(h, "2001:db8::10"), "REACHABLE")
	})
	if got := m.all(); got[1] != 1 {
		t.Errorf("%d answers, want 1", got[1])
	}
	for line := range seen {
		if strings.Contains(line, "neighbor solicitation") {
			if !strings.Contains(line, us.HardwareAddr().String()+", ") || !strings.Contains(line, "> 2001:db8::10: ") {
				t.Errorf("the solicitation was not sent by unicast: %s", line)
			}
			break
		}
	}
}

func TestADuplicateIsRefused(t *testing.T) {
	h, r, _ := lan(t)
	syncOK(t, r, []l2.Interface{ifi(t, "lan0")}, entries("2001:db8::10"))
	sysctl(t, h, "conf/eth0/"+noProbes, "1")
	h.IP(t, "addr add 2001:db8::10/64 dev eth0")
	h.IP(t, "addr add 2001:db8::11/64 dev eth0")
	state := func(a string) string {
		out, _ := h.Run("ip -6 -o addr show dev eth0 to " + a)
		return out
	}
	l2test.Eventually(t, 10*time.Second, "the kernel finds our address taken", func() bool {
		return strings.Contains(state("2001:db8::10"), "dadfailed")
	})
	l2test.Eventually(t, 10*time.Second, "the kernel finds another address free", func() bool {
		s := state("2001:db8::11")
		return s != "" && !strings.Contains(s, "tentative") && !strings.Contains(s, "dadfailed")
	})
}

func TestUnsolicitedAdvertisementsMoveTheKernelsNeighbourEntry(t *testing.T) {
	h, r, _ := lan(t)
	us := ifi(t, "lan0")
	for name, state := range map[string]string{"an entry just confirmed": "reachable", "a stale entry": "stale"} {
		t.Run(name, func(t *testing.T) {
			h.IP(t, "-6 neigh replace 2001:db8::10 lladdr 02:00:00:00:00:77 nud "+state+" dev eth0")
			start := time.Now()
			syncOK(t, r, []l2.Interface{us}, entries("2001:db8::10"))
			l2test.Eventually(t, 10*time.Second, "the neighbour entry is ours", func() bool {
				return strings.Contains(neighbour(h, "2001:db8::10"), us.HardwareAddr().String())
			})
			t.Logf("moved within %v", time.Since(start).Round(time.Millisecond))
			syncOK(t, r, []l2.Interface{us}, nil)
		})
	}
}

func TestAnInterfaceMadeAnewAnswersAgain(t *testing.T) {
	h, r, _ := lan(t)
	syncOK(t, r, []l2.Interface{ifi(t, "lan0")}, entries("2001:db8::10"))
	l2test.IP(t, "link del lan0")
	select {
	case <-r.Failed():
	case <-time.After(2 * time.Second):
		t.Error("the lost socket was not reported")
	}
	syncOK(t, r, nil, entries("2001:db8::10"))
	if len(r.Running()) != 0 {
		t.Errorf("running without an interface: %v", r.Running())
	}
	connect(t, h)
	us := ifi(t, "lan0")
	syncOK(t, r, []l2.Interface{us}, entries("2001:db8::10"))
	if g := joined(t); len(g) != 1 {
		t.Errorf("groups on the new interface: %v, want the address's", g)
	}
	if !resolves(t, h, "2001:db8::10", us.HardwareAddr()) {
		t.Error("not answered")
	}
}

// The kernel probes for duplicates of the link-local address here, as it does on a node.
func TestTheLinkLocalAddressComesAndGoes(t *testing.T) {
	h, r, _ := lan(t)
	us := ifi(t, "lan0")
	want := entries("2001:db8::10")
	running := entries("2001:db8::10@lan0")
	sysctl(t, nil, "conf/lan0/"+noProbes, "1")
	syncUntil := func(what string, want, running []l2.Entry) {
		t.Helper()
		deadline := time.After(5 * time.Second)
		for {
			got, err := r.Sync([]l2.Interface{us}, want)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if cmp.Equal(got, running, addrEqual) {
				return
			}
			select {
			case <-r.Failed():
			case <-deadline:
				t.Fatalf("%s: no signal; running is %v, want %v", what, got, running)
			}
		}
	}
	syncUntil("with a link-local address", want, running)
	sysctl(t, nil, "conf/lan0/disable_ipv6", "1")
	syncUntil("IPv6 switched off", want, []l2.Entry{})
	sysctl(t, nil, "conf/lan0/disable_ipv6", "0")
	syncUntil("IPv6 switched on again", want, running)
	if !resolves(t, h, "2001:db8::10", us.HardwareAddr()) {
		t.Error("not answered after IPv6 was switched off and on")
	}
	l2test.IP(t, "link set lan0 down")
	syncUntil("down", want, []l2.Entry{})
	l2test.IP(t, "link set lan0 up")
	syncUntil("up again", want, running)
	if !resolves(t, h, "2001:db8::10", us.HardwareAddr()) {
		t.Error("not answered after the interface was down and up")
	}
}

func TestAForeignHolderIsHeard(t *testing.T) {
	h, r, _ := lan(t)
	us := ifi(t, "lan0")
	syncOK(t, r, []l2.Interface{us}, entries("2001:db8::10"))
	theirs := h.MAC(t, "eth0")
	question := func(address string) func() {
		return func() {
			if err := r.Ask("lan0", netip.MustParseAddr(address)); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask(t, h, "2001:db8::10")
	time.Sleep(50 * time.Millisecond)
	if s := r.Sightings(); len(s) > 0 {
		t.Errorf("heard %+v of our own claims and a question", s)
	}
	h.IP(t, "addr add 2001:db8::10/128 dev eth0 nodad")
	if mac := l2test.Sighted(t, r.Sightings, "2001:db8::10", question("2001:db8::10")); mac != theirs {
		t.Errorf("asked for, the address is at %s, want %s", mac, theirs)
	}
	h.IP(t, "addr del 2001:db8::10/128 dev eth0")
	question("2001:db8::10")()
	time.Sleep(50 * time.Millisecond)
	if s := r.Sightings(); len(s) > 0 {
		t.Errorf("heard %+v after the holder has gone", s)
	}

	// One that says so by itself when it takes the address.
	sysctl(t, h, "conf/eth0/ndisc_notify", "1")
	if mac := l2test.Sighted(t, r.Sightings, "2001:db8::10", func() {
		h.Run("ip addr del 2001:db8::10/128 dev eth0")
		h.IP(t, "addr add 2001:db8::10/128 dev eth0")
	}); mac != theirs {
		t.Errorf("advertised, the address is at %s, want %s", mac, theirs)
	}

	// A node with nothing to answer asks too, where it is told that it will.
	if _, err := r.Sync([]l2.Interface{us}, nil, "lan0"); err != nil {
		t.Fatal(err)
	}
	if mac := l2test.Sighted(t, r.Sightings, "2001:db8::99", question("2001:db8::99")); mac != theirs {
		t.Errorf("the client's own address is at %s, want %s", mac, theirs)
	}
}
