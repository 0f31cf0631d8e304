// Package bgp tests on the lab what users do with BGP: their own configuration, a router that is FRR, whose view is the judge,
// and traffic from behind it.
package bgp

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// patience is far above what anything takes: a slow machine is no reason to fail.
const patience = time.Minute

const namespace = "metallb-system"

var (
	cuts     = flag.Int("cuts", 2, "how often the cable of a node is cut without a sign")
	rollouts = flag.Int("rollouts", 1, "how often the speakers are rolled out anew under traffic")
	attacked = flag.Duration("attacked", 10*time.Second, "how long routers break the rules")
	whole    = flag.Bool("whole", false, "try each row of the matrix with each router over IPv4 and IPv6; else with one over the one, and with the other over the other")
	judged   = flag.Bool("judged", false, "hold what is measured against the bars; else against wide bounds")
	shared   lab.Shared
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(shared.Run(m))
}

// network is the lab with the product on it and a router.
type network struct {
	*product.Product
	t *testing.T
}

var installed *product.Product

// install has the product on the lab, once for all tests.
func install(t *testing.T) *network {
	t.Helper()
	lab.Require(t, lab.FRR, lab.BIRD)
	if installed == nil {
		p, err := product.On(shared.Cluster(t))
		product.Must(t, err)
		ctx := product.Within(t, 3*time.Minute)
		product.Must(t, p.InstallOperator(ctx))
		product.Must(t, p.Namespace(ctx, namespace), p.Apply(ctx, namespace, "aspera/metallb.yaml"), p.WaitAvailable(ctx, namespace))
		installed = p
	}
	return &network{installed, t}
}

// start installs the product and starts a router, FRR, that takes sessions of the nodes' AS.
func start(t *testing.T, router, nodes uint32, password string) *network {
	t.Helper()
	n := install(t)
	n.startRouter(lab.FRR, n.frr(router, nodes, password))
	return n
}

// startRouter starts a router, and has it and the cluster say how they are if the test fails.
func (n *network) startRouter(kind lab.RouterKind, config string) {
	n.t.Helper()
	n.must(n.StartRouter(n.within(), kind, config))
	n.t.Cleanup(func() {
		if !n.t.Failed() {
			return
		}
		n.Dump(n.t,
			[]string{"get", "nodes,pods,svc,bgppeers.v1beta2.metallb.io,bgpadvertisements.metallb.io,ipaddresspools.metallb.io,bgpsessionstates.metallb.io,servicebgpstatuses.metallb.io", "-A", "-o", "wide"},
			[]string{"get", "bgpsessionstates.metallb.io", "-A", "-o", "jsonpath={range .items[*]}{.status}{\"\\n\"}{end}"},
			[]string{"logs", "-n", namespace, "-l", "app=metallb,component=speaker", "--tail=60", "--prefix"})
		if kind == lab.FRR {
			n.t.Log(n.vtysh("show bgp summary"), n.vtysh("show bgp ipv4 unicast"))
		} else {
			n.t.Log(n.birdc("show protocols"))
		}
	})
}

func (n *network) within() context.Context { return product.Within(n.t, patience) }

func (n *network) must(errs ...error) {
	n.t.Helper()
	product.Must(n.t, errs...)
}

// frr is the configuration of a router with each node for a neighbour.
func (n *network) frr(router, nodes uint32, password string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "hostname router\nlog stdout\nrouter bgp %d\n bgp router-id %s\n no bgp ebgp-requires-policy\n bgp bestpath as-path multipath-relax\n", router, n.address(lab.Router))
	for _, node := range n.Nodes() {
		fmt.Fprintf(&out, " neighbor %s remote-as %d\n", n.address(node), nodes)
		if password != "" {
			fmt.Fprintf(&out, " neighbor %s password %s\n", n.address(node), password)
		}
	}
	out.WriteString(" address-family ipv4 unicast\n  maximum-paths 8\n  maximum-paths ibgp 8\n exit-address-family\nexit\n")
	return out.String()
}

// address of a machine on the LAN.
func (n *network) address(machine string) netip.Addr {
	return n.Machine(machine).NICs[lab.LAN].IPv4.Addr()
}

