package node

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/lbservice"
)

// inputs keeps what the API server says in the form that a plan needs, and signals when something has changed that a plan
// depends on.
type inputs struct {
	class     lbservice.Class
	node, pod string
	address   netip.Addr
	changed   chan struct{} // size 1

	mu            sync.Mutex
	services      map[types.NamespacedName]service
	touched       map[types.NamespacedName]bool                         // Services that have changed since they were gathered
	slices        map[types.NamespacedName][]*discoveryv1.EndpointSlice // by Service
	nodes         map[string]announce.Node
	sorted        []announce.Node        // the same by name; nil: to be made anew
	around        map[string]config.Node // the same nodes, as the configuration sees them
	gateways      []netip.Addr           // of this node
	pods          map[string]*corev1.Pod
	configChanged bool
}

// service is a Service that is ours and has addresses.
type service struct {
	announce.Service
	uid types.UID
}

func newInputs(class lbservice.Class, node, pod string, address netip.Addr) *inputs {
	return &inputs{
		class: class, node: node, pod: pod, address: address, changed: make(chan struct{}, 1),
		services: map[types.NamespacedName]service{}, touched: map[types.NamespacedName]bool{}, slices: map[types.NamespacedName][]*discoveryv1.EndpointSlice{},
		nodes: map[string]announce.Node{}, around: map[string]config.Node{}, pods: map[string]*corev1.Pod{}, configChanged: true,
	}
}

// touch notes that a Service has changed; mu is held.
func (in *inputs) touch(key types.NamespacedName) {
	in.touched[key] = true
	in.signal()
}

// signal must be called with the change made.
func (in *inputs) signal() { signal(in.changed) }

// signal says that there is something; once is enough until it was heard.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (in *inputs) setService(svc *corev1.Service) {
	key := types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
	s := service{uid: svc.UID, Service: lbservice.Service(svc)}
	if !lbservice.Ours(svc, in.class) || len(s.Addresses) == 0 {
		in.deleteService(svc)
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	s.Endpoints4, s.Endpoints6 = in.endpoints(key)
	if old, ok := in.services[key]; !ok || !reflect.DeepEqual(old, s) {
		in.services[key] = s
		in.touch(key)
	}
}

func (in *inputs) deleteService(svc *corev1.Service) {
	key := types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
	in.mu.Lock()
	defer in.mu.Unlock()
	if _, ok := in.services[key]; ok {
		delete(in.services, key)
		in.touch(key)
	}
}

// endpoints of a Service; mu is held.
func (in *inputs) endpoints(key types.NamespacedName) (four, six announce.Endpoints) {
	return lbservice.Endpoints(in.slices[key]...)
}

// serviceOf is the Service that a slice belongs to (label kubernetes.io/service-name).
func serviceOf(s *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
}

func (in *inputs) setSlice(s *discoveryv1.EndpointSlice) {
	key := serviceOf(s)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.slices[key] = append(without(in.slices[key], s.Name), s)
	in.refresh(key)
}

func (in *inputs) deleteSlice(s *discoveryv1.EndpointSlice) {
	key := serviceOf(s)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.slices[key] = without(in.slices[key], s.Name); len(in.slices[key]) == 0 {
		delete(in.slices, key)
	}
	in.refresh(key)
}

// without takes the slice of that name out of a list, which it changes.
func without(all []*discoveryv1.EndpointSlice, name string) []*discoveryv1.EndpointSlice {
	return slices.DeleteFunc(all, func(s *discoveryv1.EndpointSlice) bool { return s.Name == name })
}

// refresh brings a Service's endpoints up to date, if it is one of ours; mu is held.
func (in *inputs) refresh(key types.NamespacedName) {
	s, ok := in.services[key]
	if !ok {
		return
	}
	if four, six := in.endpoints(key); !four.Equal(s.Endpoints4) || !six.Equal(s.Endpoints6) {
		s.Endpoints4, s.Endpoints6 = four, six
		in.services[key] = s
		in.touch(key)
	}
}

func (in *inputs) setNode(n *corev1.Node) {
	x := lbservice.Node(n)
	y := config.Node{Name: n.Name, Labels: labels.Set(n.Labels), Addresses: configuration.NodeAddresses(n)}
	in.mu.Lock()
	defer in.mu.Unlock()
	if old, ok := in.nodes[x.Name]; !ok || !reflect.DeepEqual(old, x) {
		in.nodes[x.Name], in.sorted = x, nil
		in.signal()
	}
	if old, ok := in.around[y.Name]; !ok || !reflect.DeepEqual(old, y) {
		in.around[y.Name] = y
		in.configChanged = true
		in.signal()
	}
}

