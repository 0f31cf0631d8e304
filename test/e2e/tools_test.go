package e2e

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// What others' tools see of the addresses: the client's kernel, arping, and ndisc6.
func (u unmoved) toolsAgree(t *testing.T) {
	ctx := product.Within(t, time.Minute)
	node, mac, err := u.Announcer(ctx, u.address.Addr())
	product.Must(t, err)
	answer, err := u.Answer(ctx, lab.Client, "tcp", u.address)
	product.Must(t, err)
	answeredBy(t, answer, "tcp", "aspera-tcp-proxy")
	if entry := u.output(t, "ip", "neigh", "show", u.address.Addr().String()); !strings.Contains(entry, mac) || !strings.Contains(entry, "REACHABLE") {
		t.Errorf("the client's kernel does not know %s, which is %s, as reachable", mac, node)
	}
	// It exits with 1 where somebody has the address, and -w alone would be as good as no answer.
	var out bytes.Buffer
	err = u.ExecStreams(ctx, lab.Client, lab.Streams{Out: &out}, "arping", "-D", "-c", "2", "-w", "3", "-I", "eth0", u.address.Addr().String())
	t.Logf("arping -D: %v\n%s", err, &out)
	if err == nil || !strings.Contains(strings.ToLower(out.String()), mac) {
		t.Errorf("arping does not find that %s has the address", mac)
	}

	over6, err := u.Address(ctx, u.namespace, "over-ipv6")
	product.Must(t, err)
	owner := watchAddresses(t, u.Product, u.namespace, time.Second).nodes["over-ipv6"]
	if got := u.output(t, "ndisc6", "-q", "-1", over6.String(), "eth0"); !strings.EqualFold(strings.TrimSpace(got), u.mac(owner)) {
		t.Errorf("ndisc6 does not find %s, which is %s", u.mac(owner), owner)
	}
}

// output of a command on the client.
func (u unmoved) output(t *testing.T, args ...string) string {
	t.Helper()
	out, err := u.Exec(product.Within(t, time.Minute), lab.Client, args...)
	product.Must(t, err)
	t.Logf("%s: %s", strings.Join(args, " "), strings.TrimSpace(out.Stdout))
	return out.Stdout
}

// captured are the ARP and ICMPv6 packets on the LAN while a test goes on.
type captured struct {
	file string
	stop func()
}

// capture begins to record them.
func capture(t *testing.T, p *product.Product) captured {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "lan.pcap"))
	product.Must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := p.ExecStreams(ctx, lab.Switch, lab.Streams{Out: file}, "tcpdump", "-U", "-i", "br-lan", "-w", "-", "arp or icmp6")
		if ctx.Err() == nil {
			t.Errorf("tcpdump has ended: %v", err)
		}
	}()
	c := captured{file.Name(), func() { stop(); <-ended; _ = file.Close() }}
	t.Cleanup(c.stop)
	product.Must(t, product.Until(product.Within(t, 10*time.Second), "tcpdump to listen", func() (bool, error) {
		info, err := os.Stat(c.file)
		return err == nil && info.Size() > 0, err
	}))
	return c
}

// judge asks tshark whether anything of it is malformed, and whether the address was in it.
func (c captured) judge(t *testing.T, address netip.Addr) {
	t.Helper()
	c.stop()
	ask := func(filter string) []string {
		out, err := exec.CommandContext(product.Within(t, time.Minute), "tshark", "-n", "-r", c.file, "-Y", filter).Output()
		product.Must(t, err)
		return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
	}
	malformed, claims := ask("_ws.malformed or _ws.expert.severity == error"), ask("arp.isgratuitous and arp.src.proto_ipv4 == "+address.String())
	t.Logf("tshark: %d frames, %d of them malformed, %d gratuitous for %s", len(ask("frame")), len(malformed), len(claims), address)
	if len(malformed) > 0 {
		t.Errorf("malformed:\n%s", strings.Join(malformed, "\n"))
	}
	if len(claims) == 0 {
		t.Error("not even the claims of the speakers that came were recorded, so nothing was shown")
	}
}
