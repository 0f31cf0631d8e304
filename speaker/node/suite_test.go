package node

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	arppacket "github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/l2/arp"
	"metallb.io/operator/internal/l2/iface"
	"metallb.io/operator/internal/l2/l2test"
	"metallb.io/operator/internal/l2/ndp"
	"metallb.io/operator/internal/testenv"
	"metallb.io/operator/speaker/kubeproxy"
	"metallb.io/operator/speaker/members"
)

func TestMain(m *testing.M) {
	if os.Getenv(asEngine) != "" {
		os.Exit(serveEngine())
	}
	quiet := logr.FromSlogHandler(slog.DiscardHandler)
	ctrl.SetLogger(quiet)
	klog.SetLogger(quiet)
	l2test.Main(m, testenv.Run)
}

// cluster is a real API server, a LAN with a client, and any number of nodes with real speakers: each has a network
// interface of its own in the test's namespace, and a loopback address to gossip on.
type cluster struct {
	t         *testing.T
	config    *rest.Config
	client    client.Client
	scheme    *runtime.Scheme
	namespace string
	lan       *l2test.Host
	log       *slog.Logger
	net       int
	nodes     int
	// kubeProxy of a node, by its health endpoint; none: it is not asked.
	kubeProxy map[int]string
}

var clusters atomic.Int32

func newCluster(t *testing.T, nodes int) *cluster {
	t.Helper()
	l2test.Require(t)
	c := &cluster{t: t, config: testenv.Config(t), scheme: runtime.NewScheme(), log: slog.New(slog.DiscardHandler), net: int(clusters.Add(1)), nodes: nodes, kubeProxy: map[int]string{}}
	if os.Getenv("METALLB_TEST_VERBOSE") != "" {
		c.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme, v1beta2.AddToScheme} {
		if err := add(c.scheme); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if c.client, err = client.New(c.config, client.Options{Scheme: c.scheme}); err != nil {
		t.Fatal(err)
	}
	c.namespace = testenv.Namespace(t, c.client, nil)
	c.bindRoles()
	c.lan = l2test.NewHost(t)
	c.lan.IP(t, "link add br0 type bridge")
	c.lan.IP(t, "link set br0 up")
	c.lan.IP(t, "addr add 192.0.2.254/24 dev br0")
	c.lan.IP(t, "addr add 2001:db8::ffff/64 dev br0 nodad")
	for i := range nodes {
		c.lan.Connect(t, fmt.Sprintf("lan%d", i), fmt.Sprintf("port%d", i))
		c.lan.IP(t, fmt.Sprintf("link set port%d master br0", i))
		c.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: c.node(i), Labels: map[string]string{"zone": fmt.Sprint(i)}}})
	}
	c.create(&v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "front", Namespace: c.namespace},
		Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.0.2.0/25", "2001:db8::/120"}}})
	c.create(&v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: "front", Namespace: c.namespace}})
	return c
}

func (c *cluster) node(i int) string { return fmt.Sprintf("node-%d-%d", c.net, i) }

func (c *cluster) create(o client.Object) {
	c.t.Helper()
	status := o.DeepCopyObject().(client.Object)
	if err := c.client.Create(context.Background(), o); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = c.client.Delete(context.Background(), o, client.GracePeriodSeconds(0)) })
	switch x := status.(type) {
	case *corev1.Service:
		o.(*corev1.Service).Status = x.Status
	case *corev1.Pod:
		o.(*corev1.Pod).Status = x.Status
	default:
		return
	}
	if err := c.client.Status().Update(context.Background(), o); err != nil {
		c.t.Fatal(err)
	}
}

// change updates an object that exists.
func change[T client.Object](c *cluster, o T, edit func(T)) {
	c.t.Helper()
	if err := c.client.Get(context.Background(), client.ObjectKeyFromObject(o), o); err != nil {
		c.t.Fatal(err)
	}
	edit(o)
	if err := c.client.Update(context.Background(), o); err != nil {
		c.t.Fatal(err)
	}
}

// service makes a Service with an address and an endpoint of its family on each of the nodes.
func (c *cluster) service(name, address string, nodes ...int) (*corev1.Service, *discoveryv1.EndpointSlice) {
	c.t.Helper()
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.namespace},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
		Status:     corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: address}}}},
	}
	c.create(svc)
	family, endpoints := discoveryv1.AddressTypeIPv4, c.endpoints(nodes...)
	if netip.MustParseAddr(address).Is6() {
		family = discoveryv1.AddressTypeIPv6
		for i := range endpoints {
			endpoints[i].Addresses = []string{fmt.Sprintf("fd00::%d", i+1)}
		}
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Namespace: c.namespace, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: family, Endpoints: endpoints,
	}
	c.create(slice)
	return svc, slice
}

