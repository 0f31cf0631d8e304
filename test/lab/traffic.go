package lab

import (
	"context"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// InNamespace runs f on an OS thread of its own in the network namespace of a
// machine. A socket that f opens stays there and may be used anywhere; f must
// open it itself, not in a goroutine that it starts.
func (c *Cluster) InNamespace(machine string, f func() error) error {
	return c.plan.inNamespace(machine, func(*netlink.Handle) error { return f() })
}

// Dial connects from a machine. The address must be literal: a name would be
// looked up on this host.
func (c *Cluster) Dial(ctx context.Context, machine, network, address string) (net.Conn, error) {
	if err := literal(address); err != nil {
		return nil, err
	}
	return inNamespace(c, machine, func() (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	})
}

// Listen listens for TCP in a machine.
func (c *Cluster) Listen(ctx context.Context, machine, network, address string) (net.Listener, error) {
	return inNamespace(c, machine, func() (net.Listener, error) {
		return new(net.ListenConfig).Listen(ctx, network, address)
	})
}

// ListenPacket opens a UDP or raw IP socket in a machine.
func (c *Cluster) ListenPacket(ctx context.Context, machine, network, address string) (net.PacketConn, error) {
	return inNamespace(c, machine, func() (net.PacketConn, error) {
		return new(net.ListenConfig).ListenPacket(ctx, network, address)
	})
}

func inNamespace[T any](c *Cluster, machine string, open func() (T, error)) (opened T, err error) {
	err = c.InNamespace(machine, func() error {
		opened, err = open()
		return err
	})
	return opened, err
}

func literal(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if net.ParseIP(host) == nil {
		return fmt.Errorf("address %q: want an IP address, as the lab's machines look up no names", address)
	}
	return nil
}
