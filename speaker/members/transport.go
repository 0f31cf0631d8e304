package members

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sys/unix"
)

// While a speaker is upgraded, its old and its new pod run on one node, both members, both behind the node's address and
// the one gossip port that firewalls let through. The port is shared (SO_REUSEPORT), so the kernel hands a packet or a
// connection to either process. Therefore everything sent begins with the name of the member it is meant for, and a
// process that receives what is meant for its sibling passes it on over the loopback. A second port would be simpler
// here and fail in the field; letting only one of the two gossip would take the node away for as long as the other
// needs to find its peers.
//
// The header says nothing secret and nothing that is trusted: a packet is believed if memberlist can decrypt it.

const (
	// headerTimeout is how long a peer that has connected may take to say for whom.
	headerTimeout = 2 * time.Second
	// relayTimeout is the longest that a connection is passed on.
	relayTimeout = 10 * time.Second
	// maxPending bounds the connections that have not said for whom they are, or are passed on; more are refused.
	maxPending = 256
	// maxPacket is the largest UDP payload.
	maxPacket = 65536
	// receiveBuffer is asked for per socket; the kernel may give less.
	receiveBuffer = 1 << 20
)

// transport implements memberlist.NodeAwareTransport.
type transport struct {
	self    string
	address netip.AddrPort
	log     *slog.Logger
	// lastReached is when a peer that was looked for by its address last accepted a connection, in nanoseconds of Unix time.
	lastReached atomic.Int64

	packets chan *memberlist.Packet
	streams chan net.Conn
	ctx     context.Context // ends with Shutdown
	end     context.CancelFunc
	loops   sync.WaitGroup
	sockets [2]socket // at the node's address, and at the loopback (always IPv4)

	mu    sync.Mutex
	conns map[net.Conn]struct{} // accepted and not yet handed over
}

// socket is a TCP and a UDP port of the same number. A local one gets what a sibling passes on.
type socket struct {
	tcp   net.Listener
	udp   *net.UDPConn
	local bool
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

// listen opens the shared port at the address, and at the loopback address that belongs to the member's name.
func listen(self string, address netip.AddrPort, log *slog.Logger) (*transport, error) {
	t := &transport{
		self: self, address: address, log: log,
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn),
		conns: map[net.Conn]struct{}{},
	}
	t.ctx, t.end = context.WithCancel(context.Background())
	for i, at := range []netip.AddrPort{address, t.loopback(self)} {
		s, err := open(at, i == 1)
		if err != nil {
			t.end()
			t.closeSockets()
			if errors.Is(err, unix.EADDRINUSE) {
				err = fmt.Errorf("%w: another program holds the port; stop it or give the speakers another one", err)
			}
			return nil, fmt.Errorf("cannot listen for gossip on %s, TCP and UDP: %w", at, err)
		}
		t.sockets[i] = s
	}
	for _, s := range t.sockets {
		t.loops.Go(func() { t.receive(s) })
		t.loops.Go(func() { t.accept(s) })
	}
	return t, nil
}

// open binds both sockets, shareable when they are not local.
func open(at netip.AddrPort, local bool) (socket, error) {
	lc := net.ListenConfig{}
	if !local {
		lc.Control = func(_, _ string, c syscall.RawConn) (err error) {
			if e := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}); e != nil {
				return e
			}
			return err
		}
	}
	tcp, err := lc.Listen(context.Background(), "tcp", at.String())
	if err != nil {
		return socket{}, err
	}
	udp, err := lc.ListenPacket(context.Background(), "udp", at.String())
	if err != nil {
		_ = tcp.Close()
		return socket{}, err
	}
	s := socket{tcp: tcp, udp: udp.(*net.UDPConn), local: local}
	_ = s.udp.SetReadBuffer(receiveBuffer) // as much as the kernel allows
	return s, nil
}

// loopback is where a member of this node gets what a sibling passes on: an address in 127.0.0.0/8 made from its name, so
// that it need not be found out. Two siblings out of eight million share one; the younger then cannot start.
func (t *transport) loopback(name string) netip.AddrPort {
	h := sha256.Sum256([]byte(name))
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 64 + h[0]%128, h[1], 1 + h[2]%254}), t.address.Port())
}

// header precedes a packet, and what is sent over a connection.
func header(name string) []byte {
	return append([]byte{byte(len(name))}, name...)
}

// split takes the header off a packet.
func split(packet []byte) (name string, payload []byte, ok bool) {
	if len(packet) == 0 || len(packet) < 1+int(packet[0]) {
		return "", nil, false
	}
	n := 1 + int(packet[0])
	return string(packet[1:n]), packet[n:], true
}

// For whom something is that was received.
type destination int

const (
	toUs destination = iota
	toSibling
	toNobody
)

// route says for whom something is. Without a name it is for any member of this node. What a sibling has passed on is
// not passed on again.
func (t *transport) route(name string, local bool) destination {
	switch {
	case name == t.self, name == "" && !local:
		return toUs
	case !local && nodeOf(name) == nodeOf(t.self):
		return toSibling
	default:
		return toNobody
	}
}

