package udp_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/bfdtest"
	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/internal/l2/l2test"
)

// pair brings a session up between a Server here and one in a process on the host.
func pair(t *testing.T, h *l2test.Host, here, there udp.Session) (*udp.Server, *bfdtest.Client) {
	t.Helper()
	c, _ := spawn(t, h)
	if _, err := c.Sync(there); err != nil {
		t.Fatal(err)
	}
	s := server(t)
	sync(t, s, here)
	all(t, "the session is Up", s.Status, settled)
	return s, c
}

// spoof sends a packet from the host.
func spoof(t *testing.T, h *l2test.Host, from, to netip.Addr, port uint16, ttl int, p bfd.Packet) {
	t.Helper()
	h.Inside(t, func() error {
		c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, port)))
		if err != nil {
			return err
		}
		defer c.Close()
		if to.Is4() {
			err = ipv4.NewConn(c).SetTTL(ttl)
		} else {
			err = ipv6.NewConn(c).SetHopLimit(ttl)
		}
		if err == nil {
			_, err = c.Write(p.Append(nil))
		}
		return err
	})
}

func TestASpoofedPacketChangesNothing(t *testing.T) {
	h := lan(t)
	h.IP(t, "addr add 192.0.2.66/24 dev eth0")
	for name, at := range map[string]struct{ us, peer netip.Addr }{"IPv4": {us4, peer4}, "IPv6": {us6, peer6}} {
		t.Run(name, func(t *testing.T) {
			s, _ := pair(t, h, session(at.peer, at.us), session(at.us, at.peer))
			before := s.Status()[0]
			for _, state := range []bfd.State{bfd.AdminDown, bfd.Down} {
				for _, yours := range []uint32{before.Discriminator, 0} {
					spoof(t, h, at.peer, at.us, udp.PortSingleHop, 64, bfd.Packet{
						State: state, Multiplier: 3, Mine: before.Remote.Discriminator, Yours: yours,
						DesiredMinTx: time.Second, RequiredMinRx: time.Second,
					})
				}
			}
			l2test.Eventually(t, soon, "four packets are dropped", func() bool { return s.Status()[0].Dropped[bfd.DropTTL] == 4 })
			if at.us.Is4() {
				p := bfd.Packet{State: bfd.Down, Multiplier: 3, Mine: 7, Yours: before.Discriminator, DesiredMinTx: time.Second}
				spoof(t, h, netip.MustParseAddr("192.0.2.66"), at.us, udp.PortSingleHop, 255, p)
				spoof(t, h, at.peer, at.us, udp.PortSingleHop, 255, bfd.Packet{State: bfd.Down, Multiplier: 3, Mine: 7, Yours: before.Discriminator ^ 1})
				l2test.Eventually(t, soon, "the wrong address is dropped", func() bool { return s.Status()[0].Dropped[bfd.DropAddress] == 1 })
				l2test.Eventually(t, soon, "the unknown discriminator is dropped", func() bool { return s.Dropped()[bfd.DropUnknown] == 1 })
			}
			st := s.Status()[0]
			if st.State != bfd.Up || st.Downs != 0 || st.Remote != before.Remote {
				t.Errorf("it is %+v, it was %+v", st, before)
			}
		})
	}
}

func TestMultihopTakesWhatTheProfileSays(t *testing.T) {
	h := lan(t)
	here, there := session(peer4, us4), session(us4, peer4)
	here.Multihop, there.Multihop, here.MinimumTTL = true, true, 250
	s, _ := pair(t, h, here, there)
	before := s.Status()[0]
	p := bfd.Packet{State: bfd.Up, Multiplier: 3, Mine: before.Remote.Discriminator, Yours: before.Discriminator, DesiredMinTx: time.Second}
	spoof(t, h, peer4, us4, udp.PortMultihop, 249, p)
	l2test.Eventually(t, soon, "a hop too many is dropped", func() bool { return s.Status()[0].Dropped[bfd.DropTTL] == 1 })
	spoof(t, h, peer4, us4, udp.PortMultihop, 250, p)
	l2test.Eventually(t, soon, "the farthest is taken", func() bool {
		return s.Status()[0].Remote.DesiredMinTx == time.Second || s.Status()[0].Received > before.Received+20
	})
	spoof(t, h, peer4, us4, udp.PortSingleHop, 255, p) // nobody listens there
	if st := s.Status()[0]; st.State != bfd.Up || st.Dropped[bfd.DropTTL] != 1 {
		t.Errorf("%+v", st)
	}
}

// TestWhatIsOnTheWire: RFC 5881 sections 4 and 5, and DSCP CS6.
func TestWhatIsOnTheWire(t *testing.T) {
	h := lan(t)
	type seen struct {
		from       netip.AddrPort
		ttl, class int
	}
	for name, at := range map[string]struct{ us, peer netip.Addr }{"IPv4": {us4, peer4}, "IPv6": {us6, peer6}} {
		t.Run(name, func(t *testing.T) {
			got := make(chan seen, 2)
			h.Inside(t, func() error {
				c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at.peer, udp.PortSingleHop)))
				if err != nil {
					return err
				}
				t.Cleanup(func() { _ = c.Close() })
				raw, err := c.SyscallConn()
				if err != nil {
					return err
				}
				var set error
				err = raw.Control(func(fd uintptr) {
					if at.us.Is4() {
						set = errors.Join(syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_RECVTTL, 1), syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_RECVTOS, 1))
					} else {
						set = errors.Join(syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_RECVHOPLIMIT, 1), syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_RECVTCLASS, 1))
					}
				})
				go func() {
					for range 2 {
						b, oob := make([]byte, 100), make([]byte, 100)
						_, n, _, from, err := c.ReadMsgUDPAddrPort(b, oob)
						if err != nil {
							return
						}
						s := seen{from: from}
						messages, _ := syscall.ParseSocketControlMessage(oob[:n])
						for _, m := range messages {
							switch m.Header.Type {
							case syscall.IP_TTL, syscall.IPV6_HOPLIMIT:
								s.ttl = int(m.Data[0])
							case syscall.IP_TOS, syscall.IPV6_TCLASS:
								s.class = int(m.Data[0])
							}
						}
						got <- s
					}
				}()
				return errors.Join(err, set)
			})
			s := server(t)
			sync(t, s, session(at.peer, at.us))
			first, second := <-got, <-got
			for _, g := range []seen{first, second} {
				if g.ttl != 255 || g.class != 0xc0 || g.from.Addr().Unmap() != at.us || g.from.Port() < 49152 || g.from.Port() != first.from.Port() {
					t.Errorf("%+v", g)
				}
			}
		})
	}
}

