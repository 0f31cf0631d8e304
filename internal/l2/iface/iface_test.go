package iface

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2/l2test"
)

var quiet = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) {
	l2test.Main(m, (*testing.M).Run)
}

func TestExclude(t *testing.T) {
	exclude, err := Exclude("eth1, ^wg.*,^eth[34]$")
	if err != nil {
		t.Fatal(err)
	}
	re, err := compile(exclude)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"eth1": true, "eth10": false, "xeth1": false, "eth.1": false, "wg0": true, "eth3": true, "eth5": false, "eth0": false, "veth1": false,
	} {
		if re.MatchString(name) != want {
			t.Errorf("%s is excluded: %t", name, !want)
		}
	}
	if none, err := Exclude(""); err != nil || len(none) != 0 {
		t.Errorf("nothing to exclude: %v, %v", none, err)
	}
	if _, err := Exclude("^eth["); err == nil {
		t.Error("what is no expression is taken for one")
	}
}

var none = regexp.MustCompile(`^\z.`)

// What somebody excludes stays the node's: its address must not be taken for one that is free.
func TestAnInterfaceThatIsNotToBeUsedKeepsItsAddresses(t *testing.T) {
	n, err := compileExclusion([]string{"^cni.*"}, []string{"^eth1$"})
	if err != nil {
		t.Fatal(err)
	}
	link := func(i int, name string) netlink.Link {
		return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name, Index: i, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(i)}, EncapType: "ether",
			Flags: net.FlagUp | net.FlagBroadcast, RawFlags: unix.IFF_UP | unix.IFF_RUNNING}}
	}
	address := func(i int, text string) netlink.Addr {
		ip, in, _ := net.ParseCIDR(text)
		return netlink.Addr{LinkIndex: i, IPNet: &net.IPNet{IP: ip, Mask: in.Mask}}
	}
	s, why := stateOf([]netlink.Link{link(1, "eth0"), link(2, "eth1"), link(3, "cni0")},
		[]netlink.Addr{address(1, "192.0.2.1/24"), address(2, "198.51.100.1/24"), address(3, "203.0.113.1/24")}, n)
	if len(s.Interfaces) != 1 || s.Interfaces[0].Name != "eth0" || why[2] != "excluded by name" {
		t.Errorf("interfaces %v, %v", s.Interfaces, why)
	}
	if got := fmt.Sprint(s.Addresses, s.Subnets); got != "[192.0.2.1 198.51.100.1] [192.0.2.0/24]" {
		t.Errorf("addresses and subnets: %s", got)
	}
}

