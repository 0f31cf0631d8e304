// Package bgptest runs routers for tests, FRR and BIRD, on machines made by l2test.
package bgptest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/internal/l2/l2test"
)

// soon is far more than a router takes to start; a busy machine is no failure.
const soon = 2 * time.Minute

// FRR is a router: zebra, which has routes installed in the kernel, bgpd and bfdd.
type FRR struct {
	Host *l2test.Host
	dir  string
}

// StartFRR starts one that ends with the test, with a configuration as bgpd reads it.
func StartFRR(t testing.TB, h *l2test.Host, configuration string) *FRR {
	t.Helper()
	dir, err := os.MkdirTemp("", "bgp-frr-") // not t.TempDir: FRR's user must get into it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for name, text := range map[string]string{"empty.conf": "", "bgpd.conf": configuration} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("chown", "-R", "frr:frrvty", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(dir, 0o775); err != nil {
		t.Fatal(err)
	}
	f := &FRR{h, dir}
	for _, d := range []string{"zebra -f " + dir + "/empty.conf", "bfdd --bfdctl " + dir + "/bfdd.sock -f " + dir + "/empty.conf", "bgpd -f " + dir + "/bgpd.conf"} {
		name, _, _ := strings.Cut(d, " ")
		h.Start(t, fmt.Sprintf("/usr/lib/frr/%s -z %[2]s/z -i %[2]s/%[3]s.pid --vty_socket %[2]s -u frr -g frr -P 0", d, dir, name))
		l2test.Eventually(t, soon, name+" is there", func() bool {
			_, err := os.Stat(dir + "/" + name + ".vty")
			return err == nil
		})
	}
	return f
}

// Ask gives a command and returns the answer.
func (f *FRR) Ask(t testing.TB, command string) string {
	t.Helper()
	out, err := f.Host.Command("vtysh", "--vty_socket", f.dir, "-c", command).CombinedOutput()
	if err != nil {
		t.Fatalf("vtysh %q: %v: %s", command, err, out)
	}
	return string(out)
}

// Configure gives commands of the configuration mode.
func (f *FRR) Configure(t testing.TB, commands ...string) {
	t.Helper()
	args := []string{"--vty_socket", f.dir, "-c", "configure terminal"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	if out, err := f.Host.Command("vtysh", args...).CombinedOutput(); err != nil || strings.Contains(string(out), "Unknown") {
		t.Fatalf("vtysh %q: %v: %s", commands, err, out)
	}
}

// Route is what FRR has heard of a prefix.
type Route struct {
	Prefix, NextHop, Path, Communities, LargeCommunities string
	LocalPref, MED                                       uint32
	Valid                                                bool
}

// Routes returns what FRR has heard of a family, ipv4 or ipv6, by prefix; of several paths to one the best.
func (f *FRR) Routes(t testing.TB, family string) map[string]Route {
	t.Helper()
	var table struct {
		Routes map[string][]struct {
			Valid    bool
			BestPath bool `json:"bestpath"`
			Path     string
			LocPrf   uint32
			Metric   uint32
			NextHops []struct {
				IP    string
				Scope string
				Used  bool
			} `json:"nexthops"`
		}
	}
	if err := json.Unmarshal([]byte(f.Ask(t, "show bgp "+family+" unicast json")), &table); err != nil {
		t.Fatal(err)
	}
	out := map[string]Route{}
	for prefix, paths := range table.Routes {
		for _, p := range paths {
			r := Route{Prefix: prefix, Path: p.Path, LocalPref: p.LocPrf, MED: p.Metric, Valid: p.Valid}
			for _, h := range p.NextHops {
				if h.Scope != "link-local" {
					r.NextHop = h.IP
				}
			}
			if _, there := out[prefix]; !there || p.BestPath {
				out[prefix] = r
			}
		}
	}
	return out
}

// Communities returns the communities of a prefix as FRR writes them, the plain and the large ones.
func (f *FRR) Communities(t testing.TB, family, prefix string) (plain, large string) {
	t.Helper()
	var detail struct {
		Paths []struct {
			Community, LargeCommunity struct{ String string }
		}
	}
	if err := json.Unmarshal([]byte(f.Ask(t, "show bgp "+family+" unicast "+prefix+" json")), &detail); err != nil {
		t.Fatal(err)
	}
	for _, p := range detail.Paths {
		return p.Community.String, p.LargeCommunity.String
	}
	return "", ""
}

// Neighbour is how FRR sees a session.
type Neighbour struct {
	BGPState         string `json:"bgpState"`
	HoldTime         int    `json:"bgpTimerHoldTimeMsecs"`
	Keepalive        int    `json:"bgpTimerKeepAliveIntervalMsecs"`
	RemoteAS         uint32 `json:"remoteAs"`
	RemoteRouterID   string `json:"remoteRouterId"`
	Established      int    `json:"connectionsEstablished"`
	Dropped          int    `json:"connectionsDropped"`
	LastNotification string `json:"lastNotificationReason"`
}

// Neighbour returns how FRR sees the session with an address.
func (f *FRR) Neighbour(t testing.TB, address string) Neighbour {
	t.Helper()
	all := map[string]Neighbour{}
	if err := json.Unmarshal([]byte(f.Ask(t, "show bgp neighbors "+address+" json")), &all); err != nil {
		t.Fatal(err)
	}
	return all[address]
}
