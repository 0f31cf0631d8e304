package lab_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"metallb.io/operator/test/lab"
	"metallb.io/operator/test/lab/internal/image"
)

var shared = lab.Shared{}

func TestMain(m *testing.M) {
	if os.Getenv(crashEnv) != "" {
		crash()
	}
	code := shared.Run(m)
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// TestCluster is the lab's own check of itself, from one end to the other. The
// order of its parts matters: the later ones break machines and mend them.
func TestCluster(t *testing.T) {
	lab.Require(t)
	before := clean(t)
	start := time.Now()
	c := shared.Cluster(t)
	t.Logf("up in %s, cgroup v%d", time.Since(start).Round(time.Millisecond), c.CgroupVersion())

	seen := fmt.Sprint(leavings(t))
	for _, kind := range []string{"/run/netns/", "/sys/fs/cgroup/", c.LogDir(""), "link ", "mount ", "__init ", "__janitor ", "kubelet --config"} {
		if !strings.Contains(seen, kind) {
			t.Errorf("the search for what stays behind does not even see %q while the lab is up", kind)
		}
	}

	t.Run("a Service answers on every node", func(t *testing.T) { testService(t, c) })
	t.Run("a node is powered off and on", func(t *testing.T) { testPower(t, c) })
	t.Run("a cut LAN leaves the API", func(t *testing.T) { testLANCut(t, c) })
	t.Run("a cut management network leaves the LAN", func(t *testing.T) { testManagementCut(t, c) })
	t.Run("the control plane is powered off and on", func(t *testing.T) { testControlPlane(t, c) })
	for _, kind := range []lab.RouterKind{lab.FRR, lab.BIRD} {
		t.Run("BGP and BFD on the router with "+string(kind), func(t *testing.T) { testRouter(t, c, kind) })
	}
	t.Run("another's network namespace covers none", func(t *testing.T) { testNamespaces(t, c) })
	t.Run("another lab must wait", func(t *testing.T) { testLock(t) })

	start = time.Now()
	if err := c.Down(); err != nil {
		t.Fatalf("down: %v", err)
	}
	t.Logf("down in %s", time.Since(start).Round(time.Millisecond))
	sameLeavings(t, before)
}

func testService(t *testing.T, c *lab.Cluster) {
	ctx := within(t, 2*time.Minute)
	kubectl(t, c, "apply", "-f", "testdata/echo.yaml")
	kubectl(t, c, "rollout", "status", "deployment/echo", "--timeout=60s")
	kubectl(t, c, "rollout", "status", "daemonset/hostecho", "--timeout=60s")
	for _, node := range c.Nodes() {
		nic := c.Machine(node).NICs[lab.LAN]
		for _, addr := range []netip.Addr{nic.IPv4.Addr(), nic.IPv6.Addr()} {
			eventually(t, ctx, func() error { return ask(ctx, c, lab.Client, "tcp", addr, 30001) })
			eventually(t, ctx, func() error { return ask(ctx, c, lab.Remote, "tcp", addr, 30001) })
			for port := uint16(30001); port <= 30003; port++ {
				eventually(t, ctx, func() error { return ask(ctx, c, lab.Client, "udp", addr, port) })
			}
			eventually(t, ctx, func() error { return ask(ctx, c, lab.Client, "tcp", addr, 7000) })
			eventually(t, ctx, func() error { return ask(ctx, c, lab.Client, "udp", addr, 7000) })
		}
	}
	// The Service's cluster addresses, through a node as a gateway.
	node := c.Machine("node2").NICs[lab.LAN]
	addrs := strings.Fields(kubectl(t, c, "get", "service", "echo", "-o", "jsonpath={.spec.clusterIPs[0]} {.spec.clusterIPs[1]}"))
	for i, via := range []netip.Addr{node.IPv4.Addr(), node.IPv6.Addr()} {
		addr := netip.MustParseAddr(addrs[i])
		if _, err := c.Exec(ctx, lab.Client, "ip", "route", "add", addrs[i], "via", via.String()); err != nil {
			t.Fatal(err)
		}
		eventually(t, ctx, func() error { return ask(ctx, c, lab.Client, "tcp", addr, 33001) })
		eventually(t, ctx, func() error { return ask(ctx, c, lab.Client, "udp", addr, 33003) })
	}
	httpAnswers(t, ctx, c, node.IPv4.Addr())
}

// httpAnswers asks over HTTP, as everybody's tools do; the other checks use lines.
func httpAnswers(t *testing.T, ctx context.Context, c *lab.Cluster, addr netip.Addr) {
	conn, err := c.Dial(ctx, lab.Client, "tcp", netip.AddrPortFrom(addr, 30001).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: echo\r\n\r\n")
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 200 ") {
		t.Errorf("HTTP answer: %q, %v", line, err)
	}
}

func testNamespaces(t *testing.T, c *lab.Cluster) {
	for _, verb := range []string{"add", "delete"} {
		if out, err := exec.Command("ip", "netns", verb, "not-the-labs").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if _, err := c.Exec(within(t, time.Minute), lab.Client, "ip", "link"); err != nil {
		t.Error(err)
	}
}

func testPower(t *testing.T, c *lab.Cluster) {
	ctx := within(t, 2*time.Minute)
	const node = "node2"
	addr := c.Machine(node).NICs[lab.LAN].IPv4.Addr()
	start := time.Now()
	if err := c.PowerOff(node); err != nil {
		t.Fatal(err)
	}
	if c.On(node) || ask(ctx, c, lab.Client, "tcp", addr, 7000) == nil {
		t.Errorf("%s answers though it is off", node)
	}
	if _, err := c.Exec(ctx, node, "true"); err == nil {
		t.Errorf("a command ran on %s though it is off", node)
	}
	loadImage(t, c)
	waitNode(t, c, node, false)
	t.Logf("NotReady %s after power-off", time.Since(start).Round(10*time.Millisecond))
	start = time.Now()
	if err := c.PowerOn(ctx, node); err != nil {
		t.Fatal(err)
	}
	waitNode(t, c, node, true)
	eventually(t, ctx, func() error { return ask(ctx, c, lab.Client, "tcp", addr, 7000) })
	t.Logf("Ready and its Pods answer %s after power-on", time.Since(start).Round(10*time.Millisecond))
	for _, node := range c.Nodes() { // the one that was off too
		out, err := c.Exec(ctx, node, "ctr", "-n", "k8s.io", "images", "ls", "-q")
		if err != nil || !strings.Contains(out.Stdout, loadedImage) {
			t.Errorf("%s has no %s: %s%v", node, loadedImage, out.Stdout, err)
		}
	}
}

const loadedImage = "example.test/loaded:1"

func loadImage(t *testing.T, c *lab.Cluster) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "loaded.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	img := image.Image{Name: loadedImage, Path: "/nothing", Program: []byte("not run")}
	if err := errors.Join(img.Write(f), f.Close(), c.LoadImage(t.Context(), path)); err != nil {
		t.Fatal(err)
	}
}

func testLANCut(t *testing.T, c *lab.Cluster) {
	ctx := within(t, 2*time.Minute)
	const node = "node3"
	addr := c.Machine(node).NICs[lab.LAN].IPv4.Addr()
	pod := kubectl(t, c, "get", "pod", "-l", "app=echo", "--field-selector", "spec.nodeName="+node, "-o", "jsonpath={.items[0].metadata.name}")
	for how, carrier := range map[lab.Cut]string{lab.CarrierLoss: "0", lab.Silent: "1"} {
		if err := c.CutCable(node, lab.LAN, how); err != nil {
			t.Fatal(err)
		}
		out, err := c.Exec(ctx, node, "cat", "/sys/class/net/eth0/carrier")
		if err != nil || strings.TrimSpace(out.Stdout) != carrier {
			t.Errorf("carrier: %q, want %s; %v", out.Stdout, carrier, err)
		}
		if ask(ctx, c, lab.Client, "tcp", addr, 7000) == nil {
			t.Errorf("%s answers on the LAN though its cable is cut", node)
		}
		// The ways between API and node: leases, logs from the kubelet's LAN
		// address, and a hostNetwork Pod's to the API's Service.
		kubectl(t, c, "logs", pod)
		if err := apiAnswers(ctx, c, node); err != nil {
			t.Errorf("the API from %s: %v", node, err)
		}
		stays(t, c, node, true, 10*time.Second)
		if err := c.MendCable(node, lab.LAN); err != nil {
			t.Fatal(err)
		}
		eventually(t, ctx, func() error { return ask(ctx, c, lab.Client, "tcp", addr, 7000) })
	}
}

func testManagementCut(t *testing.T, c *lab.Cluster) {
	ctx := within(t, 2*time.Minute)
	const node = "node3"
	addr := c.Machine(node).NICs[lab.LAN].IPv4.Addr()
	if err := c.CutCable(node, lab.Management, lab.Silent); err != nil {
		t.Fatal(err)
	}
	waitNode(t, c, node, false)
	for _, network := range []string{"tcp", "udp"} {
		if err := ask(ctx, c, lab.Client, network, addr, 7000); err != nil {
			t.Errorf("the LAN without management: %v", err)
		}
	}
	if err := c.MendCable(node, lab.Management); err != nil {
		t.Fatal(err)
	}
	waitNode(t, c, node, true)
}

func testControlPlane(t *testing.T, c *lab.Cluster) {
	ctx := within(t, 2*time.Minute)
	if err := c.PowerOff(lab.ControlPlane); err != nil {
		t.Fatal(err)
	}
	if out, err := c.Kubectl(ctx, "get", "nodes", "--request-timeout=1s"); err == nil {
		t.Errorf("the API answers though it is off: %s", out)
	}
	if err := ask(ctx, c, lab.Client, "udp", c.Machine("node1").NICs[lab.LAN].IPv6.Addr(), 30002); err != nil {
		t.Errorf("the Service without the API: %v", err)
	}
	start := time.Now()
	if err := c.PowerOn(ctx, lab.ControlPlane); err != nil {
		t.Fatal(err)
	}
	t.Logf("API ready %s after power-on", time.Since(start).Round(10*time.Millisecond))
	kubectl(t, c, "get", "service", "echo") // what was stored is there
	for _, node := range c.Nodes() {
		waitNode(t, c, node, true)
	}
}

func testLock(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	c, err := lab.Up(ctx, lab.Options{})
	if err == nil {
		t.Fatal(errors.Join(errors.New("a second cluster came up in place of the first"), c.Down()))
	}
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("it does not say who holds the lab: %v", err)
	}
	if err := lab.Down(0); err == nil {
		t.Error("another's cluster can be torn down")
	}
}