func TestUnusable(t *testing.T) {
	re, err := compile(DefaultExclude)
	if err != nil {
		t.Fatal(err)
	}
	good := func() *netlink.LinkAttrs {
		return &netlink.LinkAttrs{
			Name: "eth0", Index: 2, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}, EncapType: "ether",
			Flags: net.FlagUp | net.FlagBroadcast | net.FlagMulticast, RawFlags: unix.IFF_UP | unix.IFF_RUNNING,
		}
	}
	for name, c := range map[string]struct {
		change func(*netlink.LinkAttrs)
		master string
		want   string
	}{
		"an Ethernet interface that is up":       {func(*netlink.LinkAttrs) {}, "", ""},
		"a bridge's port":                        {func(a *netlink.LinkAttrs) { a.MasterIndex = 7 }, "bridge", "part of another interface"},
		"a bond's port":                          {func(a *netlink.LinkAttrs) { a.MasterIndex = 7 }, "bond", "part of another interface"},
		"a port of something that is not listed": {func(a *netlink.LinkAttrs) { a.MasterIndex = 7 }, "", "part of another interface"},
		"a VRF's interface is its own":           {func(a *netlink.LinkAttrs) { a.MasterIndex = 7 }, "vrf", ""},
		"down":                                   {func(a *netlink.LinkAttrs) { a.Flags &^= net.FlagUp }, "", "down"},
		"no cable":                               {func(a *netlink.LinkAttrs) { a.RawFlags &^= unix.IFF_RUNNING }, "", "no carrier"},
		"NOARP":                                  {func(a *netlink.LinkAttrs) { a.RawFlags |= unix.IFF_NOARP }, "", "does not do ARP"},
		"loopback by flag":                       {func(a *netlink.LinkAttrs) { a.Flags |= net.FlagLoopback }, "", "loopback"},
		"point to point":                         {func(a *netlink.LinkAttrs) { a.Flags &^= net.FlagBroadcast }, "", "no broadcast"},
		"no Ethernet":                            {func(a *netlink.LinkAttrs) { a.EncapType = "infiniband" }, "", "not Ethernet"},
		"no hardware address":                    {func(a *netlink.LinkAttrs) { a.HardwareAddr = nil }, "", "not Ethernet"},
	} {
		t.Run(name, func(t *testing.T) {
			a := good()
			c.change(a)
			if got := unusable(a, c.master, re); got != c.want {
				t.Errorf("unusable = %q, want %q", got, c.want)
			}
		})
	}
	for _, name := range []string{"docker0", "cbr0", "dummy1", "virbr0", "lxcbr0", "veth12ab", "lo", "cali123", "tunl0",
		"flannel.1", "kube-ipvs0", "cni0", "nodelocaldns", "lxc7"} {
		a := good()
		a.Name = name
		if got := unusable(a, "", re); got != "excluded by name" {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, name := range []string{"eth0", "lo1", "br-ex", "bond0", "eno1.100", "wlan0", "mydocker", "xveth"} {
		a := good()
		a.Name = name
		if got := unusable(a, "", re); got != "" {
			t.Errorf("%s is not usable: %q", name, got)
		}
	}
}

func TestCompile(t *testing.T) {
	re, err := compile(nil)
	if err != nil || re.MatchString("eth0") || re.MatchString("") {
		t.Errorf("excluding nothing excludes something (%v)", err)
	}
	_, err = compile([]string{"^ok$", "eth(", "[z"})
	if err == nil || !strings.Contains(err.Error(), `"eth("`) || !strings.Contains(err.Error(), `"[z"`) {
		t.Errorf("error does not name both bad expressions: %v", err)
	}
	if re, err = compile([]string{"a|b", "^c$"}); err != nil || !re.MatchString("xb") || re.MatchString("cc") {
		t.Errorf("expressions are not alternatives of their own (%v)", err)
	}
}

func TestAddressesOfServicesAreNotTheNodes(t *testing.T) {
	re, _ := compile(DefaultExclude)
	link := func(index int, name string, flags net.Flags) netlink.LinkAttrs {
		return netlink.LinkAttrs{Index: index, Name: name, Flags: flags}
	}
	links := []netlink.Link{
		&netlink.Device{LinkAttrs: link(1, "lo", net.FlagUp|net.FlagLoopback)},
		&netlink.Device{LinkAttrs: link(2, "eth0", net.FlagUp)},
		&netlink.Dummy{LinkAttrs: link(3, "kube-ipvs0", 0)},
		&netlink.Dummy{LinkAttrs: link(4, "keep", net.FlagUp)},
	}
	var addresses []netlink.Addr
	for i := range links {
		a, err := netlink.ParseAddr(fmt.Sprintf("192.0.2.%d/24", i+1))
		if err != nil {
			t.Fatal(err)
		}
		a.LinkIndex = i + 1
		addresses = append(addresses, *a)
	}
	s, _ := stateOf(links, addresses, exclusion{re, none})
	if want := []netip.Addr{netip.MustParseAddr("192.0.2.2")}; !slices.Equal(s.Addresses, want) {
		t.Errorf("addresses %v, want %v", s.Addresses, want)
	}
}

func TestSubnets(t *testing.T) {
	re, _ := compile(DefaultExclude)
	link := func(index int, name string, change func(*netlink.LinkAttrs)) netlink.Link {
		a := netlink.LinkAttrs{
			Index: index, Name: name, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(index)}, EncapType: "ether",
			Flags: net.FlagUp | net.FlagBroadcast, RawFlags: unix.IFF_UP | unix.IFF_RUNNING,
		}
		if change != nil {
			change(&a)
		}
		return &netlink.Device{LinkAttrs: a}
	}
	links := []netlink.Link{
		link(1, "lo", func(a *netlink.LinkAttrs) { a.Flags |= net.FlagLoopback }),
		link(2, "eth0", nil),
		link(3, "eth1", func(a *netlink.LinkAttrs) { a.RawFlags &^= unix.IFF_RUNNING }),
		link(4, "eth2", func(a *netlink.LinkAttrs) { a.Flags &^= net.FlagUp }),
		link(5, "docker0", nil),
		link(6, "wg0", func(a *netlink.LinkAttrs) { a.RawFlags |= unix.IFF_NOARP }),
	}
	var addresses []netlink.Addr
	for text, index := range map[string]int{
		"127.0.0.1/8": 1, "192.0.2.5/24": 2, "192.0.2.6/24": 2, "198.51.100.9/32": 2, "2001:db8::5/64": 2, "fe80::1/64": 2, "169.254.1.1/16": 2,
		"2001:db8:1::5/128": 2, "203.0.113.5/28": 3, "10.1.0.5/16": 4, "172.17.0.1/16": 5, "10.2.0.1/24": 6, "10.3.0.1/24": 7,
	} {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		a.LinkIndex = index
		addresses = append(addresses, *a)
	}
	s, _ := stateOf(links, addresses, exclusion{re, none})
	var got []string
	for _, p := range s.Subnets {
		got = append(got, p.String())
	}
	if d := cmp.Diff([]string{"192.0.2.0/24", "203.0.113.0/28", "2001:db8::/64"}, got); d != "" {
		t.Error(d)
	}
	if without := (State{Interfaces: s.Interfaces, Addresses: s.Addresses}); s.Equal(without) {
		t.Error("a state is equal to one without subnets")
	}
}

