package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// Options say what cluster [Up] makes. The zero value is a good cluster.
type Options struct {
	// Instance tells clusters apart that run at the same time, 0 to 9: it is part
	// of every name and of the management network's addresses. Zero means the
	// environment variable LAB_INSTANCE, or 0.
	Instance int
	// Nodes is the number of nodes, 1 to 9; zero means 3.
	Nodes int
	// ProxyMode is kube-proxy's mode, "nftables" (when empty) or "iptables".
	ProxyMode string
	// SlowNodeFailure keeps Kubernetes' own times for noticing that a node is
	// dead (NotReady after 47 to 53 s). By default the lab shortens them to 7 to 9 s.
	SlowNodeFailure bool
	// APIServerFlags and ControllerManagerFlags are added to those of the lab, as
	// "--name=value".
	APIServerFlags         []string
	ControllerManagerFlags []string
	// KubeletConfig is YAML that is added to each node's KubeletConfiguration.
	KubeletConfig string
	// Detach lets the cluster outlive this process, until `lab down`.
	Detach bool
	// Logf is told what happens, one line a call; nil means standard error.
	Logf func(format string, args ...any) `json:"-"`
}

// complete fills in what is left out and refuses what makes no cluster.
func (o Options) complete() (Options, error) {
	var err error
	if o.Instance, err = instance(o.Instance); err != nil {
		return o, err
	}
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.Nodes < 1 || o.Nodes > maxNodes {
		return o, fmt.Errorf("Nodes: %d is not between 1 and %d", o.Nodes, maxNodes)
	}
	if o.ProxyMode == "" {
		o.ProxyMode = "nftables"
	}
	if modes := []string{"nftables", "iptables"}; !slices.Contains(modes, o.ProxyMode) {
		return o, fmt.Errorf("ProxyMode: %q is not one of %v", o.ProxyMode, modes)
	}
	o.Logf = logOr(o.Logf)
	return o, nil
}

func instance(n int) (int, error) {
	what := "Instance"
	if v := os.Getenv("LAB_INSTANCE"); n == 0 && v != "" {
		what = "LAB_INSTANCE"
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			return 0, fmt.Errorf("%s: %q is not a number", what, v)
		}
	}
	if n < 0 || n > 9 {
		return 0, fmt.Errorf("%s: %d is not between 0 and 9", what, n)
	}
	return n, nil
}

// StateRoot is where the clusters' files are: ${LAB_STATE:-/var/lib/metallb-lab}.
// The nodes' disks are in it; it should lie on a real disk of this host.
func StateRoot() string {
	if dir := os.Getenv("LAB_STATE"); dir != "" {
		if abs, err := filepath.Abs(dir); err == nil {
			return abs
		}
	}
	return "/var/lib/metallb-lab"
}

func instanceDir(n int) stateDir {
	return stateDir(filepath.Join(StateRoot(), plan{Instance: n}.prefix()))
}
