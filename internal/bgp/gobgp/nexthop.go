package gobgp

import (
	"net"
	"net/netip"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/bgp/discovery"
)

// nextHops are the addresses of this node that routers send to, by family. One that is not valid is not known.
type nextHops struct{ ipv4, ipv6 netip.Addr }

// of is the next hop for a prefix.
func (h nextHops) of(p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		return h.ipv4
	}
	return h.ipv6
}

// guess says what the next hops will be if the routing table stays as it is, so that they need not change when the session
// begins.
func guess(p bgp.Peer) nextHops {
	local := p.Source
	if p.Interface != "" {
		a, err := discovery.Local(p.Interface)
		if err != nil {
			return nextHops{}
		}
		local = a
	}
	if !local.IsValid() {
		c, err := net.Dial("udp", netip.AddrPortFrom(p.Address, p.Port).String()) // sends nothing
		if err != nil {
			return nextHops{}
		}
		defer c.Close()
		local = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	}
	return nextHopsOf(local, p, true)
}

// nextHopsOf are the session's own address and, for the other family, the first address of that family on the same
// interface (RFC 2545, section 3, and RFC 4760: any address of the speaker will do). Where the router takes an IPv6 next hop
// for IPv4 (RFC 8950), the session's own address is that of IPv4 too if there is no other, or if the two ends know no more of
// one another than their link-local addresses.
func nextHopsOf(local netip.Addr, p bgp.Peer, extended bool) (h nextHops) {
	if local.Is4() {
		h.ipv4 = local
	} else {
		h.ipv6 = local.WithZone("")
	}
	if local.IsLinkLocalUnicast() && local.Is6() && extended {
		h.ipv4 = h.ipv6
	}
	if p.IPv4 && !h.ipv4.IsValid() || p.IPv6 && !h.ipv6.IsValid() {
		other := neighbour(local)
		if !h.ipv4.IsValid() {
			h.ipv4 = other.ipv4
		}
		if !h.ipv6.IsValid() {
			h.ipv6 = other.ipv6
		}
	}
	if p.IPv4 && !h.ipv4.IsValid() && extended {
		h.ipv4 = h.ipv6
	}
	return h
}

// neighbour returns the first address of each family on the interface that has the address.
func neighbour(of netip.Addr) (h nextHops) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return h
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			continue
		}
		found, here := nextHops{}, false
		for _, x := range addresses {
			a, ok := netip.AddrFromSlice(x.(*net.IPNet).IP)
			a = a.Unmap()
			here = here || ok && a == of.WithZone("") && (of.Zone() == "" || of.Zone() == i.Name)
			switch {
			case !ok || !a.IsGlobalUnicast() && !a.IsLoopback():
			case a.Is4() && !found.ipv4.IsValid():
				found.ipv4 = a
			case a.Is6() && !found.ipv6.IsValid():
				found.ipv6 = a
			}
		}
		if here {
			return found
		}
	}
	return h
}
