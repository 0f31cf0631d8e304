package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batchSize is how many packets a system call takes or brings.
	batchSize = 64
	// A Control packet's own length fits into a byte (RFC 5880 section 4.1).
	packetRoom  = 256
	controlRoom = 128
)

// message is the kernel's struct mmsghdr; Go pads its end as C does.
type message struct {
	header unix.Msghdr
	length uint32
}

// inbox has the room for a batch of received packets.
type inbox struct {
	messages [batchSize]message
	vectors  [batchSize]unix.Iovec
	names    [batchSize]unix.RawSockaddrInet6
	packets  [batchSize][packetRoom]byte
	controls [batchSize][controlRoom]byte
}

// received is a packet as it came. It is good until the next batch.
type received struct {
	data []byte
	from netip.Addr
	// to, ttl and index, the interface, are from the control messages; a ttl of -1 is unknown.
	to    netip.Addr
	ttl   int
	index int
}

func newInbox() *inbox {
	b := &inbox{}
	for i := range b.messages {
		h := &b.messages[i].header
		b.vectors[i].Base = &b.packets[i][0]
		b.vectors[i].SetLen(packetRoom)
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Control = &b.controls[i][0]
	}
	return b
}

// read receives up to a batch without waiting and returns how many there were.
func (b *inbox) read(fd int) (int, error) {
	for i := range b.messages {
		h := &b.messages[i].header
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlRoom)
		h.Flags = 0
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return 0, errno
		}
	}
}

// at decodes packet i of the last batch.
func (b *inbox) at(i int) received {
	m := &b.messages[i]
	r := received{data: b.packets[i][:min(int(m.length), packetRoom)], ttl: -1, from: address(&b.names[i])}
	control := b.controls[i][:min(int(m.header.Controllen), controlRoom)]
	for len(control) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			break
		}
		control = rest
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TTL && len(data) >= 4,
			h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
			r.ttl = int(binary.NativeEndian.Uint32(data))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0]))
			r.to, r.index = netip.AddrFrom4(info.Addr), int(info.Ifindex)
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
			r.to, r.index = netip.AddrFrom16(info.Addr), int(info.Ifindex)
		}
	}
	return r
}

// address reads a socket address; its zone is not, the interface says it better.
func address(name *unix.RawSockaddrInet6) netip.Addr {
	switch name.Family {
	case unix.AF_INET:
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr)
	case unix.AF_INET6:
		return netip.AddrFrom16(name.Addr)
	}
	return netip.Addr{}
}

// outbox collects packets for one socket.
type outbox struct {
	messages [batchSize]message
	vectors  [batchSize]unix.Iovec
	packets  [batchSize][]byte
	sessions [batchSize]*session
	n        int
}

// add takes a packet; the caller flushes when it says that the box is full.
func (b *outbox) add(s *session, packet []byte) (full bool) {
	i := b.n
	b.sessions[i] = s
	b.packets[i] = append(b.packets[i][:0], packet...)
	b.vectors[i].Base = &b.packets[i][0]
	b.vectors[i].SetLen(len(packet))
	h := &b.messages[i].header
	*h = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&s.name)), Namelen: s.nameLength, Iov: &b.vectors[i]}
	h.SetIovlen(1)
	if len(s.control) > 0 {
		h.Control = &s.control[0]
		h.SetControllen(len(s.control))
	}
	b.n++
	return b.n == batchSize
}

// flush sends what was added. A packet that the kernel does not take is as good as lost on the way; its session is told.
func (b *outbox) flush(fd int, failed func(*session, error)) {
	for i := 0; i < b.n; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages[i])), uintptr(b.n-i), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0: // of the first one
			failed(b.sessions[i], errno)
			i++
		default:
			i += int(n)
		}
	}
	clear(b.sessions[:b.n])
	b.n = 0
}

// destination is the kernel's form of an address and a port.
func destination(peer netip.Addr, port uint16, index int) (name unix.RawSockaddrInet6, length uint32) {
	if peer.Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&name))
		v4.Family, v4.Addr = unix.AF_INET, peer.As4()
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&v4.Port))[:], port)
		return name, unix.SizeofSockaddrInet4
	}
	name.Family, name.Addr = unix.AF_INET6, peer.As16()
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&name.Port))[:], port)
	if peer.IsLinkLocalUnicast() {
		name.Scope_id = uint32(index)
	}
	return name, unix.SizeofSockaddrInet6
}

// source is the control message that makes the kernel send from an address and through an interface; nil where neither is
// given.
func source(local netip.Addr, peer netip.Addr, index int) []byte {
	if !local.IsValid() && index == 0 {
		return nil
	}
	if peer.Is4() {
		info := unix.Inet4Pktinfo{Ifindex: int32(index)}
		if local.IsValid() {
			info.Spec_dst = local.As4()
		}
		return unix.PktInfo4(&info)
	}
	info := unix.Inet6Pktinfo{Ifindex: uint32(index)}
	if local.IsValid() {
		info.Addr = local.As16()
	}
	return unix.PktInfo6(&info)
}
