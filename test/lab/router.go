package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"metallb.io/operator/test/lab/internal/pid1"
)

const frrDir = "/usr/lib/frr"

// AS numbers of the router and of the nodes in the router's default configuration.
const (
	RouterAS = 64513
	NodeAS   = 64512
)

// StartRouter (re)starts BGP on the router and returns when it takes
// connections. With an empty config it peers with every node over IPv4 and
// IPv6, between [RouterAS] and [NodeAS], with BFD at 3 times 300 ms, and puts what it
// learns into its routing table, equal paths together. A config is in the program's own language.
func (c *Cluster) StartRouter(ctx context.Context, kind RouterKind, config string) error {
	if lacks := Missing(kind); len(lacks) > 0 {
		return lackError(lacks)
	}
	if err := c.StopRouter(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	dir := c.dir.machine(Router)
	spec := pid1.Spec{Hostname: Router, Dir: dir, Keep: append([]string{string(c.dir)}, c.bins.dirs()...)}
	file := filepath.Join(dir, string(kind)+".conf")
	switch kind {
	case FRR:
		spec.Steps = frrSteps(file)
	case BIRD:
		spec.Steps = []pid1.Step{{Name: "bird", Args: []string{c.bins.lookPath("bird"), "-f", "-c", file, "-s", birdSocket}}}
	default:
		return fmt.Errorf("no routing program %q; there are %s and %s", kind, FRR, BIRD)
	}
	if config == "" {
		config = c.plan.routerConfig(kind)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return err
	}
	if err := c.writeSpec(spec); err != nil {
		return err
	}
	if err := c.boot(Router); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	bgp := netip.AddrPortFrom(c.Machine(Router).NICs[LAN].IPv4.Addr(), 179).String()
	return poll(ctx, 50*time.Millisecond, fmt.Sprintf("%s on the router (logs in %s)", kind, dir), func() error {
		conn, err := c.Dial(ctx, Client, "tcp", bgp)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

const birdSocket = "/run/bird.ctl"

// frrSteps starts each daemon with an empty configuration and feeds them the
// integrated one: a daemon's own -f takes only its own commands.
func frrSteps(config string) []pid1.Step {
	const run = "/run/frr" // the default, in the machine's own /run
	steps := []pid1.Step{
		{Name: "install", Wait: true, Args: []string{"/usr/bin/install", "-d", "-o", "frr", "-g", "frr", run}},
		{Name: "install", Wait: true, Args: []string{"/usr/bin/install", "-o", "frr", "-g", "frr", "/dev/null", run + "/empty.conf"}},
	}
	after := ""
	for _, daemon := range []string{"mgmtd", "zebra", "bgpd", "bfdd"} {
		program := filepath.Join(frrDir, daemon)
		if !executable(program) {
			continue // mgmtd, before FRR 8.5
		}
		steps = append(steps, pid1.Step{Name: daemon, Await: after,
			Args: []string{program, "-f", run + "/empty.conf", "-A", "127.0.0.1", "--log", "stdout", "--log-level", "info"}})
		after = filepath.Join(run, daemon+".vty")
	}
	return append(steps, pid1.Step{Name: "vtysh", Await: after, Wait: true, Args: []string{"/usr/bin/vtysh", "-f", config}})
}

// StopRouter kills the routing program, if one runs, and removes the routes
// that it leaves behind. The router goes on forwarding.
func (c *Cluster) StopRouter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.dir.kill(Router); err != nil {
		return err
	}
	if err := c.cgroups.Remove(filepath.Join(c.plan.prefix(), Router)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// FRR's routes hang on next-hop objects and go with them.
	for _, args := range []string{"nexthop flush", "-4 route flush proto bird", "-6 route flush proto bird"} {
		if _, err := c.Exec(ctx, Router, append([]string{"ip"}, strings.Fields(args)...)...); err != nil {
			return err
		}
	}
	return nil
}

func (p plan) routerConfig(kind RouterKind) string {
	if kind == FRR {
		return p.frrConfig()
	}
	return p.birdConfig()
}

func (p plan) frrConfig() string {
	var peers, v4, v6 strings.Builder
	for i := range p.Nodes {
		node := p.nic(LAN, firstNode+i)
		for _, addr := range []netip.Addr{node.IPv4.Addr(), node.IPv6.Addr()} {
			fmt.Fprintf(&peers, " neighbor %[1]s remote-as %[2]d\n neighbor %[1]s timers connect 1\n neighbor %[1]s bfd profile fast\n", addr, NodeAS)
		}
		fmt.Fprintf(&v4, "  neighbor %s activate\n", node.IPv4.Addr())
		fmt.Fprintf(&v6, "  neighbor %s activate\n", node.IPv6.Addr())
	}
	return fmt.Sprintf(`hostname router
log stdout
bfd
 profile fast
  receive-interval 300
  transmit-interval 300
  detect-multiplier 3
 exit
exit
router bgp %d
 bgp router-id %s
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp bestpath as-path multipath-relax
%s address-family ipv4 unicast
  maximum-paths 8
%s exit-address-family
 address-family ipv6 unicast
  maximum-paths 8
%s exit-address-family
exit
`, RouterAS, p.nic(LAN, routerNumber).IPv4.Addr(), &peers, &v4, &v6)
}

func (p plan) birdConfig() string {
	router := p.nic(LAN, routerNumber)
	var b strings.Builder
	fmt.Fprintf(&b, `log stderr all;
router id %s;
protocol device {}
protocol bfd { interface "eth0" { min rx interval 300 ms; min tx interval 300 ms; multiplier 3; }; }
protocol kernel kernel4 { ipv4 { export where source = RTS_BGP; }; merge paths on; }
protocol kernel kernel6 { ipv6 { export where source = RTS_BGP; }; merge paths on; }
template bgp node {
	local as %d;
	connect delay time 1; connect retry time 1; error wait time 1, 2;
	bfd on;
}
`, router.IPv4.Addr(), RouterAS)
	for i, name := range p.nodes() {
		node := p.nic(LAN, firstNode+i)
		fmt.Fprintf(&b, "protocol bgp %s_4 from node { source address %s; neighbor %s as %d; ipv4 { import all; export none; }; }\n",
			name, router.IPv4.Addr(), node.IPv4.Addr(), NodeAS)
		fmt.Fprintf(&b, "protocol bgp %s_6 from node { source address %s; neighbor %s as %d; ipv6 { import all; export none; }; }\n",
			name, router.IPv6.Addr(), node.IPv6.Addr(), NodeAS)
	}
	return b.String()
}
