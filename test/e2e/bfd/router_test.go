package bfd

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// frrPeers is the configuration of FRR with one peer for each case and family.
func frrPeers(local, remote byte) string {
	var b strings.Builder
	b.WriteString("bfd\n")
	for _, p := range paces {
		for i := range 2 {
			fmt.Fprintf(&b, " peer %s local-address %s interface eth0\n  receive-interval %[3]d\n  transmit-interval %[3]d\n  detect-multiplier 3\n exit\n",
				p.addresses(remote)[i], p.addresses(local)[i], p.interval.Milliseconds())
		}
	}
	b.WriteString("exit\n")
	return b.String()
}

func (b *bench) startFRR() {
	b.t.Helper()
	config := "hostname router\nlog stdout\n" + frrPeers(routers, ours) + frrPeers(routers, second) + fmt.Sprintf("router bgp %d\nexit\n", lab.RouterAS)
	b.must(b.StartRouter(b.within(), lab.FRR, config))
}

// birdConfig has one interval for all: the sessions' own are what the node asks for.
func (b *bench) birdConfig(interval time.Duration) string {
	var c strings.Builder
	fmt.Fprintf(&c, "router id %s;\nprotocol device {}\nprotocol bfd bfd1 {\n interface \"eth0\" { min rx interval %[2]d ms; min tx interval %[2]d ms; idle tx interval 1 s; multiplier 3; };\n",
		b.Machine(lab.Router).NICs[lab.LAN].IPv4.Addr(), interval.Milliseconds())
	for _, p := range paces {
		for i, a := range p.addresses(ours) {
			fmt.Fprintf(&c, " neighbor %s dev \"eth0\" local %s;\n", a, p.addresses(routers)[i])
		}
	}
	// It listens on the port that the lab waits for only where there is a peer.
	fmt.Fprintf(&c, "}\nprotocol bgp nobody { local as %d; neighbor 172.30.0.250 as %d; ipv4 { import none; export none; }; }\n", lab.RouterAS, lab.NodeAS)
	return c.String()
}

func (b *bench) startBIRD() {
	b.t.Helper()
	b.must(b.StartRouter(b.within(), lab.BIRD, b.birdConfig(50*time.Millisecond)))
}

// reconfigure gives BIRD another interval.
func (b *bench) reconfigure(interval time.Duration) {
	b.t.Helper()
	file := filepath.Join(b.LogDir(lab.Router), "bird.conf") // where the lab has put the first one
	b.must(os.WriteFile(file, []byte(b.birdConfig(interval)), 0o644))
	b.exec(lab.Router, "birdc -s /run/bird.ctl configure")
}

// vtysh gives FRR on the router commands.
func (b *bench) vtysh(lines ...string) string {
	b.t.Helper()
	args := []string{"vtysh"}
	for _, l := range lines {
		args = append(args, "-c", l)
	}
	out, err := b.Exec(b.within(), lab.Router, args...)
	b.must(err)
	return out.Stdout
}

// logOf is where the second FRR writes its log.
func logOf(dir string) string { return filepath.Join(dir, "bfdd.log") }

// startSecond runs FRR on the client until the test ends, and waits until its sessions are up.
func (b *bench) startSecond() {
	b.t.Helper()
	dir, err := b.StartFRR(b.t, lab.Client, []string{"zebra", "bfdd"}, func(dir string) string {
		return fmt.Sprintf("hostname second\nlog timestamp precision 6\nlog file %s debugging\ndebug bfd peer\n", logOf(dir)) + frrPeers(second, routers)
	})
	b.must(err)
	b.logs = logOf(dir)
	b.secondUp()
}

// frrPeer is what FRR says of a session.
type frrPeer struct {
	Status          string
	RemoteTransmit  int `json:"remote-transmit-interval"`
	ReceiveInterval int `json:"receive-interval"`
}

func (b *bench) secondUp() {
	b.t.Helper()
	b.secondIs("up", func(p frrPeer) bool { return p.Status == "up" && p.RemoteTransmit == p.ReceiveInterval })
}

// secondIs waits until all sessions of the second FRR are as wanted.
func (b *bench) secondIs(what string, ok func(frrPeer) bool) {
	b.t.Helper()
	b.must(product.Until(b.within(), "the second FRR to be "+what, func() (bool, error) {
		out, err := b.Exec(b.t.Context(), lab.Client, "vtysh", "--vty_socket", filepath.Dir(b.logs), "-c", "show bfd peers json")
		var peers []frrPeer
		if err == nil {
			err = json.Unmarshal([]byte(out.Stdout), &peers)
		}
		n := 0
		for _, p := range peers {
			if ok(p) {
				n++
			}
		}
		return n == 2*len(paces), errors.Join(err, fmt.Errorf("%d are: %s", n, out.Stdout))
	}))
}

var stateChange = regexp.MustCompile(`^(\S+ \S+) BFD: .*state-change: \[mhop:no peer:\S+ local:(\S+) .*\] up -> down`)

// secondDowns are the moments since then at which the second FRR logged a Down, by its address.
func (b *bench) secondDowns(since time.Time) map[netip.Addr]time.Time {
	b.t.Helper()
	text, err := os.ReadFile(b.logs)
	b.must(err)
	out := map[netip.Addr]time.Time{}
	for line := range strings.Lines(string(text)) {
		m := stateChange.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		at, err := time.ParseInLocation("2006/01/02 15:04:05.000000", m[1], time.Local)
		b.must(err)
		local, err := netip.ParseAddr(m[2])
		b.must(err)
		if _, there := out[local]; !there && at.After(since) {
			out[local] = at
		}
	}
	return out
}
