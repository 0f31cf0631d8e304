package product

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"metallb.io/operator/test/lab"
)

// Claim is a frame by which a machine says unasked that an address is its own: an ARP packet about its sender's own address
// (gratuitous ARP: RFC 5227, section 3), or an unsolicited neighbour advertisement (RFC 4861, section 7.2.6).
type Claim struct {
	At      time.Time
	MAC     string
	Address netip.Addr
}

// HearClaims calls heard for each claim that is sent on the LAN until ctx ends. It hears whoever sends it: at the switch.
func (p *Product) HearClaims(ctx context.Context, heard func(Claim)) error {
	var c *packet.Conn
	err := p.InNamespace(lab.Switch, func() error {
		nic, err := net.InterfaceByName("br-" + lab.LAN.String())
		if err == nil {
			c, err = packet.Listen(nic, packet.Raw, unix.ETH_P_ALL, nil)
		}
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	end := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Now()) })
	defer end()
	for b := make([]byte, 2048); ; {
		n, _, err := c.ReadFrom(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		if claim, ok := claimed(b[:n]); ok {
			claim.At = time.Now()
			heard(claim)
		}
	}
}

func claimed(b []byte) (Claim, bool) {
	var f ethernet.Frame
	if f.UnmarshalBinary(b) != nil {
		return Claim{}, false
	}
	c := Claim{MAC: f.Source.String()}
	switch f.EtherType {
	case ethernet.EtherTypeARP:
		var a arp.Packet
		if a.UnmarshalBinary(f.Payload) != nil {
			return c, false
		}
		c.Address = a.SenderIP
		return c, a.SenderIP == a.TargetIP
	case ethernet.EtherTypeIPv6:
		// An advertisement right after the IPv6 header: its type, and after the checksum its flags (Solicited is the second) and
		// the address (RFC 4861, section 4.4).
		const nextHeader, icmp, flags, target, length = 6, 40, 44, 48, 64
		if len(f.Payload) < length || f.Payload[nextHeader] != unix.IPPROTO_ICMPV6 || f.Payload[icmp] != 136 {
			return c, false
		}
		c.Address = netip.AddrFrom16([16]byte(f.Payload[target:length]))
		return c, f.Payload[flags]&0x40 == 0
	}
	return c, false
}
