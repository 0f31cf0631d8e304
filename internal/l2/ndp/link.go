package ndp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/responder"
)

type conn = responder.Conn

// listen opens a packet socket for neighbour solicitations and advertisements on an interface. It lets nothing in before
// Admit is called.
func listen(ifi l2.Interface) (conn, error) {
	f, err := filter(nil)
	if err != nil {
		return nil, err
	}
	c, err := packet.Listen(&net.Interface{Index: ifi.Index, Name: ifi.Name, HardwareAddr: ifi.HardwareAddr()},
		packet.Raw, unix.ETH_P_IPV6, &packet.Config{Filter: f})
	if err != nil {
		return nil, err
	}
	if err := responder.Enlarge(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// link speaks NDP at a place.
type link struct {
	place
	conn
	groups  groups
	members []netip.Addr // the addresses for which all groups are joined
}

func (l *link) Destination(frame []byte) net.Addr {
	return &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])}
}

func (l *link) Target(frame []byte) (netip.Addr, bool) { return targetOf(frame) }

func (l *link) Answer(frame []byte) (reply []byte, rival bool, err error) {
	m, ok := parse(frame)
	switch {
	case !ok:
		return nil, false, nil
	case m.advertisement:
		return nil, m.mac != l.MAC, nil
	}
	return answer(m, l.place), false, nil
}

func (l *link) Sender(frame []byte) (netip.Addr, bool) { return senderOf(frame) }

func (l *link) Station(frame []byte) (mac [6]byte, ok bool) {
	m, ok := parse(frame)
	return m.mac, ok
}

func (l *link) Question(a netip.Addr) ([]byte, error) { return solicitation(a, l.place), nil }

func (l *link) Claim(a netip.Addr) ([][]byte, error) { return [][]byte{unsolicited(a, l.place)}, nil }

// Admit replaces the socket's filter. The kernel does that at once; what has been let in by the one before is read all the same.
func (l *link) Admit(addresses []l2.Range) error {
	f, err := filter(addresses)
	if err != nil {
		return err
	}
	return l.SetBPF(f)
}

// Join makes the interface a member of the addresses' solicited-node groups. An address whose group cannot be joined is
// answered all the same, to those who ask by unicast at least.
func (l *link) Join(addresses []netip.Addr) error {
	if slices.Equal(addresses, l.members) {
		return nil
	}
	wanted := make(map[netip.Addr]bool, len(addresses))
	for _, a := range addresses {
		wanted[groupOf(a)] = true
	}
	missing, err := l.groups.set(wanted)
	if missing > 0 {
		l.members = nil
		return fmt.Errorf("cannot join %d of %d solicited-node groups: %w", missing, len(wanted), err)
	}
	l.members = addresses
	return nil
}

// Close closes the socket and leaves all groups.
func (l *link) Close() error {
	l.groups.close()
	return l.conn.Close()
}
