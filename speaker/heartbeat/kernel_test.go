package heartbeat

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/internal/l2/l2test"
)

func TestMain(m *testing.M) {
	l2test.Main(m, (*testing.M).Run)
}

func TestTheKernelOfANodeSaysWhetherItIsThere(t *testing.T) {
	l2test.Require(t)
	h := l2test.NewHost(t)
	h.Connect(t, "lan0", "eth0")
	for _, family := range []struct{ own, peer, bits string }{{"192.0.2.1", "192.0.2.2", "/24"}, {"2001:db8::1", "2001:db8::2", "/64 nodad"}} {
		l2test.IP(t, "addr add "+family.own+family.bits+" dev lan0")
		h.IP(t, "addr add "+family.peer+family.bits+" dev eth0")
		own, peer := netip.MustParseAddr(family.own), netip.MustParseAddr(family.peer)
		is := func(what string, want func(error) bool) {
			t.Helper()
			var err error
			l2test.Eventually(t, 10*time.Second, family.peer+": "+what, func() bool {
				err = ask(t.Context(), own, peer)
				return want(err)
			})
			t.Logf("%s, %s: %v", family.peer, what, err)
		}
		nobody := func(err error) bool { return errors.Is(err, errNobody) }

		is("a node without a speaker", nobody)
		var speaker *net.UDPConn
		h.Inside(t, func() (err error) {
			speaker, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer, port)))
			return err
		})
		is("a speaker that says nothing", func(err error) bool { return err == nil })
		if err := ask(t.Context(), own, peer); err != nil {
			t.Errorf("asked again: %v", err)
		}
		_ = speaker.Close()
		is("it has ended", nobody)
		h.IP(t, "link set eth0 down")
		is("its cable is cut", func(err error) bool { return err != nil && !nobody(err) })
		h.IP(t, "link set eth0 up")
	}
}

// what a test's kernels answer.
type kernels struct {
	asked  atomic.Int32
	answer atomic.Pointer[error]
}

func (k *kernels) say(err error) { k.answer.Store(&err) }

func TestWhoIsNotHeardIsAskedForFirst(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.2")
	k := &kernels{}
	k.say(nil)
	h := New(udp.New(udp.Options{}), netip.MustParseAddr("192.0.2.1"), time.Millisecond, slog.New(slog.DiscardHandler))
	defer h.Close()
	h.kernel = func(context.Context, netip.Addr, netip.Addr) error {
		k.asked.Add(1)
		return *k.answer.Load()
	}
	says := func(what string, want map[netip.Addr]bool) {
		t.Helper()
		select {
		case <-h.Changed():
		case <-time.After(10 * time.Second):
			t.Fatal("nothing is said of one that " + what)
		}
		if got := h.Changes(); !maps.Equal(got, want) {
			t.Errorf("one that %s: %v, not %v", what, got, want)
		}
	}
	askedAgain := func() {
		t.Helper()
		n := k.asked.Load()
		l2test.Eventually(t, 10*time.Second, "asked again and again", func() bool { return k.asked.Load() > n+2 })
	}

	h.Ask(peer)
	l2test.Eventually(t, 10*time.Second, "asked once", func() bool { return k.asked.Load() == 1 })
	time.Sleep(20 * time.Millisecond)
	if n, got := k.asked.Load(), h.Changes(); n != 1 || len(got) > 0 {
		t.Errorf("for one that another node does not hear, asked %d times, and said %v", n, got)
	}
	h.follow([]udp.Change{{Key: udp.Key{Peer: peer}, From: bfd.Init, To: bfd.Up}})
	says("is heard", map[netip.Addr]bool{peer: true})
	k.say(errNobody)
	h.Ask(peer) // who hears it need not
	h.follow([]udp.Change{{Key: udp.Key{Peer: peer}, From: bfd.Up, To: bfd.Down, Diagnostic: bfd.NeighborSignaledDown}})
	if n, got := k.asked.Load(), h.Changes(); n != 1 || len(got) > 0 {
		t.Errorf("for one that is heard, asked %d times, and said %v", n-1, got)
	}
	h.Ask(peer)
	says("is not there, and was not heard", map[netip.Addr]bool{peer: false})

	k.say(nil)
	h.take(map[netip.Addr]bool{peer: false})
	askedAgain()
	if got := h.Changes(); len(got) > 0 {
		t.Errorf("said of one whose kernel answers: %v", got)
	}
	h.take(map[netip.Addr]bool{peer: true})
	says("is heard again", map[netip.Addr]bool{peer: true})

	h.take(map[netip.Addr]bool{peer: false})
	h.take(map[netip.Addr]bool{peer: false})
	askedAgain()
	k.say(errNobody)
	says("is not there any more", map[netip.Addr]bool{peer: false})
	n := k.asked.Load()
	time.Sleep(20 * time.Millisecond)
	if k.asked.Load() != n {
		t.Error("asked for one that is known to be gone")
	}
	h.take(map[netip.Addr]bool{peer: false})
	says("is still not there", map[netip.Addr]bool{peer: false})

	k.say(nil)
	h.take(map[netip.Addr]bool{peer: false})
	askedAgain() // and while it is asked for, the end comes
}
