package udp

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/l2/l2test"
)

// far is a peer that the test plays itself, on the loopback.
type far struct {
	t    *testing.T
	fd   int
	to   unix.SockaddrInet4
	mine uint32
}

func (f *far) send(p bfd.Packet) {
	f.t.Helper()
	p.Mine, p.Multiplier, p.DesiredMinTx, p.RequiredMinRx = f.mine, 3, 100*time.Millisecond, 100*time.Millisecond
	if err := unix.Sendto(f.fd, p.Append(nil), 0, &f.to); err != nil {
		f.t.Fatal(err)
	}
}

// up makes a session with such a peer that is Up, with a Detection Time of 300 ms. The engine's thread is not running: the
// test lets it make a pass when it wants one.
func up(t *testing.T) (*engine, *session, *far) {
	t.Helper()
	l2test.Require(t)
	us, peer := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	e := newEngine(New(Options{}))
	e.place = owner
	t.Cleanup(e.close)
	w := Session{Key: Key{Peer: peer, Local: us}, Settings: bfd.Settings{Transmit: 100 * time.Millisecond, Receive: 100 * time.Millisecond, Multiplier: 3}}
	if _, err := e.apply([]Session{w}, time.Now()); err != nil {
		t.Fatal(err)
	}
	s := e.sessions[w.Key]
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: peer.As4()})
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, 255)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	f := &far{t: t, fd: fd, to: unix.SockaddrInet4{Port: PortSingleHop, Addr: us.As4()}, mine: 7}
	for _, state := range []bfd.State{bfd.Down, bfd.Init, bfd.Up} {
		f.send(bfd.Packet{State: state, Yours: s.machine.Discriminator(), Final: state == bfd.Up})
	}
	e.pass(time.Now())
	if st := s.machine.Status(); st.State != bfd.Up || st.DetectionTime != 300*time.Millisecond {
		t.Fatalf("%+v", st)
	}
	return e, s, f
}

// TestPacketsThatWaitAreLife: the thread had no processor for much longer than the Detection Time, and finds packets.
func TestPacketsThatWaitAreLife(t *testing.T) {
	e, s, f := up(t)
	for range 8 {
		f.send(bfd.Packet{State: bfd.Up, Yours: s.machine.Discriminator()})
	}
	time.Sleep(500 * time.Millisecond) // with nobody reading
	e.pass(time.Now())
	if st := s.machine.Status(); st.State != bfd.Up || st.Downs != 0 || st.Received != 11 {
		t.Fatalf("%+v", st)
	}
	// Late again, and nothing waits. A little more, for packets that are on their way.
	late := time.Now().Add(time.Hour)
	e.pass(late)
	if st := s.machine.Status(); st.State != bfd.Up {
		t.Fatalf("no packet was waited for: %+v", st)
	}
	e.pass(late.Add(grace - time.Millisecond))
	if st := s.machine.Status(); st.State != bfd.Up {
		t.Fatalf("it was waited for too short a time: %+v", st)
	}
	e.pass(late.Add(grace))
	if st := s.machine.Status(); st.State != bfd.Down || st.LastDownDiagnostic != bfd.DetectionTimeExpired {
		t.Fatalf("a peer that is silent is Up: %+v", st)
	}
	if changes := e.server.Changes(); len(changes) != 1 || !changes[0].Failed || changes[0].To != bfd.Down {
		t.Errorf("%+v", changes)
	}
}

// TestAFloodDoesNotStopTheTimers: what waits when the loop begins to read is read; what comes meanwhile may be left.
func TestAFloodDoesNotStopTheTimers(t *testing.T) {
	e, s, f := up(t)
	f.mine = 8
	before := s.machine.Status().Sent
	for i := range uint32(2000) { // more than the batches' size, less than the queue
		f.send(bfd.Packet{State: bfd.Down, Yours: i | 1<<31})
	}
	e.pass(time.Now().Add(150 * time.Millisecond))
	if e.dropped[bfd.DropUnknown] < 1000 || s.machine.Status().Sent == before {
		t.Errorf("%d dropped, %d sent, before %d", e.dropped[bfd.DropUnknown], s.machine.Status().Sent, before)
	}
}

