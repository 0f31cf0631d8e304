package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestPlan(t *testing.T) {
	for _, p := range []plan{{0, 1}, {0, 3}, {7, maxNodes}} {
		t.Run(fmt.Sprintf("instance %d with %d nodes", p.Instance, p.Nodes), func(t *testing.T) {
			if err := errors.Join(unique(p), routed(p)); err != nil {
				t.Error(err)
			}
			if got, want := p.hostNIC().IPv4.String(), fmt.Sprintf("172.31.%d.1/24", p.Instance); got != want {
				t.Errorf("this host's leg is %s, not %s", got, want)
			}
			if got, want := p.apiServer().String(), fmt.Sprintf("172.31.%d.2:6443", p.Instance); got != want {
				t.Errorf("the API server is %s, not %s", got, want)
			}
		})
	}
	node, err := plan{0, 3}.machine("node2")
	if err != nil {
		t.Fatal(err)
	}
	lan, mgmt := node.NICs[LAN], node.NICs[Management]
	got := fmt.Sprintln(lan.Name, lan.MAC, lan.IPv4, lan.IPv6, mgmt.Name, mgmt.MAC, mgmt.IPv4, mgmt.IPv6)
	if want := "eth0 02:00:ac:1e:00:0c 172.30.0.12/24 fd00:30::12/64 mgmt 02:00:ac:1f:00:0c 172.31.0.12/24 fd00:31::12/64\n"; got != want {
		t.Errorf("node2 is %s, not %s", got, want)
	}
	if _, err := (plan{0, 3}).machine("node4"); err == nil || !strings.Contains(err.Error(), "node3") {
		t.Errorf("an unknown machine gives %v, which does not say which there are", err)
	}
}