func TestGateways(t *testing.T) {
	l2test.Require(t)
	h := l2test.NewHost(t)
	h.Connect(t, "lan0", "eth0")
	gateways := func(want ...string) {
		t.Helper()
		got, err := Gateways()
		if err != nil {
			t.Fatal(err)
		}
		texts := []string{}
		for _, a := range got {
			texts = append(texts, a.String())
		}
		if d := cmp.Diff(append([]string{}, want...), texts); d != "" {
			t.Error(d)
		}
	}
	gateways()
	l2test.IP(t, "addr add 192.0.2.5/24 dev lan0")
	l2test.IP(t, "addr add 2001:db8::5/64 dev lan0 nodad")
	l2test.IP(t, "route add 198.51.100.0/24 via 192.0.2.77")
	gateways()
	l2test.IP(t, "route add default via 192.0.2.1")
	l2test.IP(t, "route add default via 192.0.2.1 metric 100")
	l2test.IP(t, "-6 route add default via 2001:db8::1")
	gateways("192.0.2.1", "2001:db8::1")
	l2test.IP(t, "route del default via 192.0.2.1 metric 100")
	l2test.IP(t, "route replace default nexthop via 192.0.2.2 nexthop via 192.0.2.3")
	l2test.IP(t, "-6 route replace default via fe80::1 dev lan0")
	gateways("192.0.2.2", "192.0.2.3")
	l2test.IP(t, "-4 route replace default via inet6 2001:db8::9 dev lan0")
	gateways("2001:db8::9")
	if err := l2test.WithCapabilities(t, 0, func() error { _, err := Gateways(); return err }); err != nil {
		t.Errorf("without capabilities: %v", err)
	}
}

