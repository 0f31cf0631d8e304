package heartbeat

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

const (
	// A node is asked so often, one after the other, and so long waited for each answer.
	rounds = 3
	round  = 33 * time.Millisecond
	// drain is how long to look for an answer that has come while this process had no processor.
	drain = 5 * time.Millisecond
	// port that the other end hears heartbeats at (RFC 5881 section 4).
	port = 3784
)

// errNobody: the node is there, and nobody listens at its port.
var errNobody = errors.New("its kernel says that no speaker is there")

// ask asks the kernel of another node whether it is there, which it says whatever its processes do: by an echo (RFC 792, RFC
// 4443 section 4.1), and by a datagram to the port of heartbeats, which is refused where no speaker is left. It returns nil if
// the node is there with a speaker, and why not otherwise.
func ask(ctx context.Context, own, peer netip.Addr) error {
	echo, err := newEcho(own, peer)
	if err != nil {
		return fmt.Errorf("cannot ask its kernel: %w", err)
	}
	defer echo.conn.Close()
	knock, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(own, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer, port)))
	if err != nil {
		return fmt.Errorf("cannot ask its kernel: %w", err)
	}
	defer knock.Close()
	refused := func() bool { _, err := knock.Write([]byte{0}); return errors.Is(err, unix.ECONNREFUSED) }
	for i := range rounds {
		if refused() {
			return errNobody
		}
		answered, err := echo.ask(i, time.Now().Add(round))
		if err == nil && !answered && i == rounds-1 {
			answered, err = echo.hear(time.Now().Add(drain))
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("cannot ask its kernel: %w", err)
		case answered && refused():
			return errNobody
		case answered:
			return nil
		}
	}
	return errors.New("its kernel does not answer")
}

// echo is a conversation of echoes.
type echo struct {
	conn  *icmp.PacketConn
	peer  netip.Addr
	kind  icmp.Type
	reply icmp.Type
	token []byte
}

func newEcho(own, peer netip.Addr) (*echo, error) {
	e := &echo{peer: peer, kind: ipv4.ICMPTypeEcho, reply: ipv4.ICMPTypeEchoReply, token: make([]byte, 8)}
	network := "ip4:icmp"
	if peer.Is6() {
		network, e.kind, e.reply = "ip6:ipv6-icmp", ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	_, _ = rand.Read(e.token) // it never fails
	var err error
	e.conn, err = icmp.ListenPacket(network, own.String())
	return e, err
}

// ask sends one and waits for the answer to any.
func (e *echo) ask(number int, until time.Time) (answered bool, err error) {
	m := icmp.Message{Type: e.kind, Body: &icmp.Echo{ID: int(e.token[0]), Seq: number, Data: e.token}}
	b, err := m.Marshal(nil)
	if err != nil {
		return false, err
	}
	_, _ = e.conn.WriteTo(b, &net.IPAddr{IP: e.peer.AsSlice(), Zone: e.peer.Zone()}) // what cannot be sent is not answered
	return e.hear(until)
}

// hear waits for an answer. The socket hears all echoes of this machine.
func (e *echo) hear(until time.Time) (answered bool, err error) {
	b := make([]byte, 512)
	if err := e.conn.SetReadDeadline(until); err != nil {
		return false, err
	}
	for {
		n, from, err := e.conn.ReadFrom(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false, nil
		case err != nil:
			return false, err
		}
		m, err := icmp.ParseMessage(e.kind.Protocol(), b[:n])
		if err != nil || m.Type != e.reply {
			continue
		}
		body, ok := m.Body.(*icmp.Echo)
		if at, isIP := from.(*net.IPAddr); ok && isIP && at.IP.Equal(e.peer.AsSlice()) && bytes.Equal(body.Data, e.token) {
			return true, nil
		}
	}
}
