// Package bfd tests BFD on the lab: our process as the speaker runs, in a pod with the speaker's own requests, priority and
// security context, against FRR and BIRD on the router, while cables are cut without a sign and while pods take the node's
// processors. What a second FRR on the client takes for the same is measured in the same run.
package bfd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/bfdtest"
	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/internal/render"
	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// patience is far above what is measured: a slow machine is no reason to fail.
const patience = time.Minute

const (
	node = "node1"
	port = "7785" // of the process in the pod, on the management network
)

var (
	cuts      = flag.Int("cuts", 3, "how often the router's cable is cut for each kind of router")
	saturated = flag.Duration("saturated", 10*time.Second, "how long pods take all processors")
	judged    = flag.Bool("judged", false, "hold what is measured against the bars of package bench; else against wide bounds")
	shared    = lab.Shared{Options: lab.Options{Nodes: 1}}
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(shared.Run(m))
}

// pace is a case: the interval in both directions, three of which may be missed.
type pace struct {
	interval time.Duration
	number   byte // of its addresses, the same at both ends
}

var paces = []pace{{50 * time.Millisecond, 1}, {100 * time.Millisecond, 2}, {300 * time.Millisecond, 3}}

// families in the order of the addresses.
var families = [2]string{"IPv4", "IPv6"}

// The addresses of the cases: of our process on the node, of the second FRR on the client, and of the router; FRR has one
// session with a peer on an interface, whatever its own address.
const ours, second, routers = 200, 210, 220

func (p pace) addresses(base byte) [2]netip.Addr {
	v6 := netip.MustParseAddr("fd00:30::").As16()
	v6[15] = base + p.number
	return [2]netip.Addr{netip.AddrFrom4([4]byte{172, 30, 0, base + p.number}), netip.AddrFrom16(v6)}
}

func (p pace) String() string { return fmt.Sprintf("%d ms x 3", p.interval.Milliseconds()) }

// bench is the lab with our process on a node.
type bench struct {
	*product.Product
	*bfdtest.Client
	t     *testing.T
	image string
	logs  string // of the second FRR
}

var running *bench

// start makes the image and runs our process; once for all tests.
func start(t *testing.T) *bench {
	t.Helper()
	if running != nil {
		b := *running
		b.t = t
		return &b
	}
	lab.Require(t, lab.FRR, lab.BIRD)
	p, err := product.On(shared.Cluster(t))
	b := &bench{Product: p, t: t}
	b.must(err)
	b.image, err = p.AddBench(b.within())
	b.must(err)
	for _, pc := range paces {
		b.addresses(node, pc.addresses(ours))
		b.addresses(lab.Client, pc.addresses(second))
		b.addresses(lab.Router, pc.addresses(routers))
	}
	b.must(b.Create(b.within(), b.speaker()))
	address := net.JoinHostPort(b.Machine(node).NICs[lab.Management].IPv4.Addr().String(), port)
	b.must(product.Until(b.within(), "our process to listen", func() (bool, error) {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			b.Client = bfdtest.NewClient(conn, conn)
		}
		return err == nil, err
	}))
	running = b
	return b
}

func (b *bench) within() context.Context { return product.Within(b.t, patience) }

func (b *bench) must(errs ...error) {
	b.t.Helper()
	product.Must(b.t, errs...)
}

// exec runs a command, given as one line, on a machine.
func (b *bench) exec(machine, line string) string {
	b.t.Helper()
	out, err := b.Exec(b.within(), machine, strings.Fields(line)...)
	b.must(err)
	return out.Stdout
}

func (b *bench) addresses(machine string, both [2]netip.Addr) {
	b.exec(machine, fmt.Sprintf("ip addr replace %s/24 dev eth0", both[0]))
	b.exec(machine, fmt.Sprintf("ip addr replace %s/64 dev eth0 nodad", both[1]))
}

// speaker is the pod of a speaker in all that the kubelet makes of it, with our process in it.
func (b *bench) speaker() *corev1.Pod {
	m := &v1beta1.MetalLB{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "metallb"}}
	var spec corev1.PodSpec
	for _, o := range render.Objects(m, render.Environment{Image: b.image}) {
		if d, ok := o.(*appsv1.DaemonSet); ok && d.Name == render.Speaker {
			spec = d.Spec.Template.Spec
		}
	}
	if len(spec.Containers) == 0 {
		b.t.Fatal("no DaemonSet of speakers is rendered")
	}
	own := spec.Containers[0]
	spec.Containers = []corev1.Container{{
		Name: "bfd", Image: b.image, Args: []string{"run", "-listen", ":" + port},
		Resources: own.Resources, SecurityContext: own.SecurityContext,
	}}
	spec.NodeName, spec.NodeSelector, spec.Volumes, spec.ServiceAccountName, spec.Affinity = node, nil, nil, "", nil
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bfd"}, Spec: spec}
}

// wanted are the sessions with the router, one for each case and family.
func (b *bench) wanted(change func(*udp.Session)) (out []udp.Session) {
	for _, p := range paces {
		for i, local := range p.addresses(ours) {
			s := udp.Session{
				Key:      udp.Key{Peer: p.addresses(routers)[i], Local: local},
				Settings: bfd.Settings{Transmit: p.interval, Receive: p.interval, Multiplier: 3, ControlPlaneIndependent: true},
			}
			if change != nil {
				change(&s)
			}
			out = append(out, s)
		}
	}
	return out
}

func (b *bench) want(sessions []udp.Session) {
	b.t.Helper()
	_, err := b.Sync(sessions...)
	b.must(err)
}

// until waits until all sessions are as wanted.
func (b *bench) until(what string, ok func(udp.Status) bool) {
	b.t.Helper()
	b.must(product.Until(b.within(), what, func() (bool, error) {
		reply, err := b.Status()
		if err != nil {
			return false, err
		}
		var not []error
		for i, s := range reply.Status {
			if !ok(s) {
				not = append(not, fmt.Errorf("%s: %+v, error %q", s.Name(), s.Status, reply.Errors[i]))
			}
		}
		return len(not) == 0 && len(reply.Status) > 0, errors.Join(not...)
	}))
}

// settled: Up at both ends with the intervals that are configured.
func settled(s udp.Status) bool {
	return s.State == bfd.Up && !s.Polling && s.Remote.State == bfd.Up && s.DetectionTime < 3*time.Second
}

// paceOf says which case a session is of.
func paceOf(local netip.Addr) (pace, string) {
	for _, p := range paces {
		for i, a := range p.addresses(ours) {
			if a == local || p.addresses(second)[i] == local {
				return p, families[i]
			}
		}
	}
	return pace{}, "none"
}
