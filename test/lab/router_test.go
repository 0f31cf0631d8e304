package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/test/lab"
)

// speakerConfig is BIRD on a node as a stand-in for the product: it announces
// one address of each family to the router, with BFD.
const speakerConfig = `log stderr all;
router id %[1]s;
protocol device {}
protocol bfd { interface "eth0" { min rx interval 300 ms; min tx interval 300 ms; multiplier 3; }; }
protocol static static4 { ipv4; route 172.30.200.1/32 blackhole; }
protocol static static6 { ipv6; route fd00:30:200::1/128 blackhole; }
template bgp to_router {
	local as %[5]d;
	connect delay time 1; connect retry time 1; error wait time 1, 2;
	bfd on;
}
protocol bgp router4 from to_router {
	source address %[1]s; neighbor %[2]s as %[6]d;
	ipv4 { import none; export where source = RTS_STATIC; next hop self; };
}
protocol bgp router6 from to_router {
	source address %[3]s; neighbor %[4]s as %[6]d;
	ipv6 { import none; export where source = RTS_STATIC; next hop self; };
}
`

func testRouter(t *testing.T, c *lab.Cluster, kind lab.RouterKind) {
	lab.Require(t, kind, lab.BIRD)
	ctx := within(t, time.Minute)
	if err := c.StartRouter(ctx, kind, ""); err != nil {
		t.Fatal(err)
	}
	node, router := c.Machine("node1").NICs[lab.LAN], c.Machine(lab.Router).NICs[lab.LAN]
	config := filepath.Join(c.LogDir("node1"), "bird.conf")
	text := fmt.Sprintf(speakerConfig, node.IPv4.Addr(), router.IPv4.Addr(), node.IPv6.Addr(), router.IPv6.Addr(), lab.NodeAS, lab.RouterAS)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	speaker, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		_, err := c.Exec(speaker, "node1", "bird", "-f", "-c", config, "-s", "/run/bird.ctl")
		ended <- err
	}()
	start := time.Now()
	t.Cleanup(func() {
		if t.Failed() {
			stop()
			t.Logf("the speaker: %v", <-ended)
		}
	})
	for _, route := range []string{"172.30.200.1", "fd00:30:200::1"} {
		eventually(t, ctx, func() error { return routed(ctx, c, route, node) })
	}
	eventually(t, ctx, func() error { return bfdUp(ctx, c, kind) })
	t.Logf("routes and BFD up %s after the speaker started", time.Since(start).Round(10*time.Millisecond))

	// Nothing but BFD tells the router of a silent cut before the hold time is over, minutes later.
	start = time.Now()
	if err := c.CutCable("node1", lab.LAN, lab.Silent); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, func() error {
		if err := routed(ctx, c, "172.30.200.1", node); err == nil {
			return errors.New("the router still routes to a node that is cut off")
		}
		return nil
	})
	took := time.Since(start)
	t.Logf("the router noticed a silent cut after %s", took.Round(10*time.Millisecond))
	if took > 5*time.Second {
		t.Error("that is not BFD, which takes about 1 s")
	}
	if err := c.MendCable("node1", lab.LAN); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := c.StopRouter(); err != nil {
		t.Fatal(err)
	}
	out, err := c.Exec(ctx, lab.Router, "ip", "-6", "route", "show", "fd00:30:200::1")
	if err != nil || out.Stdout != "" {
		t.Errorf("a route stayed behind: %q, %v", out.Stdout, err)
	}
}

// routed says whether the router forwards an address to the node.
func routed(ctx context.Context, c *lab.Cluster, addr string, node lab.NIC) error {
	out, err := c.Exec(ctx, lab.Router, "ip", "route", "get", addr)
	if err != nil {
		return err
	}
	via := node.IPv4.Addr()
	if netip.MustParseAddr(addr).Is6() {
		via = node.IPv6.Addr()
	}
	if !strings.Contains(out.Stdout, "via "+via.String()+" ") && !strings.Contains(out.Stdout, "via fe80:") {
		return fmt.Errorf("no route by %s: %s", via, out.Stdout)
	}
	return nil
}

// bfdUp says whether both sessions are up as the router sees them.
func bfdUp(ctx context.Context, c *lab.Cluster, kind lab.RouterKind) error {
	show, up := []string{"vtysh", "-c", "show bfd peers brief"}, "up"
	if kind == lab.BIRD {
		show, up = []string{"birdc", "-s", "/run/bird.ctl", "show", "bfd", "sessions"}, "Up"
	}
	out, err := c.Exec(ctx, lab.Router, show...)
	if err != nil {
		return err
	}
	count := 0
	for _, field := range strings.Fields(out.Stdout) {
		if field == up {
			count++
		}
	}
	if count != 2 {
		return fmt.Errorf("%d sessions are up, not 2:\n%s", count, out.Stdout)
	}
	return nil
}
