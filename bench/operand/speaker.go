package operand

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/bench"
)

const (
	// System is the namespace of a speaker's configuration.
	System = "metallb-system"
	// Apps is the namespace of the Services.
	Apps = "apps"
	// NodeName is that of the speaker's node.
	NodeName = "node-1"
	// NodeAddress is the node's address on the LAN.
	NodeAddress = "10.0.0.1"
	// Neighbour is the address of the only other machine there.
	Neighbour = "10.0.0.2"

	nodeInterface = "lan0"
	endpoints     = 10 // of each Service
)

// InstallSpeaker makes what a speaker finds: its node and pod, a pool, and a configuration.
func (c *Cluster) InstallSpeaker(ctx context.Context, configuration ...client.Object) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: System, Name: "speaker-1", Labels: map[string]string{"app": "metallb", "component": "speaker"}},
		Spec:       corev1.PodSpec{NodeName: NodeName, HostNetwork: true, Containers: []corev1.Container{{Name: "speaker", Image: "none"}}},
	}
	if err := c.Create(ctx, append([]client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Apps}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: NodeName}},
		pod,
	}, configuration...)...); err != nil {
		return err
	}
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, HostIP: NodeAddress, HostIPs: []corev1.HostIP{{IP: NodeAddress}}}
	return c.Objects.Status().Update(ctx, pod)
}

// Pool of the addresses that Address gives.
const Pool = "10.64.0.0/16"

// Address is that of Service number i, which is below 62 500.
func Address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 64, byte(1 + i/250), byte(1 + i%250)})
}

// CreateService makes Service number i and its endpoints, and no address.
func (c *Cluster) CreateService(ctx context.Context, i int) (*corev1.Service, error) {
	name := fmt.Sprintf("s%05d", i)
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: Apps, Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}},
			AllocateLoadBalancerNodePorts: ptr.To(false), // a cluster has 2768 of them
		},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: Apps, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for k := range endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.128.%d.%d", i/250, 1+(i+k)%250)}, NodeName: ptr.To(fmt.Sprintf("node-%d", 1+k)),
		})
	}
	if _, err := c.Admin.DiscoveryV1().EndpointSlices(Apps).Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	return c.Admin.CoreV1().Services(Apps).Create(ctx, svc, metav1.CreateOptions{})
}

// SetAddresses writes a Service's status, as the controller does.
func (c *Cluster) SetAddresses(ctx context.Context, svc *corev1.Service, addresses ...netip.Addr) (*corev1.Service, error) {
	svc = svc.DeepCopy()
	svc.Status.LoadBalancer.Ingress = nil
	for _, a := range addresses {
		svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a.String()})
	}
	return c.Admin.CoreV1().Services(Apps).UpdateStatus(ctx, svc, metav1.UpdateOptions{})
}

// StartSpeaker starts a speaker on this machine, which is the node. Its log is in the directory.
func (c *Cluster) StartSpeaker(id Identity, binary, dir string, profiled bool) (*Process, error) {
	return StartProcess(Options{
		Profiled: profiled,
		Binary:   binary, Kubeconfig: id.Kubeconfig, Log: filepath.Join(dir, "speaker.log"),
		Args: []string{"speaker", "--namespace", System, "--node-name", NodeName, "--pod-name", "speaker-1", "--ml-bindaddr", NodeAddress, "--ml-secret-key-path", c.Dir},
	})
}

// Ready waits until the process says that it is.
func (p *Process) Ready(ctx context.Context) error {
	err := Until(ctx, "the "+p.name+" is ready", func() (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Health+"/readyz", nil)
		if err != nil {
			return false, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, nil // it does not listen yet
		}
		return response.StatusCode == http.StatusOK, response.Body.Close()
	})
	if err != nil {
		return fmt.Errorf("%w; its log ends with:\n%s", err, p.Tail())
	}
	return nil
}

// Until waits until something holds.
func Until(ctx context.Context, what string, holds func() (bool, error)) error {
	for {
		if ok, err := holds(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not in time: %s: %w", what, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Plug connects this machine, as the node, to another one that it makes: the network namespace of a process. It is ended by
// unplug.
func Plug() (machine int, unplug func(), err error) {
	machine, release, err := bench.Machine()
	if err != nil {
		return 0, nil, err
	}
	unplug = func() {
		_ = bench.IP("link", "del", nodeInterface) // it would go with the other machine, but only in a while
		release()
	}
	if err := errors.Join(
		bench.Batch(fmt.Sprintf("link add %[1]s type veth peer name eth0 netns %[2]d\naddr add %[3]s/8 dev %[1]s\nlink set %[1]s up\n", nodeInterface, machine, NodeAddress), "ip"),
		bench.Batch(fmt.Sprintf("addr add %s/8 dev eth0\nlink set lo up\nlink set eth0 up\n", Neighbour), "nsenter", "-t", strconv.Itoa(machine), "-n", "ip"),
	); err != nil {
		unplug()
		return 0, nil, err
	}
	return machine, unplug, nil
}