// vtysh gives FRR commands and returns the answers, one after the other.
func (n *network) vtysh(commands ...string) string {
	args := []string{"vtysh"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	return n.ask(args...)
}

// birdc gives BIRD a command.
func (n *network) birdc(command string) string { return n.ask("birdc", "-s", "/run/bird.ctl", command) }

func (n *network) ask(args ...string) string {
	out, err := n.Exec(n.within(), lab.Router, args...)
	if err != nil {
		return err.Error()
	}
	return out.Stdout
}

// routes says which nodes the router has routes over, by prefix, sorted.
func (n *network) routes() (map[string][]string, error) {
	var table struct {
		Routes map[string][]struct {
			Valid    bool
			NextHops []struct{ IP string } `json:"nexthops"`
		}
	}
	if err := json.Unmarshal([]byte(n.vtysh("show bgp ipv4 unicast json")), &table); err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, node := range n.Nodes() {
		names[n.address(node).String()] = node
	}
	out := map[string][]string{}
	for prefix, paths := range table.Routes {
		for _, p := range paths {
			if p.Valid && len(p.NextHops) > 0 {
				out[prefix] = append(out[prefix], names[p.NextHops[0].IP])
			}
		}
		slices.Sort(out[prefix])
	}
	return out, nil
}

// routed waits until the router has a prefix over these nodes; none: not at all.
func (n *network) routed(what, prefix string, nodes []string) {
	n.t.Helper()
	began := time.Now()
	n.must(product.Until(n.within(), what, func() (bool, error) {
		routes, err := n.routes()
		return err == nil && slices.Equal(routes[prefix], nodes), errors.Join(err, fmt.Errorf("routes %v, for %s over %v", routes, prefix, nodes))
	}))
	n.t.Logf("%s after %s: %s over %v", what, time.Since(began).Round(10*time.Millisecond), prefix, nodes)
}

// follows waits until the router has a prefix over the nodes with a pod of an application, wherever those are by then.
func (n *network) follows(what, prefix, in, app string) (nodes []string) {
	n.t.Helper()
	n.must(product.Until(n.within(), what, func() (bool, error) {
		nodes, _ = n.nodesOf(in, app)
		routes, err := n.routes()
		return err == nil && len(nodes) > 0 && slices.Equal(routes[prefix], nodes), errors.Join(err, fmt.Errorf("routes %v, for %s over %v", routes, prefix, nodes))
	}))
	return nodes
}

// kernel says over how many ways the router's kernel forwards an address.
func (n *network) kernel(address netip.Addr) int {
	family := "-4"
	if address.Is6() {
		family = "-6"
	}
	out, err := n.Exec(n.within(), lab.Router, "ip", family, "route", "show", address.String())
	n.must(err)
	return max(strings.Count(out.Stdout, "nexthop"), strings.Count(out.Stdout, " via "))
}

// config applies a user's ConfigMap with other addresses and AS numbers, in pairs of old and new, until the test ends. Then its peer
// is gone, too: a node has one session with a router.
func (n *network) config(file string, pairs ...string) {
	n.t.Helper()
	text, err := os.ReadFile(n.File(file))
	n.must(err)
	manifest := strings.NewReplacer(pairs...).Replace(string(text))
	_, err = n.KubectlInput(n.within(), manifest, "apply", "-f", "-")
	n.must(err)
	n.t.Cleanup(func() {
		head, _, _ := strings.Cut(manifest, "  config: |")
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := n.KubectlInput(ctx, head+"  config: \"\"\n", "apply", "-f", "-")
		err = errors.Join(err, product.Until(ctx, "the ConfigMap's peers to be gone", func() (bool, error) {
			var peers v1beta2.BGPPeerList
			err := n.List(ctx, &peers, client.InNamespace(namespace), client.HasLabels{"metallb.io/legacy-config"})
			return err == nil && len(peers.Items) == 0, errors.Join(err, fmt.Errorf("%d are there", len(peers.Items)))
		}))
		if err != nil {
			n.t.Error(err)
		}
	})
}

// apply applies files in a namespace of the test's own.
func (n *network) apply(files ...string) string {
	n.t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(n.t.Name()))
	n.must(n.Namespace(n.within(), name), n.Apply(n.within(), name, files...))
	n.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		ns := &corev1.Namespace{}
		ns.Name = name
		if err := n.Delete(ctx, ns); err != nil {
			n.t.Error(err)
		}
	})
	return name
}

// nodesOf are those with a pod of an application that is ready, sorted.
func (n *network) nodesOf(in, app string) ([]string, []corev1.Pod) {
	n.t.Helper()
	var pods corev1.PodList
	n.must(n.List(n.within(), &pods, client.InNamespace(in), client.MatchingLabels{"app": app}))
	var nodes []string
	var live []corev1.Pod
	for _, p := range pods.Items {
		ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
		if ready && p.DeletionTimestamp == nil {
			nodes, live = append(nodes, p.Spec.NodeName), append(live, p)
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes), live
}

// answered asks from behind the router until each of the nodes has answered, and checks whose address the pods see.
func (n *network) answered(to netip.AddrPort, nodes []string) {
	n.t.Helper()
	nic := n.Machine(lab.Remote).NICs[lab.Uplink]
	remote := nic.IPv4.Addr()
	if to.Addr().Is6() {
		remote = nic.IPv6.Addr()
	}
	seen := map[string]bool{}
	n.must(product.Until(n.within(), "answers of all nodes with a pod", func() (bool, error) {
		answer, err := n.Answer(n.within(), lab.Remote, "tcp", to)
		if err != nil {
			return false, err
		}
		fields := said(answer)
		if from, err := netip.ParseAddrPort(fields["from"]); err != nil || from.Addr().Unmap() != remote {
			return false, fmt.Errorf("the pod sees another client: %s", answer)
		}
		seen[fields["node"]] = true
		return len(seen) == len(nodes), fmt.Errorf("%v, of %v", seen, nodes)
	}))
}

// said are the fields of what a pod answers.
func said(answer string) map[string]string {
	fields := map[string]string{}
	for f := range strings.FieldsSeq(answer) {
		k, v, _ := strings.Cut(f, "=")
		fields[k] = v
	}
	return fields
}

// told waits until ServiceBGPStatuses of a Service are there for these nodes.
func (n *network) told(in, service string, nodes []string) {
	n.t.Helper()
	n.must(product.Until(n.within(), "the ServiceBGPStatuses of "+service, func() (bool, error) {
		var list v1beta1.ServiceBGPStatusList
		if err := n.List(n.within(), &list, client.InNamespace(namespace)); err != nil {
			return false, err
		}
		var got []string
		for _, s := range list.Items {
			if s.Status.ServiceNamespace == in && s.Status.ServiceName == service && len(s.Status.Peers) == 1 {
				got = append(got, s.Status.Node)
			}
		}
		slices.Sort(got)
		return slices.Equal(got, nodes), fmt.Errorf("of %v, not %v", got, nodes)
	}))
}
