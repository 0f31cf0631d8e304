// Command demo shows the product's main job on real parts: a three-node Kubernetes cluster, the operator, and a Service
// that a machine on the LAN reaches over TCP and UDP.
//
//	demo up     brings everything up, shows it, and leaves it running
//	demo down   stops it
package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

const (
	crNamespace = "metallb-system"
	service     = "aspera-tcp-proxy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := map[string]func(context.Context) error{"up": up, "down": down}
	if len(os.Args) != 2 || run[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: demo up|down")
		os.Exit(2)
	}
	if err := run[os.Args[1]](ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

var start = time.Now()

func step(format string, args ...any) {
	fmt.Printf("[%6.1fs] %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
}

func up(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	step("bringing up a Kubernetes cluster of three nodes, a LAN and a client on it")
	cluster, err := lab.Up(ctx, lab.Options{Detach: true, Logf: func(f string, a ...any) { step("  lab: "+f, a...) }})
	if err != nil {
		return err
	}
	if err := show(ctx, cluster); err != nil {
		return fmt.Errorf("%w\nthe cluster is left as it is: look around with bin/lab, stop it with make demo-down", err)
	}
	return nil
}

func show(ctx context.Context, cluster *lab.Cluster) error {
	p, err := product.On(cluster)
	if err != nil {
		return err
	}
	step("installing the operator: kubectl apply -k, into namespace %s", product.OperatorNamespace)
	if err := p.InstallOperator(ctx); err != nil {
		return err
	}
	step("creating the MetalLB resource in %s", crNamespace)
	if err := p.Namespace(ctx, crNamespace); err != nil {
		return err
	}
	if err := p.Apply(ctx, crNamespace, "aspera/metallb.yaml"); err != nil {
		return err
	}
	if err := p.WaitAvailable(ctx, crNamespace); err != nil {
		return err
	}
	step("controller and speakers are ready; creating the address pool and the Aspera Service")
	if err := p.Apply(ctx, crNamespace, "aspera/addresspool.yaml"); err != nil {
		return err
	}
	if err := p.Apply(ctx, "default", "aspera/backend.yaml", "aspera/tcp-proxy.yaml"); err != nil {
		return err
	}
	if err := p.WaitRollout(ctx, "default", service); err != nil {
		return err
	}
	address, err := p.Address(ctx, "default", service)
	if err != nil {
		return err
	}
	node, mac, err := p.Announcer(ctx, address)
	if err != nil {
		return err
	}
	step("asking from the LAN client")
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "\nSERVICE\tADDRESS\tANNOUNCED BY\tMAC")
	fmt.Fprintf(t, "default/%s\t%s\t%s\t%s\n\n", service, address, node, mac)
	fmt.Fprintln(t, "REQUEST\tANSWER")
	unanswered := requests(ctx, p, t, address)
	if err := t.Flush(); err != nil {
		return err
	}
	if unanswered > 0 {
		return fmt.Errorf("%d ports did not answer", unanswered)
	}
	fmt.Println()
	step("every port answered")
	fmt.Print(strings.ReplaceAll(`
The cluster stays up. To look around (as root):
  bin/lab status
  bin/lab kubectl get metallb,pods -n metallb-system
  bin/lab kubectl describe service `+service+`
  bin/lab exec client curl -s http://ADDRESS:33001
  bin/lab exec client arping -c 3 -I eth0 ADDRESS
  bin/lab poweroff `+node+`      # the address moves to another node; bin/lab poweron `+node+` brings it back
To stop it:
  make demo-down
`, "ADDRESS", address.String()))
	return nil
}

// requests asks every port of the Service once, writes a line for each, and returns how many did not answer.
func requests(ctx context.Context, p *product.Product, t *tabwriter.Writer, address netip.Addr) (unanswered int) {
	for _, r := range []struct {
		network string
		ports   []uint16
	}{{"tcp", []uint16{33001}}, {"udp", []uint16{33001, 33002, 33003, 33004}}} {
		for _, port := range r.ports {
			answer, err := p.Answer(ctx, lab.Client, r.network, netip.AddrPortFrom(address, port))
			if err != nil {
				unanswered++
				answer = "NO ANSWER: " + err.Error()
			}
			fmt.Fprintf(t, "%s %s:%d\t%s\n", strings.ToUpper(r.network), address, port, answer)
		}
	}
	return unanswered
}

func down(context.Context) error {
	cluster, err := lab.Attach(0)
	if err != nil {
		return err
	}
	return cluster.Down()
}
