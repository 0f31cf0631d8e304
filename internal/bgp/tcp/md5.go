// Package tcp has the kernel listen for connections that routers open, and sign segments. It decides nothing about BGP: who
// opened a connection is found out, and the connection is handed on.
package tcp

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/bgp"
)

// Sign has the segments of a socket to and from an address signed (RFC 2385), those of a connection as well as those of
// connections that it will accept. Without a password they are not signed any more.
func Sign(fd int, peer netip.Addr, password bgp.Password) error {
	s := &unix.TCPMD5Sig{}
	s.Addr.Family, s.Keylen = unix.AF_INET, uint16(copy(s.Key[:], password.Reveal()))
	at := 2 // after the port (sockaddr_in)
	if peer.Is6() {
		s.Addr.Family, at = unix.AF_INET6, 6 // after the port and the flow (sockaddr_in6)
	}
	for i, b := range peer.AsSlice() {
		s.Addr.Data[at+i] = b
	}
	if err := unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, s); err != nil {
		return fmt.Errorf("the password cannot be used (TCP MD5): %w", err)
	}
	return nil
}