// watch begins to watch in the test's namespace and returns a wait for a state.
func watch(t *testing.T) (*Watcher, func(what string, ok func(State) bool) State) {
	l2test.Require(t)
	w, err := Watch(DefaultExclude, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w, func(what string, ok func(State) bool) State {
		t.Helper()
		start := time.Now()
		for timeout := time.After(3 * time.Second); !ok(w.State()); {
			select {
			case <-w.Changed():
			case <-timeout:
				t.Fatalf("not within 3 s: %s; state %+v", what, w.State())
			}
		}
		t.Logf("%v: %s", time.Since(start).Round(100*time.Microsecond), what)
		return w.State()
	}
}

func names(s State) []string {
	out := []string{}
	for _, i := range s.Interfaces {
		out = append(out, i.Name)
	}
	return out
}

func has(want ...string) func(State) bool {
	return func(s State) bool { return cmp.Equal(append([]string{}, want...), names(s)) }
}

func TestWatchFollowsInterfaces(t *testing.T) {
	w, wait := watch(t)
	if got := names(w.State()); len(got) != 0 {
		t.Fatalf("interfaces in an empty namespace: %v", got)
	}
	h := l2test.NewHost(t)
	h.Connect(t, "lan0", "eth0")
	first := wait("an interface appears", has("lan0"))

	h.IP(t, "link set eth0 down")
	wait("the cable is cut", has())
	h.IP(t, "link set eth0 up")
	wait("and mended", has("lan0"))

	l2test.IP(t, "link set lan0 down")
	wait("the interface is set down", has())
	l2test.IP(t, "link set lan0 up")
	wait("and up", has("lan0"))

	l2test.IP(t, "link set lan0 address 02:00:00:00:00:55")
	wait("its hardware address changes", func(s State) bool {
		return len(s.Interfaces) == 1 && s.Interfaces[0].MAC == [6]byte{2, 0, 0, 0, 0, 0x55}
	})
	l2test.IP(t, "link set lan0 arp off")
	wait("ARP is switched off", has())
	l2test.IP(t, "link set lan0 arp on")
	wait("and on", has("lan0"))

	l2test.IP(t, "link del lan0")
	wait("the interface is deleted", has())
	h.Connect(t, "lan0", "eth0")
	again := wait("and made anew", has("lan0"))
	if again.Interfaces[0].Index == first.Interfaces[0].Index {
		t.Errorf("the new interface has the old index %d", first.Interfaces[0].Index)
	}
	l2test.IP(t, "link set lan0 down")
	l2test.IP(t, "link set lan0 name uplink")
	l2test.IP(t, "link set uplink up")
	wait("it is renamed", has("uplink"))
	l2test.IP(t, "link del uplink")
	wait("it is gone", has())
}

func TestWatchUsesTheBridgeNotItsPorts(t *testing.T) {
	_, wait := watch(t)
	h := l2test.NewHost(t)
	h.Connect(t, "lan0", "eth0")
	wait("an interface appears", has("lan0"))
	l2test.IP(t, "link add bridge0 type bridge")
	t.Cleanup(func() { l2test.IP(t, "link del bridge0") })
	l2test.IP(t, "link set lan0 master bridge0")
	l2test.IP(t, "link set bridge0 up")
	wait("it becomes a port", has("bridge0"))
	l2test.IP(t, "link set lan0 nomaster")
	wait("it stands alone again, the bridge has no carrier", has("lan0"))
}

func TestWatchFollowsAddresses(t *testing.T) {
	_, wait := watch(t)
	h := l2test.NewHost(t)
	h.Connect(t, "lan0", "eth0")
	a := netip.MustParseAddr("192.0.2.5")
	held := func(want bool) func(State) bool {
		return func(s State) bool { return slices.Contains(s.Addresses, a) == want }
	}
	l2test.IP(t, "addr add 192.0.2.5/24 dev lan0")
	wait("the node holds the address", held(true))
	l2test.IP(t, "addr del 192.0.2.5/24 dev lan0")
	wait("and no more", held(false))
	l2test.IP(t, "addr add 192.0.2.5/32 dev lo")
	l2test.IP(t, "addr add 192.0.2.6/24 dev lan0")
	s := wait("an event after it", func(s State) bool { return slices.Contains(s.Addresses, netip.MustParseAddr("192.0.2.6")) })
	if !held(false)(s) {
		t.Error("an address on lo, where some keep those of Services, counts as the node's")
	}
	l2test.IP(t, "addr del 192.0.2.5/32 dev lo")
}

func TestWatchIgnoresExcludedInterfaces(t *testing.T) {
	w, wait := watch(t)
	h := l2test.NewHost(t)
	h.Connect(t, "veth1", "eth0")
	h.Connect(t, "lan0", "eth1")
	wait("the other appears", has("lan0"))
	l2test.IP(t, "link set veth1 down")
	time.Sleep(50 * time.Millisecond)
	if got := names(w.State()); !cmp.Equal(got, []string{"lan0"}) {
		t.Errorf("interfaces %v", got)
	}
}

func TestWatchSurvivesAStormAndABrokenSocket(t *testing.T) {
	w, wait := watch(t)
	h := l2test.NewHost(t)
	h.Connect(t, "lan0", "eth0")
	wait("an interface appears", has("lan0"))
	for i := range 100 {
		l2test.IP(t, fmt.Sprintf("addr add 192.0.2.%d/24 dev lan0", i+1))
	}
	wait("the last of 100 events counts", func(s State) bool { return len(s.Addresses) >= 100 })

	w.mu.Lock()
	w.socket.Close() // as if netlink had failed
	w.mu.Unlock()
	l2test.IP(t, "link set lan0 down")
	wait("the watch goes on over a new socket", has())
	l2test.IP(t, "link set lan0 up")
	wait("and again", has("lan0"))
}

func TestWatchingNeedsNoCapability(t *testing.T) {
	l2test.Require(t)
	if err := l2test.WithCapabilities(t, 0, func() error {
		w, err := Watch(DefaultExclude, quiet)
		if err == nil {
			w.Close()
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}
