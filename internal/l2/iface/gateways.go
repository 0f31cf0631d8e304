package iface

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Gateways returns the addresses of the node's default routers, sorted, without link-local ones. It reads the whole of the
// main routing table, which may be long: it is not for use while somebody waits. Routes are not watched: on some nodes
// they change all the time.
func Gateways() ([]netip.Addr, error) {
	var out []netip.Addr
	add := func(ip net.IP) {
		if a, ok := netip.AddrFromSlice(ip); ok && a.Unmap().IsGlobalUnicast() {
			out = append(out, a.Unmap())
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		err := netlink.RouteListFilteredIter(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			if !isDefault(r.Dst) {
				return true
			}
			add(r.Gw)
			if via, ok := r.Via.(*netlink.Via); ok {
				add(via.Addr)
			}
			for _, hop := range r.MultiPath {
				add(hop.Gw)
				if via, ok := hop.Via.(*netlink.Via); ok {
					add(via.Addr)
				}
			}
			return true
		})
		// A table that changes while it is read is nearly right, and read again soon.
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, fmt.Errorf("cannot list routes: %w", err)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out), nil
}

func isDefault(destination *net.IPNet) bool {
	if destination == nil {
		return true
	}
	bits, _ := destination.Mask.Size()
	return bits == 0
}
