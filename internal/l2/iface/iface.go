// Package iface says which network interfaces of this node can announce addresses, and which addresses the node itself
// holds. It follows the kernel's netlink events; nothing is polled. It knows nothing of what is announced and imports none
// of the responders.
//
// Reading and subscribing need no capability.
package iface

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2"
)

// DefaultExclude are the names, as regular expressions, of interfaces that lead to containers and virtual machines or
// nowhere, and are never announced on.
var DefaultExclude = []string{
	"^docker.*", "^cbr.*", "^dummy.*", "^virbr.*", "^lxcbr.*", "^veth.*", "^lo$", "^cali.*", "^tunl.*", "^flannel.*",
	"^kube-ipvs.*", "^cni.*", "^nodelocaldns.*", "^lxc.*",
}

// Exclude returns the expressions of a list with commas between, whose entries are names, or regular expressions if they
// begin with ^.
func Exclude(list string) ([]string, error) {
	var exclude []string
	for entry := range strings.SplitSeq(list, ",") {
		switch entry = strings.TrimSpace(entry); {
		case entry == "":
		case strings.HasPrefix(entry, "^"):
			exclude = append(exclude, entry)
		default:
			exclude = append(exclude, "^"+regexp.QuoteMeta(entry)+"$")
		}
	}
	_, err := compile(exclude)
	return exclude, err
}

// exclusion are the names of interfaces that cannot announce: foreign ones, whose addresses are not the node's, and ones of the
// node that are not to be used.
type exclusion struct{ foreign, unused *regexp.Regexp }

func compileExclusion(foreign, unused []string) (n exclusion, err error) {
	var errs [2]error
	n.foreign, errs[0] = compile(foreign)
	n.unused, errs[1] = compile(unused)
	return n, errors.Join(errs[:]...)
}

// State is what the node's network looks like at one moment.
type State struct {
	// Interfaces that can announce, sorted by name.
	Interfaces []l2.Interface
	// Addresses that the node holds, sorted, apart from those on interfaces where addresses of Services are kept:
	// loopback and dummy interfaces, and excluded ones such as kube-ipvs0.
	Addresses []netip.Addr
	// Subnets of the interfaces that can announce, sorted; also of those whose cable is out, since what is a subnet of this
	// node does not change by that. Link-local ones and single addresses are not among them.
	Subnets []netip.Prefix
}

// Equal reports whether two states are the same.
func (s State) Equal(o State) bool {
	return slices.Equal(s.Interfaces, o.Interfaces) && slices.Equal(s.Addresses, o.Addresses) && slices.Equal(s.Subnets, o.Subnets)
}

// compile joins the expressions into one.
func compile(exclude []string) (*regexp.Regexp, error) {
	var errs []error
	parts := []string{`^\z.`} // matches nothing
	for _, e := range exclude {
		if _, err := regexp.Compile(e); err != nil {
			errs = append(errs, fmt.Errorf("interface name %q to exclude: %w", e, err))
		}
		parts = append(parts, "(?:"+e+")")
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return regexp.Compile(strings.Join(parts, "|"))
}

// noCarrier is why an interface without a cable cannot announce.
const noCarrier = "no carrier"

// unusable says why an interface cannot announce; empty means that it can. The kind of its master is empty without one.
// A port of a bridge, bond or team is not a place to speak from, its master is; a VRF only groups interfaces.
func unusable(a *netlink.LinkAttrs, masterKind string, exclude *regexp.Regexp) string {
	switch {
	case exclude.MatchString(a.Name):
		return "excluded by name"
	case a.Flags&net.FlagLoopback != 0:
		return "loopback"
	case a.Flags&net.FlagUp == 0:
		return "down"
	case a.RawFlags&unix.IFF_RUNNING == 0:
		return noCarrier
	case a.RawFlags&unix.IFF_NOARP != 0:
		return "does not do ARP"
	case a.Flags&net.FlagBroadcast == 0:
		return "no broadcast"
	case a.EncapType != "ether" || len(a.HardwareAddr) != 6:
		return "not Ethernet"
	case a.MasterIndex != 0 && masterKind != "vrf":
		return "part of another interface"
	default:
		return ""
	}
}

// stateOf judges what netlink listed. Interfaces that cannot announce are returned by index with the reason.
func stateOf(links []netlink.Link, addresses []netlink.Addr, n exclusion) (State, map[int]string) {
	kinds := map[int]string{}
	for _, l := range links {
		kinds[l.Attrs().Index] = l.Type()
	}
	var s State
	out := map[int]string{}
	virtual := map[int]bool{}
	for _, l := range links {
		a := l.Attrs()
		virtual[a.Index] = a.Flags&net.FlagLoopback != 0 || l.Type() == "dummy" || n.foreign.MatchString(a.Name)
		out[a.Index] = unusable(a, kinds[a.MasterIndex], n.foreign)
		if n.unused.MatchString(a.Name) {
			out[a.Index] = "excluded by name"
		}
		if out[a.Index] == "" {
			s.Interfaces = append(s.Interfaces, l2.Interface{Name: a.Name, Index: a.Index, MAC: [6]byte(a.HardwareAddr)})
		}
	}
	for _, a := range addresses {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok || virtual[a.LinkIndex] {
			continue
		}
		s.Addresses = append(s.Addresses, ip.Unmap())
		why, listed := out[a.LinkIndex]
		if subnet, ok := subnetOf(ip.Unmap(), a.IPNet); ok && listed && (why == "" || why == noCarrier) {
			s.Subnets = append(s.Subnets, subnet)
		}
	}
	slices.SortFunc(s.Interfaces, func(x, y l2.Interface) int { return cmp.Compare(x.Name, y.Name) })
	slices.SortFunc(s.Addresses, netip.Addr.Compare)
	s.Addresses = slices.Compact(s.Addresses)
	slices.SortFunc(s.Subnets, netip.Prefix.Compare)
	s.Subnets = slices.Compact(s.Subnets)
	return s, out
}

// subnetOf returns the subnet that an address is in, if there can be others in it that are reached over a router too.
func subnetOf(ip netip.Addr, n *net.IPNet) (netip.Prefix, bool) {
	if n == nil || !ip.IsGlobalUnicast() {
		return netip.Prefix{}, false
	}
	bits, _ := n.Mask.Size()
	p, err := ip.Prefix(bits)
	return p, err == nil && !p.IsSingleIP() && bits > 0
}

// list asks the kernel, again where the answer changed while it was given.
func list(n exclusion, log *slog.Logger) (State, error) {
	var links []netlink.Link
	var addresses []netlink.Addr
	var err error
	for range 5 {
		if links, err = netlink.LinkList(); err == nil {
			addresses, err = netlink.AddrList(nil, netlink.FAMILY_ALL)
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return State{}, fmt.Errorf("cannot list network interfaces: %w", err)
	}
	s, why := stateOf(links, addresses, n)
	for _, l := range links {
		if a := l.Attrs(); why[a.Index] != "" {
			log.Debug("interface not used", "interface", a.Name, "reason", why[a.Index])
		}
	}
	return s, nil
}
