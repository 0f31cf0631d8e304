package lab

import (
	"fmt"
	"net"
	"net/netip"
)

// Names of the machines besides the nodes, which are node1, node2 and so on.
const (
	ControlPlane = "cp"
	Client       = "client"
	Router       = "router"
	Remote       = "remote"
	// Switch is the network namespace of the bridges br-lan, br-mgmt and
	// br-uplink: a place to look at frames, not a machine with an address.
	Switch = "switch"
)

// Network is one of the lab's networks.
type Network int

// The networks of the lab. The Uplink joins the router and the remote machine.
const (
	LAN Network = iota
	Management
	Uplink
)

func (n Network) String() string { return [...]string{"lan", "mgmt", "uplink"}[n] }

// NIC is one network interface of a machine.
type NIC struct {
	// Name is the interface's name inside the machine: eth0 on the LAN, mgmt on
	// the management network; the uplink is the router's eth1 and the remote
	// machine's eth0.
	Name string
	MAC  net.HardwareAddr
	// IPv4 and IPv6 are the addresses with their prefix lengths.
	IPv4, IPv6 netip.Prefix
}

// Machine is one machine of the cluster and its place on the networks.
type Machine struct {
	Name string
	NICs map[Network]NIC
	// routes are by destination; the gateway is on a network of the machine.
	routes []route
	// forwards says that it passes packets on.
	forwards bool
}

type route struct {
	to  netip.Prefix
	via netip.Addr
}

// Cluster-wide ranges. Services and Pods are dual-stack, IPv4 first.
var (
	serviceIPv4 = netip.MustParsePrefix("10.96.0.0/16")
	serviceIPv6 = netip.MustParsePrefix("fd00:10:96::/112")
	podsIPv4    = netip.MustParsePrefix("10.244.0.0/16")
	podsIPv6    = netip.MustParsePrefix("fd00:10:244::/48")
	anyIPv4     = netip.MustParsePrefix("0.0.0.0/0")
	anyIPv6     = netip.MustParsePrefix("::/0")
)

const (
	hostNumber         = 1
	controlPlaneNumber = 2
	firstNode          = 11 // nodes are .11 and on
	clientNumber       = 50
	routerNumber       = 60
	maxNodes           = 9
)

// plan is who is where: a pure function of the instance and the number of nodes.
type plan struct {
	Instance int
	Nodes    int
}

// prefix begins the name of everything that this cluster makes on the host.
func (p plan) prefix() string { return fmt.Sprintf("lab%d", p.Instance) }

// netns is the name of a machine's network namespace.
func (p plan) netns(machine string) string { return p.prefix() + "-" + machine }

// hostNIC is this host's leg on the management network.
func (p plan) hostNIC() NIC {
	nic := p.nic(Management, hostNumber)
	nic.Name = p.prefix() + "-mgmt"
	return nic
}

// nic gives the interface with the last number n on a network. An IPv6 address
// has the same digits as the IPv4 address.
func (p plan) nic(on Network, n int) NIC {
	switch on {
	case LAN:
		return NIC{"eth0", net.HardwareAddr{2, 0, 172, 30, 0, byte(n)},
			prefixf("172.30.0.%d/24", n), prefixf("fd00:30::%d/64", n)}
	case Management:
		return NIC{"mgmt", net.HardwareAddr{2, 0, 172, 31, byte(p.Instance), byte(n)},
			prefixf("172.31.%d.%d/24", p.Instance, n), prefixf("fd00:31:%d::%d/64", p.Instance, n)}
	default:
		return NIC{"eth1", net.HardwareAddr{2, 0, 172, 30, 9, byte(n)},
			prefixf("172.30.9.%d/24", n), prefixf("fd00:30:9::%d/64", n)}
	}
}

func prefixf(format string, args ...any) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf(format, args...))
}

func (p plan) nodes() []string {
	var names []string
	for i := range p.Nodes {
		names = append(names, fmt.Sprintf("node%d", i+1))
	}
	return names
}

// podCIDRs gives node i's (1 and on) Pod ranges.
func podCIDRs(i int) (v4, v6 netip.Prefix) {
	return prefixf("10.244.%d.0/24", i), prefixf("fd00:10:244:%d::/64", i)
}

// machines gives every machine that has an address.
func (p plan) machines() []Machine {
	gateway := []route{{anyIPv4, p.nic(LAN, routerNumber).IPv4.Addr()}, {anyIPv6, p.nic(LAN, routerNumber).IPv6.Addr()}}
	remote := p.nic(Uplink, 2)
	remote.Name = "eth0"
	uplink := p.nic(Uplink, 1)
	all := []Machine{
		p.controlPlane(),
		{Name: Client, NICs: map[Network]NIC{LAN: p.nic(LAN, clientNumber)}, routes: gateway},
		{Name: Router, NICs: map[Network]NIC{LAN: p.nic(LAN, routerNumber), Uplink: uplink}, forwards: true},
		{Name: Remote, NICs: map[Network]NIC{Uplink: remote},
			routes: []route{{anyIPv4, uplink.IPv4.Addr()}, {anyIPv6, uplink.IPv6.Addr()}}},
	}
	for i, name := range p.nodes() {
		lan := p.nic(LAN, firstNode+i)
		m := Machine{Name: name, NICs: map[Network]NIC{LAN: lan, Management: p.nic(Management, firstNode+i)}, forwards: true}
		// Without a default route a node's own sockets get "network
		// unreachable" for Service addresses, before any translation.
		m.routes = append(m.routes, gateway...)
		for j := range p.Nodes {
			if j != i {
				m.routes = append(m.routes, podRoutes(j+1, p.nic(LAN, firstNode+j))...)
			}
		}
		all = append(all, m)
	}
	return all
}

// controlPlane reaches the nodes' LAN addresses and their Pods over the
// management network: logs, exec and webhooks in Pods need no LAN.
func (p plan) controlPlane() Machine {
	m := Machine{Name: ControlPlane, NICs: map[Network]NIC{Management: p.nic(Management, controlPlaneNumber)}}
	for i := range p.Nodes {
		lan, mgmt := p.nic(LAN, firstNode+i), p.nic(Management, firstNode+i)
		m.routes = append(m.routes,
			route{netip.PrefixFrom(lan.IPv4.Addr(), 32), mgmt.IPv4.Addr()},
			route{netip.PrefixFrom(lan.IPv6.Addr(), 128), mgmt.IPv6.Addr()})
		m.routes = append(m.routes, podRoutes(i+1, mgmt)...)
	}
	return m
}

func podRoutes(node int, via NIC) []route {
	v4, v6 := podCIDRs(node)
	return []route{{v4, via.IPv4.Addr()}, {v6, via.IPv6.Addr()}}
}

// machine finds a machine by name.
func (p plan) machine(name string) (Machine, error) {
	var known []string
	for _, m := range p.machines() {
		if m.Name == name {
			return m, nil
		}
		known = append(known, m.Name)
	}
	return Machine{}, fmt.Errorf("no machine %q in the lab; there are %v", name, known)
}

// apiServer is the API server's address, on the management network.
func (p plan) apiServer() netip.AddrPort {
	return netip.AddrPortFrom(p.nic(Management, controlPlaneNumber).IPv4.Addr(), 6443)
}

// HasPower says whether the machine can be powered off: nodes and the control plane.
func (m Machine) HasPower() bool { _, managed := m.NICs[Management]; return managed }