// receive delivers packets.
func (t *transport) receive(s socket) {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buf)
		now := time.Now()
		if err != nil {
			if t.pause(err) {
				continue
			}
			return
		}
		name, payload, ok := split(buf[:n])
		if !ok {
			continue
		}
		switch t.route(name, s.local) {
		case toUs:
			p := &memberlist.Packet{Buf: append([]byte(nil), payload...), From: net.UDPAddrFromAddrPort(from), Timestamp: now}
			select {
			case t.packets <- p:
			case <-t.ctx.Done():
				return
			}
		case toSibling:
			_, _ = t.sockets[1].udp.WriteToUDPAddrPort(buf[:n], t.loopback(name)) // a lost packet, if it has just left
		case toNobody:
		}
	}
}

// accept delivers connections.
func (t *transport) accept(s socket) {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			if t.pause(err) {
				continue
			}
			return
		}
		if t.hold(c) {
			t.loops.Go(func() { t.dispatch(c, s.local) })
		}
	}
}

// pause keeps a socket that fails for a while, for want of file descriptors say, from being a busy loop; false means that
// the transport is closed.
func (t *transport) pause(err error) bool {
	select {
	case <-t.ctx.Done():
		return false
	case <-time.After(10 * time.Millisecond):
		t.log.Debug("gossip socket failed", "error", err)
		return !errors.Is(err, net.ErrClosed)
	}
}

// dispatch reads for whom a connection is and hands it to memberlist or passes it on.
func (t *transport) dispatch(c net.Conn, local bool) {
	handedOver := false
	defer func() {
		t.release(c)
		if !handedOver {
			_ = c.Close()
		}
	}()
	_ = c.SetDeadline(time.Now().Add(headerTimeout))
	var length [1]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return
	}
	name := make([]byte, length[0])
	if _, err := io.ReadFull(c, name); err != nil {
		return
	}
	switch t.route(string(name), local) {
	case toUs:
		_ = c.SetDeadline(time.Time{})
		select {
		case t.streams <- c:
			handedOver = true
		case <-t.ctx.Done():
		}
	case toSibling:
		t.relay(c, string(name))
	case toNobody:
	}
}

// relay passes a connection on to a sibling, until either side ends it.
func (t *transport) relay(c net.Conn, name string) {
	d := net.Dialer{Timeout: headerTimeout}
	sibling, err := d.DialContext(t.ctx, "tcp", t.loopback(name).String())
	if err != nil || !t.hold(sibling) {
		return
	}
	defer func() {
		t.release(sibling)
		_ = sibling.Close()
	}()
	latest := time.Now().Add(relayTimeout)
	_ = c.SetDeadline(latest)
	_ = sibling.SetDeadline(latest)
	if _, err := sibling.Write(header(name)); err != nil {
		return
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(c, sibling)
		_ = c.SetReadDeadline(time.Now()) // the sibling has said all, so has the peer
	}()
	_, _ = io.Copy(sibling, c)
	_ = sibling.(*net.TCPConn).CloseWrite()
	<-back
}

// hold notes a connection so that Shutdown can close it; false means that it was closed, because that has happened or
// there are too many.
func (t *transport) hold(c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil || len(t.conns) >= maxPending {
		_ = c.Close()
		return false
	}
	t.conns[c] = struct{}{}
	return true
}

func (t *transport) release(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
}

// FinalAdvertiseAddr returns where other members find this one.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.address.Addr().AsSlice(), int(t.address.Port()), nil
}

// WriteToAddress sends a packet.
func (t *transport) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	at, err := netip.ParseAddrPort(to.Addr)
	if err != nil {
		return time.Time{}, err
	}
	_, err = t.sockets[0].udp.WriteToUDPAddrPort(append(header(to.Name), b...), at)
	return time.Now(), err
}

// WriteTo sends a packet to whoever has the address.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// DialAddressTimeout opens a connection.
func (t *transport) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	c, err := d.DialContext(t.ctx, "tcp", to.Addr)
	if err != nil {
		return nil, err
	}
	if to.Name == "" {
		t.lastReached.Store(time.Now().UnixNano())
	}
	_ = c.SetDeadline(time.Now().Add(timeout)) // memberlist sets its own afterwards
	if _, err := c.Write(header(to.Name)); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// DialTimeout opens a connection to whoever has the address.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// PacketCh is where received packets come out.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh is where accepted connections come out.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown closes everything that was not handed over.
func (t *transport) Shutdown() error {
	t.mu.Lock()
	t.end()
	for c := range t.conns {
		_ = c.Close()
	}
	t.mu.Unlock()
	t.closeSockets()
	t.loops.Wait()
	return nil
}

func (t *transport) closeSockets() {
	for _, s := range t.sockets {
		if s.tcp != nil {
			_ = s.tcp.Close()
			_ = s.udp.Close()
		}
	}
}
