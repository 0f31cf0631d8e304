package udp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	// trafficClass is DSCP CS6, network control (RFC 4594 section 3.1), and priority the queue that goes with it.
	trafficClass = 48 << 2
	priority     = 6
	// Source ports (RFC 5881 section 4).
	firstSource, lastSource = 49152, 65535
	// receiveRoom is asked for in the kernel's queue, so that a process that gets no processor for a second finds the
	// packets of some hundred sessions there. The kernel gives what net.core.rmem_max allows.
	receiveRoom = 4 << 20
)

// kind is what a receiving socket is for.
type kind struct {
	VRF      string
	V6       bool
	Multihop bool
}

func kindOf(k Key) kind { return kind{k.VRF, k.Peer.Is6(), k.Multihop} }

// sender is what a sending socket is for.
type sender struct {
	VRF string
	V6  bool
}

func (k kind) sender() sender { return sender{k.VRF, k.V6} }

func (k kind) port() int {
	if k.Multihop {
		return PortMultihop
	}
	return PortSingleHop
}

// manner is how a receiving socket comes by its port.
type manner int

const (
	// alone: nobody may have it, so that another program that does is found out. A successor of the same user is let in
	// afterwards.
	alone manner = iota
	// beside: this process has it already, for another VRF.
	beside
	// joining: the owner's process has it. All packets go to the eldest socket, until that one is closed.
	joining
)

// listen opens a receiving socket.
func listen(k kind, how manner) (int, error) {
	fd, err := open(k.VRF, k.V6)
	if err != nil {
		return -1, err
	}
	options := []option{{unix.IPPROTO_IP, unix.IP_RECVTTL, 1}, {unix.IPPROTO_IP, unix.IP_PKTINFO, 1}}
	if k.V6 {
		options = []option{{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1}, {unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1}}
	}
	errs := []error{set(fd, append(options, option{unix.SOL_SOCKET, unix.SO_RCVBUF, receiveRoom})...)}
	if how != alone {
		errs = append(errs, share(fd))
	}
	errs = append(errs, bind(fd, k.V6, k.port()))
	switch how {
	case alone:
		errs = append(errs, share(fd))
	case joining:
		errs = append(errs, eldest(fd))
	}
	if err := errors.Join(errs...); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			return -1, fmt.Errorf("another program on this node has UDP port %d, another BFD daemon perhaps: %w", k.port(), err)
		}
		return -1, err
	}
	return fd, nil
}

// send opens a sending socket, from the wanted source port if that is free. All sessions of a family share it: the
// addresses of a session are no other's, so the packets of each are told apart all the same.
func send(k sender, wanted uint16) (fd int, port uint16, err error) {
	fd, err = open(k.VRF, k.V6)
	if err != nil {
		return -1, 0, err
	}
	options := []option{{unix.IPPROTO_IP, unix.IP_TTL, 255}, {unix.IPPROTO_IP, unix.IP_TOS, trafficClass}}
	if k.V6 {
		options = []option{{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255}, {unix.IPPROTO_IPV6, unix.IPV6_TCLASS, trafficClass}}
	}
	unset := set(fd, append(options,
		option{unix.SOL_SOCKET, unix.SO_PRIORITY, priority},
		option{unix.SOL_SOCKET, unix.SO_RCVBUF, 0}, // nobody answers to this port
	)...)
	if port = wanted; port < firstSource {
		port = sourcePort()
	}
	err = bind(fd, k.V6, int(port))
	for range 1000 {
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
		port = sourcePort()
		err = bind(fd, k.V6, int(port))
	}
	if err := errors.Join(unset, err); err != nil {
		_ = unix.Close(fd)
		return -1, 0, err
	}
	return fd, port, nil
}

func sourcePort() uint16 { return uint16(firstSource + rand.IntN(lastSource-firstSource+1)) }

func open(vrf string, v6 bool) (int, error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if v6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err == nil && vrf != "" {
		err = unix.BindToDevice(fd, vrf)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("setsockopt", err)
	}
	return fd, nil
}

// option is a socket option with a number.
type option struct{ level, name, value int }

// set sets them all, also where one of them cannot be set.
func set(fd int, options ...option) error {
	var errs []error
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			errs = append(errs, os.NewSyscallError(fmt.Sprintf("setsockopt %d %d", o.level, o.name), err))
		}
	}
	return errors.Join(errs...)
}

func bind(fd int, v6 bool, port int) error {
	var to unix.Sockaddr = &unix.SockaddrInet4{Port: port}
	if v6 {
		to = &unix.SockaddrInet6{Port: port, Addr: netip.IPv6Unspecified().As16()}
	}
	return os.NewSyscallError("bind", unix.Bind(fd, to))
}

// share lets sockets of the same user bind the same port from now on.
func share(fd int) error {
	return os.NewSyscallError("setsockopt SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}

// eldest has all packets go to the first of the sockets that share the port. Without it the kernel spreads them over the
// sockets by a hash of addresses and ports, and each process would miss the packets that the other gets.
func eldest(fd int) error {
	program, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, p := range program {
		filter[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	return os.NewSyscallError("setsockopt SO_ATTACH_REUSEPORT_CBPF", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}))
}
