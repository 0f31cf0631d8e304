package responder

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2"
)

// MaxFrame is what is read of a frame, in octets; of a longer one, for which there is no use, the rest is lost.
const MaxFrame = 2048

// Conn is the part of a packet socket that a responder uses.
type Conn interface {
	ReadFrom(b []byte) (n int, from net.Addr, err error)
	WriteTo(b []byte, to net.Addr) (n int, err error)
	SetBPF(filter []bpf.RawInstruction) error
	Close() error
}

// Link is a socket on an interface, and the protocol that is spoken there.
type Link interface {
	Conn
	// Destination returns where a frame goes, as WriteTo takes it.
	Destination(frame []byte) net.Addr
	// Target reads the address that a frame is about, before anything else of the frame is looked at: nearly all are about
	// somebody else's.
	Target(frame []byte) (address netip.Addr, ok bool)
	// Answer returns the reply to a request for an address that is answered here, or why there can be none. For any other
	// frame there is neither; rival says that it is another station's claim to the address.
	Answer(frame []byte) (reply []byte, rival bool, err error)
	// Sender reads the address that a frame's sender says it has, if it says so, before anything else of the frame is looked
	// at. Who only asks whether it can have an address does not.
	Sender(frame []byte) (address netip.Addr, ok bool)
	// Station returns the hardware address that such a frame says the address is at; ok is false where the frame is not to be
	// believed.
	Station(frame []byte) (mac [6]byte, ok bool)
	// Question returns the frame that asks who has an address. It changes nobody's idea of that.
	Question(address netip.Addr) ([]byte, error)
	// Claim returns the gratuitous frames of one round.
	Claim(address netip.Addr) ([][]byte, error)

	// Admit lets frames about these addresses into the process, and keeps others out. It is not called at the same time as
	// any of those below.
	Admit(addresses []l2.Range) error
	// Join sees to it that the network brings requests for these addresses, sorted. An error says what is missing; the next
	// call tries again. It is not called at the same time as Close.
	Join(addresses []netip.Addr) error
}

// Enlarge makes room for the burst of requests when a router has lost its neighbour table. The kernel makes less of it
// where net.core.rmem_max says so.
func Enlarge(socket syscall.Conn) error {
	const receiveBuffer = 4 << 20
	c, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = c.Control(func(fd uintptr) {
		setErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	})
	return errors.Join(err, setErr)
}
