package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// asker asks for addresses at one end of a cable. It sends and reads by itself, so that what it measures has nothing of its
// own kernel's queues and timers in it.
type asker struct {
	index      int
	mac        [6]byte
	ipv4, ipv6 netip.Addr
	arp, ndp   int // packet sockets
}

func newAsker(name string) (*asker, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	c := &asker{index: i.Index, mac: [6]byte(i.HardwareAddr), ipv4: netip.MustParseAddr("10.0.0.2"), ipv6: netip.MustParseAddr("2001:db8::2")}
	if c.arp, err = listen(unix.ETH_P_ARP, i.Index); err != nil {
		return nil, err
	}
	if c.ndp, err = listen(unix.ETH_P_IPV6, i.Index); err != nil {
		return nil, errors.Join(err, unix.Close(c.arp))
	}
	return c, nil
}

func listen(protocol, index int) (int, error) {
	network := protocol>>8 | protocol<<8&0xff00
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, network)
	if err != nil {
		return 0, err
	}
	timeout := unix.Timeval{Sec: 1}
	if err := errors.Join(
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(network), Ifindex: index}),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
	); err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func (c *asker) close() {
	_ = unix.Close(c.arp)
	_ = unix.Close(c.ndp)
}

func (c *asker) socket(a netip.Addr) int {
	if a.Is4() {
		return c.arp
	}
	return c.ndp
}

// request is the question where an address is: by ARP (RFC 826), to all, or by a neighbour solicitation (RFC 4861 section
// 4.3), to the address's solicited-node group.
func (c *asker) request(a netip.Addr) []byte {
	if a.Is4() {
		f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, c.mac[:]...)
		f = append(f, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
		f = append(append(f, c.mac[:]...), c.ipv4.AsSlice()...)
		f = append(append(f, 0, 0, 0, 0, 0, 0), a.AsSlice()...)
		return append(f, make([]byte, 18)...)
	}
	target := a.As16()
	f := append([]byte{0x33, 0x33, 0xff}, target[13:]...)
	f = append(append(f, c.mac[:]...), 0x86, 0xdd, 6<<4, 0, 0, 0, 0, 32, unix.IPPROTO_ICMPV6, 255)
	f = append(f, c.ipv6.AsSlice()...)
	f = append(append(f, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff), target[13:]...)
	f = append(append(f, 135, 0, 0, 0, 0, 0, 0, 0), target[:]...)
	f = append(append(f, 1, 1), c.mac[:]...)
	sum := uint32(32 + unix.IPPROTO_ICMPV6)
	for b := f[22:]; len(b) > 0; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(f[56:], ^uint16(sum>>16+sum&0xffff))
	return f
}

// told reads what a frame says: the address that it places somewhere, and whether that is the answer to a request of ours.
func told(frame []byte) (a netip.Addr, answer, ok bool) {
	switch {
	case len(frame) >= 42 && frame[12] == 8 && frame[13] == 6:
		broadcast := [6]byte(frame[:6]) == [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		return netip.AddrFrom4([4]byte(frame[28:32])), frame[21] == 2 && !broadcast, true
	case len(frame) >= 86 && frame[20] == unix.IPPROTO_ICMPV6 && frame[54] == 136:
		return netip.AddrFrom16([16]byte(frame[62:78])), frame[58]&0x40 != 0, true
	}
	return netip.Addr{}, false, false
}

func (c *asker) send(frame []byte, a netip.Addr) error {
	return unix.Sendto(c.socket(a), frame, 0, &unix.SockaddrLinklayer{Ifindex: c.index})
}

// errSilence is that nothing came within a second.
var errSilence = errors.New("no answer within a second")

// next returns what the next frame of a family says.
func (c *asker) next(family netip.Addr) (a netip.Addr, answer bool, err error) {
	buf := make([]byte, 256)
	for {
		n, _, err := unix.Recvfrom(c.socket(family), buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return netip.Addr{}, false, errSilence
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return netip.Addr{}, false, err
		}
		if a, answer, ok := told(buf[:n]); ok {
			return a, answer, nil
		}
	}
}

// ask asks for an address once and returns how long the answer took.
func (c *asker) ask(a netip.Addr) (time.Duration, error) {
	request := c.request(a)
	began := time.Now()
	if err := c.send(request, a); err != nil {
		return 0, err
	}
	for {
		from, answer, err := c.next(a)
		if err != nil {
			return 0, fmt.Errorf("asking for %s: %w", a, err)
		}
		if answer && from == a {
			return time.Since(began), nil
		}
	}
}
