package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// RouterKind is a routing program.
type RouterKind string

// The routing programs that the router can run.
const (
	FRR  RouterKind = "frr"
	BIRD RouterKind = "bird"
)

// Need is something that the lab needs of this machine.
type Need struct {
	// What is a program, a plugin or a right.
	What string
	// Package is the Debian package that has it; empty if none does.
	Package string
	// For is why, as the end of a sentence.
	For string
	// Router is the routing program that alone needs it; empty for the lab itself.
	Router RouterKind
	found  func() bool
}

// needs is the one list of what the lab takes from this machine.
func needs() []Need {
	return []Need{
		{What: "root", For: "to make namespaces", found: func() bool { return os.Geteuid() == 0 }},
		tool("go", "", "to build Kubernetes (1.26 or newer, from https://go.dev/dl)", ""), // Debian's is too old
		tool("runc", "runc", "to run containers", ""),
		{What: "CNI plugins (bridge, host-local, loopback)", Package: "containernetworking-plugins", For: "to connect Pods",
			found: func() bool { return cniDir() != "" }},
		tool("nft", "nftables", "for kube-proxy", ""),
		tool("iptables", "iptables", "for kube-proxy and kubelet", ""),
		tool("conntrack", "conntrack", "to look at kube-proxy's work", ""),
		tool("ip", "iproute2", "to set up the router", ""),
		tool("mount", "mount", "for kubelet", ""),
		{What: "FRR (zebra, bgpd, bfdd)", Package: "frr", For: "for the router", Router: FRR,
			found: func() bool {
				return executable(filepath.Join(frrDir, "bgpd")) && executable(filepath.Join(frrDir, "bfdd"))
			}},
		tool("bird", "bird2", "for the router", BIRD),
	}
}

func tool(name, pkg, why string, router RouterKind) Need {
	return Need{What: name, Package: pkg, For: why, Router: router, found: func() bool {
		if _, err := exec.LookPath(name); err == nil {
			return true
		}
		return executable(binaries{}.lookPath(name)) // an ordinary user's PATH may lack /usr/sbin
	}}
}

func executable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// cniDir is where the CNI plugins are, by distribution; empty if nowhere.
func cniDir() string {
	for _, dir := range []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"} {
		if executable(filepath.Join(dir, "bridge")) && executable(filepath.Join(dir, "host-local")) && executable(filepath.Join(dir, "loopback")) {
			return dir
		}
	}
	return ""
}

// Packages gives the Debian packages that the lab and the given routing
// programs need, or only those of which something is missing.
func Packages(onlyMissing bool, routers ...RouterKind) []string {
	var names []string
	for _, n := range needs() {
		unwanted := n.Router != "" && !slices.Contains(routers, n.Router) || onlyMissing && n.found()
		if n.Package != "" && !unwanted {
			names = append(names, n.Package)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Missing says what this machine lacks to run the lab, and the given routing programs.
func Missing(routers ...RouterKind) []Need {
	return slices.DeleteFunc(needs(), func(n Need) bool {
		return n.Router != "" && !slices.Contains(routers, n.Router) || n.found()
	})
}

func (n Need) String() string {
	if n.Package == "" {
		return fmt.Sprintf("%s is needed %s", n.What, n.For)
	}
	return fmt.Sprintf("%s is needed %s (Debian package %s)", n.What, n.For, n.Package)
}

func lackError(lacks []Need) error {
	var lines []string
	for _, n := range lacks {
		lines = append(lines, n.String())
	}
	return fmt.Errorf("the lab cannot run here: %s", strings.Join(lines, "; "))
}

// Require skips the test, in one line that says why, if the lab or one of the
// given routing programs cannot run here. Where CI=true it fails the test.
func Require(t testing.TB, routers ...RouterKind) {
	t.Helper()
	requireNone(t, Missing(routers...))
}

func requireNone(t testing.TB, lacks []Need) {
	t.Helper()
	if len(lacks) == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(lackError(lacks))
		return
	}
	t.Skip(lackError(lacks))
}
