// Package linklocal finds the address that a node is known by on a link (RFC 4291, section 2.5.6).
package linklocal

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

var allNodes = netip.MustParseAddr("ff02::1")

// Of returns the link-local address that the kernel itself would send from on an interface, given by its number, so none that is still
// probed for duplicates or has failed. It is invalid where there is none.
func Of(index int) (netip.Addr, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}, absent(err)
	}
	defer func() { _ = unix.Close(fd) }()
	to := &unix.SockaddrInet6{Addr: allNodes.As16(), Port: 9, ZoneId: uint32(index)} // connecting sends nothing
	if err := unix.Connect(fd, to); err != nil {
		return netip.Addr{}, absent(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return netip.Addr{}, err
	}
	if from, ok := name.(*unix.SockaddrInet6); ok {
		if a := netip.AddrFrom16(from.Addr); a.IsLinkLocalUnicast() {
			return a, nil
		}
	}
	return netip.Addr{}, nil
}

// absent turns the errors that say that there is no IPv6 on an interface, or no address, into none.
func absent(err error) error {
	for _, none := range []error{unix.EADDRNOTAVAIL, unix.ENETUNREACH, unix.ENODEV, unix.EAFNOSUPPORT} {
		if errors.Is(err, none) {
			return nil
		}
	}
	return err
}
