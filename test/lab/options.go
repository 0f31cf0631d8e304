package lab

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// Options say what cluster [Up] makes. The zero value is a good cluster.
type Options struct {
	// Instance tells clusters apart that run at the same time, 0 to 9: it is part
	// of every name and of the management network's addresses. Zero means the
	// environment variable LAB_INSTANCE, or 0. Where that is a range, say 0-2, [Up]
	// takes the first of it that is free.
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

var instanceRange = regexp.MustCompile(`^([0-9])(?:-([0-9]))?$`)

// instances are those that n stands for, in order: itself, or for zero those of LAB_INSTANCE, a number or a range.
func instances(n int) (all []int, err error) {
	text := os.Getenv("LAB_INSTANCE")
	switch {
	case n < 0 || n > 9:
		return nil, fmt.Errorf("instance %d is not between 0 and 9", n)
	case n > 0 || text == "":
		return []int{n}, nil
	}
	digits := instanceRange.FindStringSubmatch(text)
	if digits == nil || cmp.Or(digits[2], digits[1]) < digits[1] {
		return nil, fmt.Errorf("LAB_INSTANCE: %q is neither a number from 0 to 9 nor a range such as 0-1", text)
	}
	for d := digits[1][0]; d <= cmp.Or(digits[2], digits[1])[0]; d++ {
		all = append(all, int(d-'0'))
	}
	return all, nil
}

// instance is the one that n stands for.
func instance(n int) (int, error) {
	all, err := instances(n)
	if err == nil && len(all) > 1 {
		err = fmt.Errorf("LAB_INSTANCE: %s are %d clusters; say which one", os.Getenv("LAB_INSTANCE"), len(all))
	}
	if err != nil {
		return 0, err
	}
	return all[0], nil
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
