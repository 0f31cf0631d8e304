package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 keeps named network namespaces, so that
// `ip netns exec lab0-client ...` works too.
const netnsDir = "/run/netns"

var networks = []Network{LAN, Management, Uplink}

func bridge(n Network) string               { return "br-" + n.String() }
func port(n Network, machine string) string { return n.String() + "-" + machine }

// makeNetwork makes the switch, this host's leg and every machine's namespace.
func (p plan) makeNetwork() error {
	if err := p.hostIsFree(); err != nil {
		return err
	}
	if err := p.makeSwitch(); err != nil {
		return fmt.Errorf("make the switch: %w", err)
	}
	if err := p.plugInHost(); err != nil {
		return fmt.Errorf("put this host on the management network: %w", err)
	}
	for _, m := range p.machines() {
		if err := p.plugIn(m); err != nil {
			return fmt.Errorf("put %s on the network: %w", m.Name, err)
		}
	}
	return nil
}

// hostIsFree refuses a management network that this host already uses.
func (p plan) hostIsFree() error {
	taken := p.hostNIC().IPv4.Masked()
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list this host's routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			r.Dst = &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
		}
		bits, _ := r.Dst.Mask.Size()
		dst, _ := netip.AddrFromSlice(r.Dst.IP.To4())
		gw, _ := netip.AddrFromSlice(r.Gw.To4())
		src, _ := netip.AddrFromSlice(r.Src.To4())
		if taken.Contains(dst) && bits >= taken.Bits() || taken.Contains(gw) || taken.Contains(src) {
			return fmt.Errorf("this host already uses %s (route %s), which is the management network of lab instance %d: set LAB_INSTANCE to another number, 0 to 9",
				taken, r.String(), p.Instance)
		}
	}
	return nil
}

// makeSwitch makes the namespace of the bridges. It is not the host's own, so
// that no frame passes the host's netfilter, and has no addresses itself.
func (p plan) makeSwitch() error {
	if err := keepNamespaces(); err != nil {
		return err
	}
	if err := newNamespace(p.netns(Switch)); err != nil {
		return err
	}
	return p.inNamespace(Switch, func(h *netlink.Handle) error {
		for _, s := range []string{"ipv6/conf/all/disable_ipv6=1", "ipv6/conf/default/disable_ipv6=1"} {
			if err := sysctl(s); err != nil {
				return err
			}
		}
		for _, table := range []string{"iptables", "ip6tables", "arptables"} { // absent without br_netfilter
			if err := sysctl("bridge/bridge-nf-call-" + table + "=0"); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		snooping := false
		for _, n := range networks {
			br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge(n)}, MulticastSnooping: &snooping}
			if err := h.LinkAdd(br); err != nil {
				return fmt.Errorf("add %s: %w", br.Name, err)
			}
			if err := h.LinkSetUp(br); err != nil {
				return err
			}
		}
		return nil
	})
}