func TestChangesAreMergedAndNeverLost(t *testing.T) {
	s := New(Options{})
	k := Key{Peer: netip.MustParseAddr("192.0.2.2")}
	s.report(Change{Key: k, From: bfd.Up, To: bfd.Down, Failed: true})
	s.report(Change{Key: Key{}, From: bfd.Down, To: bfd.Init})
	s.report(Change{Key: k, From: bfd.Down, To: bfd.Init})
	s.report(Change{Key: k, From: bfd.Init, To: bfd.Up})
	<-s.Changed()
	out := s.Changes()
	if len(out) != 2 || out[0].Key != k || out[0].From != bfd.Up || out[0].To != bfd.Up || !out[0].Failed || out[1].To != bfd.Init {
		t.Errorf("%+v", out)
	}
	if out := s.Changes(); len(out) != 0 {
		t.Errorf("%+v", out)
	}
	select {
	case <-s.Changed():
		t.Error("signalled again")
	default:
	}
}

// TestDiscriminators: unpredictable, and never the same twice.
func TestDiscriminators(t *testing.T) {
	e := newEngine(New(Options{}))
	var ones [32]int
	for range 4000 {
		n := e.discriminator()
		if n == 0 || e.byNumber[n] != nil {
			t.Fatal(n)
		}
		e.byNumber[n] = &session{}
		for i := range ones {
			ones[i] += int(n >> i & 1)
		}
	}
	for i, n := range ones {
		if n < 1600 || n > 2400 { // 12 standard deviations
			t.Errorf("bit %d is set %d times of 4000", i, n)
		}
	}
}

// FuzzReceive: whatever a socket brings is taken or dropped.
func FuzzReceive(f *testing.F) {
	p := bfd.Packet{State: bfd.Up, Multiplier: 3, Mine: 7, Yours: 1, DesiredMinTx: time.Second}
	f.Add(p.Append(nil), uint8(255), []byte{192, 0, 2, 2}, []byte{192, 0, 2, 1}, false)
	f.Add(p.Append(nil), uint8(64), []byte{192, 0, 2, 2}, []byte{}, true)
	f.Fuzz(func(t *testing.T, data []byte, ttl uint8, from, to []byte, multihop bool) {
		e := newEngine(New(Options{}))
		e.place = owner
		for _, hops := range []bool{false, true} {
			w, _ := canonical(Session{Key: Key{Peer: netip.MustParseAddr("192.0.2.2"), Multihop: hops}, Settings: bfd.Settings{Transmit: 1, Receive: 1, Multiplier: 3}})
			s := &session{want: w, position: -1, via: &transmitter{fd: -1}}
			e.sessions[w.Key] = s
			if err := e.locate(s); err != nil {
				t.Fatal(err)
			}
			number := uint32(1)
			if hops {
				number = 2
			}
			e.register(s, bfd.New(number, w.Settings, func() float64 { return 0.5 }, time.Now()))
		}
		a, _ := netip.AddrFromSlice(from)
		b, _ := netip.AddrFromSlice(to)
		e.receive(kind{Multihop: multihop}, received{data: data, from: a, to: b, ttl: int(ttl)}, time.Now())
		for _, s := range e.sessions {
			if s.machine.State() != bfd.Down && (a != s.at.peer || !multihop && ttl != 255 || multihop && ttl < 254 || multihop != s.at.multihop) {
				t.Fatalf("%s is %s", s.want.Name(), s.machine.State())
			}
		}
	})
}

// TestControlMessages: what is laid out here for the kernel is what the kernel means by it.
func TestControlMessages(t *testing.T) {
	name, n := destination(netip.MustParseAddr("192.0.2.2"), 3784, 0)
	if n != unix.SizeofSockaddrInet4 || address(&name) != netip.MustParseAddr("192.0.2.2") {
		t.Errorf("%d %v", n, name)
	}
	ll := netip.MustParseAddr("fe80::1")
	name, _ = destination(ll, 3784, 7)
	if address(&name) != ll || name.Scope_id != 7 {
		t.Errorf("%v", name)
	}
	if source(netip.Addr{}, ll, 0) != nil {
		t.Error("a control message that says nothing")
	}
	h, data, _, err := unix.ParseOneSocketControlMessage(source(ll, ll, 7))
	if err != nil || h.Type != unix.IPV6_PKTINFO || netip.AddrFrom16([16]byte(data[:16])) != ll || binary.NativeEndian.Uint32(data[16:]) != 7 {
		t.Errorf("%v %v %v", h, data, err)
	}
}