func TestAnotherProgramHasThePort(t *testing.T) {
	lan(t)
	c, err := net.ListenPacket("udp4", ":3784")
	if err != nil {
		t.Fatal(err)
	}
	s := server(t)
	out, err := s.Sync([]udp.Session{session(peer4, us4), session(peer6, us6)})
	if !errors.Is(err, syscall.EADDRINUSE) || len(out) != 2 {
		t.Errorf("%v, %+v", err, out)
	}
	for _, st := range s.Status() {
		if (st.Err != nil) != st.Peer.Is4() {
			t.Errorf("%s: %v", st.Name(), st.Err)
		}
	}
	_ = c.Close()
	all(t, "the session begins by itself", s.Status, func(st udp.Status) bool { return st.Err == nil && st.Sent > 0 })
}

func TestWhatIsNotASession(t *testing.T) {
	lan(t)
	s := server(t)
	good := session(peer4, us4)
	for name, spoil := range map[string]func(*udp.Session){
		"no peer":                      func(w *udp.Session) { w.Peer = netip.Addr{} },
		"two families":                 func(w *udp.Session) { w.Local = us6 },
		"a group":                      func(w *udp.Session) { w.Peer = netip.MustParseAddr("224.0.0.1") },
		"link-local without interface": func(w *udp.Session) { w.Peer, w.Local = netip.MustParseAddr("fe80::1"), netip.Addr{} },
		"no interval":                  func(w *udp.Session) { w.Receive = 0 },
		"twice":                        func(*udp.Session) {},
		"twice, mapped":                func(w *udp.Session) { w.Peer = netip.MustParseAddr("::ffff:192.0.2.2") },
	} {
		bad := good
		spoil(&bad)
		out, err := s.Sync([]udp.Session{good, bad})
		if err == nil || len(out) != 1 || out[0].Key != good.Key || out[0].Err != nil {
			t.Errorf("%s: %v, %+v", name, err, out)
		}
	}
	missing := session(netip.MustParseAddr("fe80::1%lan9"), netip.Addr{})
	out, err := s.Sync([]udp.Session{missing, good})
	if err == nil || len(out) != 2 || out[1].Err == nil {
		t.Errorf("an interface that is not there: %v, %+v", err, out)
	}
}

// TestDevices: sockets of several devices have one port. The kernel here may have no VRF; an interface does as well.
func TestDevices(t *testing.T) {
	h := lan(t)
	h.IP(t, "addr add 192.0.2.3/24 dev eth0")
	c, _ := spawn(t, h)
	other := netip.MustParseAddr("192.0.2.3")
	if _, err := c.Sync(session(us4, peer4), session(us4, other), session(us6, peer6)); err != nil {
		t.Fatal(err)
	}
	inside, inside6 := session(other, us4), session(peer6, us6)
	inside.VRF, inside6.VRF = "lan0", "lan0"
	missing := session(peer4, us4)
	missing.VRF = "lan9"
	s := server(t)
	if out, err := s.Sync([]udp.Session{inside, inside6, missing}); err == nil || len(out) != 3 {
		t.Errorf("%v, %+v", err, out)
	}
	sync(t, s, inside, inside6)
	all(t, "the sessions of a device are Up", s.Status, isUp)
	sync(t, s, session(peer4, us4), inside, inside6)
	all(t, "one without a device begins beside them", s.Status, func(st udp.Status) bool { return st.Err == nil && st.Sent > 0 })
}

func TestASecondSyncDoesNothing(t *testing.T) {
	h := lan(t)
	s, _ := pair(t, h, session(peer4, us4), session(us4, peer4))
	before := s.Status()[0]
	for range 5 {
		sync(t, s, session(peer4, us4))
	}
	after := s.Status()[0]
	if after.Discriminator != before.Discriminator || after.Since != before.Since || after.Polling || after.Sent > before.Sent+2 {
		t.Errorf("%+v, then %+v", before, after)
	}
	// Not wanted, and wanted again before the peer's Detection Time is over: the same session, that was AdminDown.
	if _, err := s.Sync(nil); err != nil {
		t.Error(err)
	}
	sync(t, s, session(peer4, us4))
	all(t, "it is Up again", s.Status, isUp)
}

func TestClosed(t *testing.T) {
	lan(t)
	s := udp.New(udp.Options{})
	shut(t, s)
	if _, err := s.Sync([]udp.Session{session(peer4, us4)}); !errors.Is(err, udp.ErrClosed) {
		t.Error(err)
	}
	s = udp.New(udp.Options{})
	sync(t, s, session(peer4, us4))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	start := time.Now()
	if err := s.Close(ctx); err != nil || time.Since(start) > soon {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	if out := s.Status(); out != nil {
		t.Errorf("%+v", out)
	}
}
