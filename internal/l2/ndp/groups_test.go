package ndp

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/l2test"
)

// joined returns the solicited-node groups that sockets have joined on lan0; the kernel's own, which it joins for its own
// addresses, are not among them.
func joined(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/net/igmp6")
	if err != nil {
		t.Fatal(err)
	}
	own, err := linkLocal(ifi(t, "lan0"))
	if err != nil || !own.IsValid() {
		t.Fatal(own, err)
	}
	group := groupOf(own).As16()
	var out []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[1] == "lan0" && strings.HasPrefix(f[2], "ff0200000000000000000001ff") && f[2] != hex.EncodeToString(group[:]) {
			out = append(out, f[2])
		}
	}
	return out
}

func TestManyAddressesAreAllAnswered(t *testing.T) {
	h, r, m := lan(t)
	us := ifi(t, "lan0")
	const asked, all = 500, 2500 // more than one socket's memberships (1800 with 128 KiB of net.core.optmem_max)
	var want []l2.Entry
	var addresses []string
	for i := range all {
		a := fmt.Sprintf("2001:db8::a:%x", i)
		want = append(want, entries(a)...)
		if i%(all/asked) == 0 {
			addresses = append(addresses, a)
		}
	}
	o := observe(r)
	start := time.Now()
	syncOK(t, r, []l2.Interface{us}, want)
	t.Logf("%d addresses begun in %v with %d sockets", all, time.Since(start).Round(time.Millisecond), len(o.groups.sockets))
	if n := len(o.groups.sockets); n < 2 {
		t.Errorf("%d groups fit into %d socket: the test is too small", all, n)
	}
	if n := len(joined(t)); n != all {
		t.Errorf("%d groups joined, want %d", n, all)
	}
	o.endClaims(t, m, all)
	ask(t, h, addresses...)
	l2test.Eventually(t, 10*time.Second, "every address is resolved", func() bool {
		out, _ := h.Run("ip -6 neigh show dev eth0 nud reachable")
		return strings.Count(out, "2001:db8::a:") == asked && strings.Count(out, "lladdr "+us.HardwareAddr().String()) == asked
	})
	syncOK(t, r, []l2.Interface{us}, want[:1])
	if g := joined(t); len(g) != 1 {
		t.Errorf("%d groups joined for one address", len(g))
	}
}

// Between the client and the node there is a switch that sends multicast only where MLD says that it is wanted.
func TestASwitchThatListensToMLD(t *testing.T) {
	l2test.Require(t, "bridge")
	sw := l2test.NewHost(t)
	if out, ok := sw.Run("ip link add br0 type bridge mcast_snooping 1 mcast_querier 1 mcast_startup_query_interval 100"); !ok {
		t.Fatalf("cannot make a bridge: %s", out)
	}
	for _, conf := range []string{"conf/all/", "conf/default/"} {
		sysctl(t, nil, conf+noProbes, "0")
		sysctl(t, sw, conf+noProbes, "0")
	}
	for _, port := range []string{"client", "node"} {
		sw.Connect(t, map[string]string{"client": "lan1", "node": "lan0"}[port], port)
		sw.IP(t, "link set "+port+" master br0")
	}
	sw.IP(t, "link set br0 up")
	mdb := func() string {
		out, _ := sw.Run("bridge -d mdb show dev br0")
		return out
	}
	r := New(&count{}, quiet)
	t.Cleanup(r.Close)
	l2test.Eventually(t, 10*time.Second, "the node has a link-local address", func() bool {
		a, err := linkLocal(ifi(t, "lan0"))
		return err == nil && a.IsValid()
	})
	syncOK(t, r, []l2.Interface{ifi(t, "lan0")}, entries("2001:db8::10"))
	l2test.Eventually(t, 10*time.Second, "the switch knows that the group is wanted by the node", func() bool {
		return strings.Contains(mdb(), "port node grp ff02::1:ff00:10")
	})
	syncOK(t, r, []l2.Interface{ifi(t, "lan0")}, nil)
	l2test.Eventually(t, 10*time.Second, "the switch knows that the group is no longer wanted", func() bool {
		return !strings.Contains(mdb(), "grp ff02::1:ff00:10")
	})
}