// ask sends a line to an echo from a machine and expects an answer.
func ask(ctx context.Context, c *lab.Cluster, from, network string, addr netip.Addr, port uint16) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := c.Dial(ctx, from, network, netip.AddrPortFrom(addr, port).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := fmt.Fprint(conn, "hello\n"); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(answer, network+" pod=") || !strings.Contains(answer, "node=node") || !strings.Contains(answer, `"hello`) {
		return fmt.Errorf("strange answer %q", answer)
	}
	return nil
}

// apiAnswers speaks TLS to the API's Service address from a node's own network.
func apiAnswers(ctx context.Context, c *lab.Cluster, node string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := c.Dial(ctx, node, "tcp", "10.96.0.1:443")
	if err != nil {
		return err
	}
	defer conn.Close()
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func kubectl(t *testing.T, c *lab.Cluster, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(within(t, 2*time.Minute), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func waitNode(t *testing.T, c *lab.Cluster, node string, ready bool) {
	t.Helper()
	if err := c.WaitNode(within(t, time.Minute), node, ready); err != nil {
		t.Fatal(err)
	}
}

// stays checks that a node's readiness does not change for a while.
func stays(t *testing.T, c *lab.Cluster, node string, ready bool, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := c.WaitNode(ctx, node, !ready); err == nil {
		t.Errorf("%s did not stay ready=%t for %s", node, ready, d)
	}
}

// eventually tries until ctx ends.
func eventually(t *testing.T, ctx context.Context, try func() error) {
	t.Helper()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not in time: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
