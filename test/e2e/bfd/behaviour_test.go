package bfd

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// kind is a router and how it is spoken to.
type kind struct {
	name  string
	start func(*bench)
	// slower makes the router's own interval of all sessions 400 ms.
	slower func(*bench)
	// down says whether none of its sessions with us is up.
	down func(*bench) bool
	// adminDown and back are for all sessions with us; nil where the router cannot.
	adminDown, back func(*bench)
}

var kinds = []kind{
	{
		name: "FRR", start: (*bench).startFRR,
		slower: func(b *bench) { b.eachFRRPeer("receive-interval 400", "transmit-interval 400") },
		down: func(b *bench) bool {
			text := b.vtysh("show bfd peers brief")
			for _, p := range paces {
				for _, a := range p.addresses(ours) {
					for line := range strings.Lines(text) {
						if f := strings.Fields(line); len(f) > 3 && f[2] == a.String() && f[3] == "up" {
							return false
						}
					}
				}
			}
			return true
		},
		adminDown: func(b *bench) { b.eachFRRPeer("shutdown") },
		back:      func(b *bench) { b.eachFRRPeer("no shutdown") },
	},
	{
		name: "BIRD", start: (*bench).startBIRD,
		slower: func(b *bench) { b.reconfigure(400 * time.Millisecond) },
		down: func(b *bench) bool {
			return !strings.Contains(b.exec(lab.Router, "birdc -s /run/bird.ctl show bfd sessions"), " Up ")
		},
	},
}

func (b *bench) eachFRRPeer(lines ...string) {
	b.t.Helper()
	all := []string{"configure terminal", "bfd"}
	for _, p := range paces {
		for i, a := range p.addresses(ours) {
			all = append(append(all, fmt.Sprintf("peer %s local-address %s interface eth0", a, p.addresses(routers)[i])), append(lines, "exit")...)
		}
	}
	b.vtysh(all...)
}

func TestWithARouter(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			b := start(t)
			k.start(b)
			b.want(nil)
			b.want(b.wanted(nil))
			b.until("all sessions to be Up", settled)
			before := b.counts()

			b.want(b.wanted(func(s *udp.Session) { s.Transmit, s.Receive = 250*time.Millisecond, 350*time.Millisecond }))
			b.until("our timers to be agreed on", func(s udp.Status) bool {
				return !s.Polling && s.DetectionTime >= 3*350*time.Millisecond && s.TransmitInterval >= 250*time.Millisecond
			})
			k.slower(b)
			b.until("their timers to be agreed on", func(s udp.Status) bool {
				return s.TransmitInterval == 400*time.Millisecond && s.DetectionTime == 3*400*time.Millisecond
			})
			b.spoof()
			if after := b.counts(); after != before {
				t.Errorf("ups and downs were %v before the timers changed and are %v now", before, after)
			}
			b.adminDowns(k)
		})
	}
}

// counts are how often sessions came up and went down.
func (b *bench) counts() (sum [2]uint64) {
	b.t.Helper()
	reply, err := b.Status()
	b.must(err)
	for _, s := range reply.Status {
		sum[0] += s.Ups
		sum[1] += s.Downs
	}
	return sum
}

func (b *bench) adminDowns(k kind) {
	b.t.Helper()
	told := len(b.Changes())
	b.want(b.wanted(func(s *udp.Session) { s.AdminDown = true }))
	b.must(product.Until(b.within(), "the router to see our AdminDown", func() (bool, error) { return k.down(b), nil }))
	b.want(b.wanted(nil))
	b.until("all to be Up again", func(s udp.Status) bool { return s.State == bfd.Up })
	if k.adminDown == nil {
		b.t.Logf("%s has no way to be AdminDown itself", k.name)
	} else {
		k.adminDown(b)
		b.until("all to be Down", func(s udp.Status) bool {
			return s.State == bfd.Down && s.Remote.State == bfd.AdminDown && s.LastDownDiagnostic == bfd.NeighborSignaledDown
		})
		k.back(b)
		b.until("all to be Up once more", func(s udp.Status) bool { return s.State == bfd.Up })
	}
	for _, c := range b.Changes()[told:] {
		if c.Change.Failed {
			b.t.Errorf("AdminDown counts as a failure: %+v", c.Change)
		}
	}
}

// spoof sends what would end every session, were it not for its TTL: from a machine on the LAN with the router's address.
func (b *bench) spoof() {
	b.t.Helper()
	before, err := b.Status()
	b.must(err)
	for _, s := range before.Status {
		for _, state := range []bfd.State{bfd.AdminDown, bfd.Down} {
			p := bfd.Packet{State: state, Multiplier: 3, Mine: s.Remote.Discriminator, Yours: s.Discriminator, DesiredMinTx: time.Second, RequiredMinRx: time.Second}
			b.must(b.InNamespace(lab.Client, func() error { return forge(s.Peer, s.Local, 64, p.Append(nil)) }))
		}
	}
	b.until("the forged packets to be dropped", func(s udp.Status) bool { return s.Dropped[bfd.DropTTL] >= 2 })
	after, err := b.Status()
	b.must(err)
	for i, s := range after.Status {
		if was := before.Status[i]; s.State != bfd.Up || s.Downs != was.Downs || s.Remote != was.Remote || s.Since != was.Since {
			b.t.Errorf("%s was %+v, it is %+v", s.Name(), was.Status, s.Status)
		}
	}
}

// forge sends a packet from an address that is another machine's.
func forge(from, to netip.Addr, ttl int, packet []byte) error {
	dialer := net.Dialer{
		LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 49999)),
		Control: func(_, _ string, c syscall.RawConn) (err error) {
			failed := c.Control(func(fd uintptr) {
				if to.Is4() {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1)
				} else {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, 1)
				}
				if err == nil && to.Is4() {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, ttl)
				} else if err == nil {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, ttl)
				}
			})
			if failed != nil {
				return failed
			}
			return err
		},
	}
	c, err := dialer.Dial("udp", netip.AddrPortFrom(to, udp.PortSingleHop).String())
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write(packet)
	return err
}