func (in *inputs) deleteNode(n *corev1.Node) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.nodes, n.Name)
	in.sorted = nil
	delete(in.around, n.Name)
	in.configChanged = true
	in.signal()
}

func (in *inputs) setPod(p *corev1.Pod) {
	in.mu.Lock()
	defer in.mu.Unlock()
	before := in.peersLocked()
	in.pods[p.Name] = p
	if !reflect.DeepEqual(before, in.peersLocked()) {
		in.signal()
	}
}

func (in *inputs) deletePod(p *corev1.Pod) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.pods, p.Name)
	in.signal()
}

// peers says where other speakers are: the addresses of their nodes, and the pods of this node.
type peers struct {
	addresses []netip.Addr
	pods      []string
}

func (in *inputs) peers() peers {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.peersLocked()
}

// peersLocked is peers, sorted, with mu held.
func (in *inputs) peersLocked() peers {
	var out peers
	for _, p := range in.pods {
		if over(p) {
			continue
		}
		if p.Spec.NodeName == in.node {
			out.pods = append(out.pods, p.Name)
		}
		for _, h := range p.Status.HostIPs {
			if a, err := netip.ParseAddr(h.IP); err == nil && a.Unmap().Is4() == in.address.Is4() {
				out.addresses = append(out.addresses, a.Unmap())
				break
			}
		}
	}
	slices.Sort(out.pods)
	slices.SortFunc(out.addresses, netip.Addr.Compare)
	out.addresses = slices.Compact(out.addresses)
	return out
}

// over reports whether a pod runs no more and never will.
func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// hasSuccessor reports whether there is a younger speaker on this node, which is to take over, and which is probed at the
// same address: one of another specification has its own, and whether it comes up says nothing of this one.
func (in *inputs) hasSuccessor() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	own, ok := in.pods[in.pod]
	if !ok {
		return false
	}
	for _, p := range in.pods {
		if p.Spec.NodeName == in.node && !over(p) && p.DeletionTimestamp == nil && own.CreationTimestamp.Before(&p.CreationTimestamp) && probedAt(p) == probedAt(own) {
			return true
		}
	}
	return false
}

// probedAt is the host that a pod's readiness is asked of; empty where that is the pod's own address.
func probedAt(p *corev1.Pod) string {
	for _, c := range p.Spec.Containers {
		if c.ReadinessProbe != nil && c.ReadinessProbe.HTTPGet != nil {
			return c.ReadinessProbe.HTTPGet.Host
		}
	}
	return ""
}

// changeConfig notes that the configuration must be read again.
func (in *inputs) changeConfig() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.configChanged = true
	in.signal()
}

// retryConfig notes the same, for the next round whenever it is.
func (in *inputs) retryConfig() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.configChanged = true
}

// takeConfigChanged reports whether the configuration must be read again, and that it will be.
func (in *inputs) takeConfigChanged() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	was := in.configChanged
	in.configChanged = false
	return was
}

// setGateways takes the default routers of this node.
func (in *inputs) setGateways(gateways []netip.Addr) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !slices.Equal(in.gateways, gateways) {
		in.gateways, in.configChanged = gateways, true
		in.signal()
	}
}

// configNodes are the nodes as the configuration sees them. Of the networks only those of this node are known here.
func (in *inputs) configNodes(subnets []netip.Prefix) []config.Node {
	in.mu.Lock()
	defer in.mu.Unlock()
	out := make([]config.Node, 0, len(in.around))
	for _, n := range in.around {
		if n.Name == in.node {
			n.Subnets, n.Gateways = subnets, in.gateways
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b config.Node) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// gather returns the Nodes, sorted by name, and the Services that have changed since the last call; one that has gone is
// without addresses. What they point at is never changed afterwards.
func (in *inputs) gather() ([]announce.Node, []announce.Service) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.sorted == nil {
		in.sorted = slices.SortedFunc(maps.Values(in.nodes), func(a, b announce.Node) int { return strings.Compare(a.Name, b.Name) })
	}
	changed := make([]announce.Service, 0, len(in.touched))
	for key := range in.touched {
		s := in.services[key].Service
		s.Name = key.String()
		changed = append(changed, s)
	}
	clear(in.touched)
	return in.sorted, changed
}

// reference is what an event about a Service refers to; nil if it is gone.
func (in *inputs) reference(name string) *corev1.ObjectReference {
	in.mu.Lock()
	defer in.mu.Unlock()
	key := splitName(name)
	s, ok := in.services[key]
	if !ok {
		return nil
	}
	return &corev1.ObjectReference{Kind: "Service", APIVersion: "v1", Namespace: key.Namespace, Name: key.Name, UID: s.uid}
}