// plugInHost makes this host's leg on the management network.
func (p plan) plugInHost() error {
	host, err := netns.Get()
	if err != nil {
		return err
	}
	defer host.Close()
	err = p.inNamespace(Switch, func(h *netlink.Handle) error { return addCable(h, Management, "host", p.hostNIC(), host) })
	if err != nil {
		return err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	return setAddresses(h, p.hostNIC())
}

// plugIn makes a machine's network namespace, its cables and its routes.
func (p plan) plugIn(m Machine) error {
	if err := newNamespace(p.netns(m.Name)); err != nil {
		return err
	}
	ns, err := netns.GetFromName(p.netns(m.Name))
	if err != nil {
		return err
	}
	defer ns.Close()
	err = p.inNamespace(m.Name, func(*netlink.Handle) error { return m.kernelSettings() })
	if err != nil {
		return err
	}
	err = p.inNamespace(Switch, func(h *netlink.Handle) error {
		for _, on := range networks { // in this order, for the same interface numbers each time
			if nic, has := m.NICs[on]; has {
				if err := addCable(h, on, m.Name, nic, ns); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return p.inNamespace(m.Name, m.configure)
}

// kernelSettings are made before any interface is: interfaces inherit them.
// What a new namespace starts with differs among distributions.
func (m Machine) kernelSettings() error {
	settings := []string{"ipv4/conf/all/rp_filter=0", "ipv4/conf/default/rp_filter=0"}
	if m.forwards {
		settings = append(settings, "ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1", "ipv6/conf/default/forwarding=1")
	}
	if m.Name == Router {
		// Spread flows over equal paths by their ports, as data-centre routers do.
		settings = append(settings, "ipv4/conf/all/send_redirects=0", "ipv4/conf/default/send_redirects=0",
			"ipv4/fib_multipath_hash_policy=1", "ipv6/fib_multipath_hash_policy=1")
	}
	for _, s := range settings {
		if err := sysctl(s); err != nil {
			return err
		}
	}
	return nil
}

// configure gives the machine's interfaces their addresses and adds its routes.
func (m Machine) configure(h *netlink.Handle) error {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := h.LinkSetUp(lo); err != nil {
		return err
	}
	for _, nic := range m.NICs {
		if err := setAddresses(h, nic); err != nil {
			return err
		}
	}
	for _, r := range m.routes {
		if err := h.RouteAdd(&netlink.Route{Dst: ipNet(r.to), Gw: r.via.AsSlice()}); err != nil {
			return fmt.Errorf("route to %s via %s: %w", r.to, r.via, err)
		}
	}
	return nil
}

// addCable joins a network's bridge, in the namespace of h, and a new interface
// in the namespace far.
func addCable(h *netlink.Handle, on Network, machine string, nic NIC, far netns.NsHandle) error {
	cable := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: port(on, machine)},
		PeerName:  nic.Name, PeerHardwareAddr: nic.MAC, PeerNamespace: netlink.NsFd(far),
	}
	if err := h.LinkAdd(cable); err != nil {
		return fmt.Errorf("add cable %s: %w", cable.Name, err)
	}
	return patch(h, on, machine)
}

// patch puts a cable's end on its bridge and sets it up.
func patch(h *netlink.Handle, on Network, machine string) error {
	br, err := h.LinkByName(bridge(on))
	if err != nil {
		return err
	}
	end, err := h.LinkByName(port(on, machine))
	if err != nil {
		return err
	}
	if err := h.LinkSetMaster(end, br); err != nil {
		return err
	}
	return h.LinkSetUp(end)
}

func setAddresses(h *netlink.Handle, nic NIC) error {
	link, err := h.LinkByName(nic.Name)
	if err != nil {
		return err
	}
	if err := h.LinkSetUp(link); err != nil {
		return err
	}
	for _, a := range []netip.Prefix{nic.IPv4, nic.IPv6} {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: ipNet(a).Mask}}
		if a.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD // usable at once
		}
		if err := h.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("address %s on %s: %w", a, nic.Name, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// unplug removes a machine's cables and its network namespace.
func (p plan) unplug(m Machine) error {
	err := p.inNamespace(Switch, func(h *netlink.Handle) error {
		for on := range m.NICs {
			if end, err := h.LinkByName(port(on, m.Name)); err == nil {
				if err := h.LinkDel(end); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return errors.Join(err, deleteNamespace(p.netns(m.Name)))
}

// removeNetwork removes whatever there is of the cluster's network.
func (p plan) removeNetwork() error {
	var errs []error
	// First the host's leg: with its namespace alone it would go too, but later.
	if leg, err := netlink.LinkByName(p.hostNIC().Name); err == nil {
		errs = append(errs, netlink.LinkDel(leg))
	}
	for _, name := range p.namespaces() {
		errs = append(errs, deleteNamespace(name))
	}
	return errors.Join(errs...)
}

// namespaces lists the cluster's network namespaces that exist.
func (p plan) namespaces() []string {
	var names []string
	entries, _ := os.ReadDir(netnsDir) // absent: none
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), p.prefix()+"-") {
			names = append(names, e.Name())
		}
	}
	return names
}

// inNamespace runs f in the network namespace of a machine, with a netlink handle there.
func (p plan) inNamespace(machine string, f func(h *netlink.Handle) error) error {
	return onThread(func() error {
		ns, err := netns.GetFromName(p.netns(machine))
		if err != nil {
			return fmt.Errorf("the lab's machine %s is off or there is none: %w", machine, err)
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter the network namespace of %s: %w", machine, err)
		}
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		return f(h)
	})
}

// keepNamespaces makes netnsDir a shared mount, as the first `ip netns add` on a host does: one that
// came later would cover the cluster's namespaces with a copy of the directory.
func keepNamespaces() error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	share := func() error { return unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "") }
	err := share()
	if errors.Is(err, unix.EINVAL) { // not a mount yet
		if err = unix.Mount(netnsDir, netnsDir, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = share()
		}
	}
	if err != nil {
		return fmt.Errorf("share %s among mount namespaces: %w", netnsDir, err)
	}
	return nil
}

func newNamespace(name string) error {
	return onThread(func() error {
		ns, err := netns.NewNamed(name)
		if err != nil {
			return fmt.Errorf("make network namespace %s: %w", name, err)
		}
		return ns.Close()
	})
}

func deleteNamespace(name string) error {
	path := filepath.Join(netnsDir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// onThread runs f on an OS thread that ends with it, so that f may move it
// into other namespaces.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread never ends and is the process in /proc: take
			// another, as one must be while this goroutine holds it.
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f() // and no Unlock: the thread ends with the goroutine
	}()
	return <-done
}

// sysctl sets "path=value" below /proc/sys/net, of the thread's own network namespace.
func sysctl(setting string) error {
	name, value, _ := strings.Cut(setting, "=")
	return os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0)
}