// unique checks that no two interfaces of a network share an address and that names fit the kernel.
func unique(p plan) error {
	var errs []error
	seen := map[string]string{}
	for _, m := range p.machines() {
		for on, nic := range m.NICs {
			for _, what := range []string{nic.MAC.String(), nic.IPv4.Addr().String(), nic.IPv6.Addr().String()} {
				if other, taken := seen[what]; taken {
					errs = append(errs, fmt.Errorf("%s and %s both have %s", other, m.Name, what))
				}
				seen[what] = m.Name
			}
			for _, name := range []string{nic.Name, port(on, m.Name), p.hostNIC().Name} {
				if len(name) > 15 {
					errs = append(errs, fmt.Errorf("interface name %q is too long", name))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// routed checks that every gateway is a machine on the same network that forwards or is meant.
func routed(p plan) error {
	var errs []error
	owner := map[netip.Addr]string{}
	on := map[netip.Addr]Network{}
	for _, m := range p.machines() {
		for network, nic := range m.NICs {
			for _, a := range []netip.Addr{nic.IPv4.Addr(), nic.IPv6.Addr()} {
				owner[a], on[a] = m.Name, network
			}
		}
	}
	for _, m := range p.machines() {
		for _, r := range m.routes {
			network, known := on[r.via]
			if _, joined := m.NICs[network]; !known || !joined {
				errs = append(errs, fmt.Errorf("%s cannot reach its gateway %s to %s", m.Name, r.via, r.to))
			}
			// Pods' and nodes' routes lead to the node itself.
			if i := slices.Index(p.nodes(), owner[r.via]); i >= 0 {
				v4, v6 := podCIDRs(i + 1)
				lan := p.nic(LAN, firstNode+i)
				own := []netip.Prefix{v4, v6, netip.PrefixFrom(lan.IPv4.Addr(), 32), netip.PrefixFrom(lan.IPv6.Addr(), 128)}
				if !slices.Contains(own, r.to) {
					errs = append(errs, fmt.Errorf("%s sends %s to %s, which does not have it", m.Name, r.to, owner[r.via]))
				}
			} else if owner[r.via] != Router {
				errs = append(errs, fmt.Errorf("%s has the gateway %s, which forwards nothing", m.Name, r.via))
			}
			if m.Name == ControlPlane && network != Management {
				errs = append(errs, fmt.Errorf("the control plane reaches %s over the %s network", r.to, network))
			}
		}
	}
	return errors.Join(errs...)
}

func TestOptions(t *testing.T) {
	for name, test := range map[string]struct {
		options Options
		refused string
	}{
		"the zero value is good":             {},
		"too many nodes":                     {options: Options{Nodes: 10}, refused: "Nodes: 10 is not between 1 and 9"},
		"a proxy mode that the lab has not":  {options: Options{ProxyMode: "ipvs"}, refused: `ProxyMode: "ipvs" is not one of [nftables iptables]`},
		"another proxy mode, and more nodes": {options: Options{ProxyMode: "iptables", Nodes: 9}},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := test.options.complete()
			if got := strings.TrimPrefix(fmt.Sprint(err), "<nil>"); got != test.refused {
				t.Errorf("error %q, want %q", got, test.refused)
			}
			if err == nil && (o.Nodes == 0 || o.ProxyMode == "" || o.Logf == nil) {
				t.Errorf("left incomplete: %+v", o)
			}
		})
	}
}

func TestInstances(t *testing.T) {
	for name, test := range map[string]struct {
		n       int
		env     string
		all     []int
		refused string // Up
		one     string // refuses whatever is for one cluster
	}{
		"none is named":                  {all: []int{0}},
		"one is asked for":               {n: 3, all: []int{3}},
		"one in the environment":         {env: "4", all: []int{4}},
		"one is asked for all the same":  {n: 3, env: "4-6", all: []int{3}},
		"a range":                        {env: "0-2", all: []int{0, 1, 2}, one: "LAB_INSTANCE: 0-2 are 3 clusters; say which one"},
		"a range of one":                 {env: "8-8", all: []int{8}},
		"no number":                      {env: "four", refused: `LAB_INSTANCE: "four" is neither a number from 0 to 9 nor a range such as 0-1`},
		"a number too high":              {env: "10", refused: `LAB_INSTANCE: "10" is neither a number from 0 to 9 nor a range such as 0-1`},
		"a range with its ends swapped":  {env: "2-1", refused: `LAB_INSTANCE: "2-1" is neither a number from 0 to 9 nor a range such as 0-1`},
		"a number too high is asked for": {n: 10, refused: "instance 10 is not between 0 and 9"},
		"a negative number":              {n: -1, refused: "instance -1 is not between 0 and 9"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("LAB_INSTANCE", test.env)
			all, err := instances(test.n)
			if got := strings.TrimPrefix(fmt.Sprint(err), "<nil>"); got != test.refused || !slices.Equal(all, test.all) {
				t.Errorf("%v, error %q, want %v, %q", all, got, test.all, test.refused)
			}
			_, err = instance(test.n)
			if got := strings.TrimPrefix(fmt.Sprint(err), "<nil>"); got != test.refused+test.one {
				t.Errorf("for one: error %q, want %q", got, test.refused+test.one)
			}
		})
	}
}

func TestRender(t *testing.T) {
	r := render{plan: plan{0, 2}, dir: "/state/lab0", bins: binaries{"/k", "/c", "/l"}, cniBin: "/cni", snapshotter: "native",
		options: Options{ProxyMode: "iptables", APIServerFlags: []string{"--v=9"}, KubeletConfig: "maxOpenFiles: 7\n"}}
	slow := r
	slow.options.SlowNodeFailure = true
	args := func(r render, program string) string {
		for _, s := range append(r.controlPlane().Steps, r.node("node2").Steps...) {
			if s.Name == program {
				return strings.Join(s.Args, " ")
			}
		}
		return ""
	}
	for name, test := range map[string]struct{ text, has, hasNot string }{
		"flags of the caller come last, so they win":       {args(r, "kube-apiserver") + "$", " --v=9$", ""},
		"the API is advertised on the management network":  {args(r, "kube-apiserver"), "--advertise-address=172.31.0.2 ", ""},
		"a node's addresses are those of its LAN":          {args(r, "kubelet"), "--node-ip=172.30.0.12,fd00:30::12 ", ""},
		"dead nodes are noticed early":                     {args(r, "kube-controller-manager"), "--node-monitor-grace-period=8s", ""},
		"unless the caller wants Kubernetes' own times":    {args(slow, "kube-controller-manager"), "--kubeconfig", "grace-period"},
		"leases are as short as the grace period":          {r.kubelet("node2"), "\nnodeLeaseDurationSeconds: 8\n", ""},
		"or as Kubernetes has them":                        {slow.kubelet("node2"), "failCgroupV1", "nodeLeaseDuration"},
		"the caller's lines are in the kubelet's file":     {r.kubelet("node2"), "\nmaxOpenFiles: 7\n", ""},
		"the proxy mode":                                   {r.proxy(), "\nmode: iptables\n", ""},
		"the snapshotter":                                  {r.containerd("node2"), "snapshotter = 'native'", ""},
		"each node has its own Pod range":                  {r.cni(2), `"10.244.2.0/24"`, "10.244.1."},
		"and so has its object":                            {nodeObject("node2", 2), `["10.244.2.0/24","fd00:10:244:2::/64"]`, ""},
		"FRR peers with every node, over IPv4":             {r.plan.frrConfig(), "neighbor 172.30.0.12 remote-as 64512", "172.30.0.13"},
		"and over IPv6":                                    {r.plan.frrConfig(), "neighbor fd00:30::12 activate", ""},
		"BIRD peers with every node, over IPv4":            {r.plan.birdConfig(), "neighbor 172.30.0.12 as 64512", "172.30.0.13"},
		"and over IPv6 too":                                {r.plan.birdConfig(), "neighbor fd00:30::12 as 64512", ""},
		"a node's state of its own lies on the state disk": {fmt.Sprint(r.node("node2").Binds), "{/state/lab0/node2/disk/var/lib/containerd /var/lib/containerd}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(test.text, test.has) {
				t.Errorf("no %q in:\n%s", test.has, test.text)
			}
			if test.hasNot != "" && strings.Contains(test.text, test.hasNot) {
				t.Errorf("%q is in:\n%s", test.hasNot, test.text)
			}
		})
	}
}