func (c *cluster) endpoints(nodes ...int) []discoveryv1.Endpoint {
	out := []discoveryv1.Endpoint{}
	for i, n := range nodes {
		name := c.node(n)
		out = append(out, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.0.%d.%d", n, i+1)}, NodeName: &name})
	}
	return out
}

// speaker is one that runs.
type speaker struct {
	*Node
	members  *members.Members
	arp      *arp.Responders
	ndp      *ndp.Responders
	network  *iface.Watcher
	registry *prometheus.Registry
	recorder *record.FakeRecorder
	api      wire
	crashed  atomic.Bool
	broken   atomic.Int32
	stop     func() // by SIGTERM
	ended    chan struct{}
}

// start runs the speaker of node i, with a pod of its own.
func (c *cluster) start(i int, pod string) *speaker {
	t := c.t
	t.Helper()
	host := netip.AddrFrom4([4]byte{127, 1, byte(c.net), byte(i + 1)})
	podLabels := map[string]string{"component": "speaker"}
	c.create(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: c.node(i) + pod, Namespace: c.namespace, Labels: podLabels},
		Spec:       corev1.PodSpec{NodeName: c.node(i), HostNetwork: true, Containers: []corev1.Container{{Name: "speaker", Image: "none"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, HostIP: host.String(), HostIPs: []corev1.HostIP{{IP: host.String()}}},
	})
	s := &speaker{registry: prometheus.NewRegistry(), recorder: record.NewFakeRecorder(100), ended: make(chan struct{})}
	log := c.log.With("speaker", c.node(i)+pod)
	metrics, err := NewMetrics(s.registry)
	if err != nil {
		t.Fatal(err)
	}
	if s.members, err = members.Start(members.Config{
		Node: c.node(i), Instance: c.node(i) + pod, Address: netip.AddrPortFrom(host, 7946), Secret: []byte("secret"), Log: log,
	}); err != nil {
		t.Fatal(err)
	}
	exclude := append([]string{"^lan([^" + fmt.Sprint(i) + "]|..)"}, iface.DefaultExclude...)
	if s.network, err = iface.Watch(exclude, log); err != nil {
		t.Fatal(err)
	}
	s.arp, s.ndp = arp.New(metrics, log), ndp.New(metrics, log)
	routers, endRouters := newSessions(t, log)
	ctx, cancel := context.WithCancel(context.Background())
	var read cache.Cache
	if read, err = cache.New(s.api.config(c.as()), CacheOptions(c.scheme, c.namespace, c.node(i), labels.SelectorFromSet(podLabels))); err != nil {
		t.Fatal(err)
	}
	live, err := client.New(s.api.config(c.as()), ClientOptions(c.scheme))
	if err != nil {
		t.Fatal(err)
	}
	proxy := kubeproxy.New(kubeproxy.Automatic, c.kubeProxy[i], log)
	asking := make(chan struct{})
	go func() {
		defer close(asking)
		if c.kubeProxy[i] != "" {
			_ = proxy.Run(ctx)
		}
	}()
	s.Node = New(Options{
		Name: c.node(i), Pod: c.node(i) + pod, Namespace: c.namespace, Address: host, Cache: read, Live: live, Members: s.members,
		State: &configuration.State{
			Client: live, Namespace: c.namespace, Name: configuration.SpeakerState(c.node(i)), Component: configuration.Speaker,
			Node: c.node(i), Pod: c.node(i) + pod,
		},
		Gateways: iface.Gateways, KubeProxy: proxy,
		Network: s.network, ARP: mortalARP{s.arp, &s.crashed, &s.broken}, NDP: mortalNDP{s.ndp, &s.crashed}, BGP: routers, Recorder: s.recorder, Metrics: metrics, Log: log,
	})
	go func() { _ = read.Start(ctx) }()
	go func() {
		defer close(s.ended)
		if err := s.Run(ctx); err != nil {
			t.Errorf("%s: %v", c.node(i), err)
		}
		<-asking
		endRouters()
		s.arp.Close()
		s.ndp.Close()
		_ = s.members.Close()
		s.network.Close()
	}()
	s.stop = func() { cancel(); <-s.ended }
	t.Cleanup(s.stop)
	return s
}

// crash ends a speaker as a power cut does: nothing is said, nothing is sent any more.
func (s *speaker) crash() {
	s.crashed.Store(true)
	_ = s.members.Close()
	s.arp.Close()
	s.ndp.Close()
}

func (c *cluster) ready(speakers ...*speaker) {
	c.t.Helper()
	l2test.Eventually(c.t, 15*time.Second, "all speakers are ready and know one another", func() bool {
		for _, s := range speakers {
			if s.Ready() != nil || len(s.members.View().Nodes) < len(speakers) {
				return false
			}
		}
		return true
	})
}

// mac of a node's interface.
func (c *cluster) mac(i int) string {
	ifi, err := net.InterfaceByName(fmt.Sprintf("lan%d", i))
	if err != nil {
		c.t.Fatal(err)
	}
	return ifi.HardwareAddr.String()
}

// answers returns the nodes that answer for an address within a short while.
func (c *cluster) answers(address string) []int {
	c.t.Helper()
	return c.asker(address).ask(50 * time.Millisecond)
}

// asker asks for an address from the client on the LAN.
type asker struct {
	c       *cluster
	conn    *packet.Conn
	request []byte
	nodes   map[string]int // by hardware address
}

func (c *cluster) asker(address string) *asker {
	c.t.Helper()
	a := &asker{c: c, nodes: map[string]int{}}
	c.lan.Inside(c.t, func() error {
		bridge, err := net.InterfaceByName("br0")
		if err != nil {
			return err
		}
		p, err := arppacket.NewPacket(arppacket.OperationRequest, bridge.HardwareAddr, netip.MustParseAddr("192.0.2.254"), make(net.HardwareAddr, 6), netip.MustParseAddr(address))
		if err != nil {
			return err
		}
		b, err := p.MarshalBinary()
		if err != nil {
			return err
		}
		f := ethernet.Frame{Destination: ethernet.Broadcast, Source: bridge.HardwareAddr, EtherType: ethernet.EtherTypeARP, Payload: b}
		if a.request, err = f.MarshalBinary(); err != nil {
			return err
		}
		a.conn, err = packet.Listen(bridge, packet.Raw, int(ethernet.EtherTypeARP), nil)
		return err
	})
	c.t.Cleanup(func() { _ = a.conn.Close() })
	for i := range c.nodes {
		a.nodes[c.mac(i)] = i
	}
	return a
}

// ask asks once and returns who has answered within a time, sorted.
func (a *asker) ask(within time.Duration) []int { return a.askUntil(within, within) }

// askUntil waits for the first answer up to a time, and for others a little longer.
func (a *asker) askUntil(first, more time.Duration) []int {
	a.c.t.Helper()
	end := time.Now().Add(first)
	if _, err := a.conn.WriteTo(a.request, &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
		a.c.t.Fatal(err)
	}
	var out []int
	_ = a.conn.SetReadDeadline(end)
	for buf := make([]byte, 256); ; {
		n, _, err := a.conn.ReadFrom(buf)
		if err != nil {
			slices.Sort(out)
			return slices.Compact(out)
		}
		var f ethernet.Frame
		var p arppacket.Packet
		if f.UnmarshalBinary(buf[:n]) == nil && p.UnmarshalBinary(f.Payload) == nil && p.Operation == arppacket.OperationReply &&
			p.TargetIP.String() == "192.0.2.254" && bytes.Equal(f.Payload[14:18], a.request[14+24:14+28]) {
			out = append(out, a.nodes[p.SenderHardwareAddr.String()])
			if end := time.Now().Add(more); len(out) == 1 && first != more {
				_ = a.conn.SetReadDeadline(end)
			}
		}
	}
}

// polling is what came of asking each 10 ms. A question counts as unanswered after a second, since the machine may be
// busy: who is silent for a moment only loses the questions of that moment.
type polling struct {
	asked, unanswered, double int
	longest                   time.Duration // without an answer
	last                      []int
}

// poll begins to ask; what it returns ends it.
func (a *asker) poll() func() polling {
	var p polling
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		answered := time.Now()
		for {
			select {
			case <-done:
				return
			default:
			}
			p.asked++
			p.last = a.askUntil(time.Second, 10*time.Millisecond)
			switch {
			case len(p.last) == 0:
				p.unanswered++
				p.longest = max(p.longest, time.Since(answered))
				continue
			case len(p.last) > 1:
				p.double++
			}
			answered = time.Now()
		}
	}()
	return func() polling {
		close(done)
		<-ended
		return p
	}
}

func (c *cluster) neighbourIs(address string, i int) bool {
	out, _ := c.lan.Run("ip neigh show " + address)
	return strings.Contains(out, c.mac(i))
}

// eventually waits until exactly these nodes answer for an address.
func (c *cluster) eventually(what, address string, nodes ...int) {
	c.t.Helper()
	a := c.asker(address)
	start := time.Now()
	l2test.Eventually(c.t, 10*time.Second, fmt.Sprintf("%s: %s is answered by %v", what, address, nodes), func() bool {
		return slices.Equal(a.ask(20*time.Millisecond), nodes)
	})
	c.t.Logf("%v: %s", time.Since(start).Round(time.Millisecond), what)
}
