package gobgp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/bgp/discovery"
	"metallb.io/operator/internal/bgp/tcp"
)

// dialTimeout is how long a router may take for the TCP handshake: two SYN retransmissions.
const dialTimeout = 4 * time.Second

const maxTTL = 255

// dial connects to a router. The error says in words what happened.
func dial(ctx context.Context, p bgp.Peer) (net.Conn, error) {
	d := net.Dialer{
		Timeout: dialTimeout, KeepAlive: -1, // the hold timer sees to that
		ControlContext: func(_ context.Context, _, _ string, c syscall.RawConn) (err error) {
			if e := c.Control(func(fd uintptr) { err = errors.Join(prepare(int(fd), p), place(int(fd), p)) }); e != nil {
				return e
			}
			return err
		},
	}
	if p.Source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.Source, 0))
	}
	to := netip.AddrPortFrom(p.Address, p.Port)
	conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(discovery.ByNumber(p.Address), p.Port).String())
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", to, inWords(err, p))
	}
	return conn, nil
}

// prepare sets how the segments of a session are sent.
func prepare(fd int, p bgp.Peer) error {
	// eBGP peers are on the same network unless it is said that they are not (RFC 4271, section 5.1.3).
	ttl, least := maxTTL, 0
	switch {
	case p.TTLSecurityHops > 0:
		least = maxTTL + 1 - int(p.TTLSecurityHops)
	case !p.Internal() && !p.MultiHop:
		ttl = 1
	}
	level, option, minimum, tos := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_MINTTL, unix.IP_TOS
	if p.Address.Is6() {
		level, option, minimum, tos = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_MINHOPCOUNT, unix.IPV6_TCLASS
	}
	const networkControl = 0xc0 // precedence of routing protocols (RFC 4271, appendix E)
	if err := errors.Join(unix.SetsockoptInt(fd, level, option, ttl), unix.SetsockoptInt(fd, level, tos, networkControl)); err != nil {
		return err
	}
	if least > 0 {
		if err := unix.SetsockoptInt(fd, level, minimum, least); err != nil {
			return fmt.Errorf("ttlSecurityHops cannot be used: %w", err)
		}
	}
	return nil
}

// place sets where the first segment is sent to, and how it is signed.
func place(fd int, p bgp.Peer) error {
	if p.Device != "" {
		if err := unix.BindToDevice(fd, p.Device); err != nil {
			return fmt.Errorf("device %s: %w", p.Device, err)
		}
	}
	if p.Password == "" {
		return nil
	}
	return tcp.Sign(fd, p.Address, p.Password)
}

// unheard is what else it may be when a router seems to say nothing.
func unheard(p bgp.Peer) string {
	if p.TTLSecurityHops == 0 {
		return ""
	}
	return fmt.Sprintf(", or with a TTL below %d: is it set up for TTL security, and at most %d hops away?", maxTTL+1-int(p.TTLSecurityHops), p.TTLSecurityHops)
}

// inWords makes of an error of a connection what a user can act upon.
func inWords(err error, p bgp.Peer) error {
	var timeout net.Error
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return errors.New("it refuses connections: BGP does not run there, or not for this node's address")
	case errors.As(err, &timeout) && timeout.Timeout():
		switch {
		case p.TTLSecurityHops > 0:
			return errors.New("it does not answer" + unheard(p))
		case p.Password != "":
			return errors.New("it does not answer; where it has another password than this end, or none, it does not either")
		}
		return errors.New("it does not answer; a router that wants a password does not either")
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		return errors.New("there is no way to it (no route, or nobody answers to its address)")
	case errors.Is(err, unix.EADDRNOTAVAIL) && p.Source.IsValid():
		return fmt.Errorf("this node does not have the source address %s", p.Source)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
