package arp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/responder"
)

type conn = responder.Conn

// listen opens a packet socket for ARP on an interface. It lets nothing in before Admit is called.
func listen(ifi l2.Interface) (conn, error) {
	f, err := filter(nil)
	if err != nil {
		return nil, err
	}
	c, err := packet.Listen(&net.Interface{Index: ifi.Index, Name: ifi.Name, HardwareAddr: ifi.HardwareAddr()},
		packet.Raw, unix.ETH_P_ARP, &packet.Config{Filter: f})
	if err != nil {
		return nil, err
	}
	if err := responder.Enlarge(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// link speaks ARP on an interface.
type link struct {
	l2.Interface
	conn
}

func (l *link) Destination(frame []byte) net.Addr {
	return &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])}
}

func (l *link) Target(frame []byte) (netip.Addr, bool) { return targetOf(frame) }

func (l *link) Answer(frame []byte) (reply []byte, rival bool, err error) {
	r, ok := parse(frame)
	if !ok {
		return nil, false, nil
	}
	if r.announcement() {
		return nil, !bytes.Equal(r.senderMAC, l.MAC[:]), nil
	}
	reply, err = answer(r, l.HardwareAddr())
	return reply, false, err
}

func (l *link) Sender(frame []byte) (netip.Addr, bool) { return senderOf(frame) }

func (l *link) Station(frame []byte) (mac [6]byte, ok bool) { return stationOf(frame) }

func (l *link) Question(a netip.Addr) ([]byte, error) { return probe(a, l.HardwareAddr()) }

func (l *link) Claim(a netip.Addr) ([][]byte, error) { return gratuitous(a, l.HardwareAddr()) }

// Admit replaces the socket's filter. The kernel does that at once; what has been let in by the one before is read all the same.
func (l *link) Admit(addresses []l2.Range) error {
	f, err := filter(addresses)
	if err != nil {
		return err
	}
	return l.SetBPF(f)
}

// Join has nothing to do: requests are broadcast.
func (l *link) Join([]netip.Addr) error { return nil }
