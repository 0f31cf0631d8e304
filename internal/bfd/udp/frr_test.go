package udp_test

import (
	"net/netip"
	"testing"
	"time"

	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/internal/l2/l2test"
)

// withFRR brings sessions up with bfdd over IPv4, IPv6, link-local addresses and multihop.
func withFRR(t *testing.T) (*frr, *udp.Server, []udp.Session) {
	t.Helper()
	h := lan(t, "/usr/lib/frr/bfdd", "vtysh")
	f := startFRR(t, h)
	ll, ours := linkLocal(t, h), ourLinkLocal(t)
	multihop := session(netip.MustParseAddr("192.0.2.2"), us4)
	multihop.Multihop = true
	sessions := []udp.Session{session(peer4, us4), session(peer6, us6), session(ll, ours), multihop}
	for _, peer := range []string{
		"192.0.2.1 local-address 192.0.2.2 interface eth0", "2001:db8::1 local-address 2001:db8::2 interface eth0",
		ours.String() + " local-address " + ll.WithZone("").String() + " interface eth0", "192.0.2.1 multihop local-address 192.0.2.2",
	} {
		f.do(t, "peer "+peer, "receive-interval 200", "transmit-interval 200", "detect-multiplier 7")
	}
	s := server(t)
	sync(t, s, sessions...)
	all(t, "all four sessions are Up", s.Status, settled)
	f.peersAre(t, "FRR says so too", func(p frrPeer) bool { return p.Status == "up" })
	return f, s, sessions
}

func TestWithFRR(t *testing.T) {
	f, s, sessions := withFRR(t)
	for _, st := range s.Status() {
		if st.DetectionTime != 7*200*time.Millisecond || st.TransmitInterval != 200*time.Millisecond || st.Remote.Multiplier != 7 {
			t.Errorf("%s: detection %v, transmit %v, remote %+v", st.Name(), st.DetectionTime, st.TransmitInterval, st.Remote)
		}
	}

	t.Run("our timers change", func(t *testing.T) {
		for i := range sessions {
			sessions[i].Transmit, sessions[i].Receive, sessions[i].Multiplier = 700*time.Millisecond, 400*time.Millisecond, 4
		}
		sync(t, s, sessions...)
		all(t, "the polls are answered", s.Status, func(st udp.Status) bool {
			return !st.Polling && st.TransmitInterval == 700*time.Millisecond && st.DetectionTime == 7*400*time.Millisecond
		})
		f.peersAre(t, "FRR has the new timers", func(p frrPeer) bool {
			return p.RemoteTransmit == 700 && p.RemoteReceive == 400 && p.RemoteMultiplier == 4
		})
	})
	t.Run("their timers change", func(t *testing.T) {
		for _, p := range []string{"192.0.2.1 local-address 192.0.2.2 interface eth0", "2001:db8::1 local-address 2001:db8::2 interface eth0"} {
			f.do(t, "peer "+p, "receive-interval 900", "transmit-interval 500", "detect-multiplier 6")
		}
		all(t, "both are agreed on", s.Status, func(st udp.Status) bool {
			return st.Multihop || st.Peer.Zone() != "" || st.TransmitInterval == 900*time.Millisecond && st.DetectionTime == 6*500*time.Millisecond
		})
	})
	t.Run("nothing was reset", func(t *testing.T) {
		for _, st := range s.Status() {
			if st.Ups != 1 || st.Downs != 0 || st.State != bfd.Up {
				t.Errorf("%s: %d ups, %d downs", st.Name(), st.Ups, st.Downs)
			}
		}
		if n := f.counter(t, "session-down"); n != 0 {
			t.Errorf("FRR counts %d downs", n)
		}
	})
	s.Changes()

	t.Run("we are AdminDown", func(t *testing.T) {
		adminDown(t, s, sessions, func() {
			f.peersAre(t, "FRR is down", func(p frrPeer) bool { return p.Status == "down" })
		})
		s.Changes()
	})
	t.Run("they are AdminDown", func(t *testing.T) {
		const p = "192.0.2.1 local-address 192.0.2.2 interface eth0"
		f.do(t, "peer "+p, "shutdown")
		all(t, "the session is Down", s.Status, func(st udp.Status) bool {
			return st.Key != sessions[0].Key || st.State == bfd.Down && st.Remote.State == bfd.AdminDown && st.LastDownDiagnostic == bfd.NeighborSignaledDown
		})
		for _, c := range s.Changes() {
			if c.Failed {
				t.Errorf("AdminDown counts as a failure: %+v", c)
			}
		}
		f.do(t, "peer "+p, "no shutdown")
		all(t, "all are Up again", s.Status, isUp)
	})
	t.Run("the path fails", func(t *testing.T) {
		s.Changes()
		f.h.IP(t, "link set eth0 down")
		all(t, "all are Down", s.Status, func(st udp.Status) bool {
			return st.State == bfd.Down && st.LastDownDiagnostic == bfd.DetectionTimeExpired && st.Remote.Discriminator == 0
		})
		failed := 0
		for _, c := range s.Changes() {
			if c.Failed && c.From == bfd.Up && c.To == bfd.Down {
				failed++
			}
		}
		if failed != len(sessions) {
			t.Errorf("%d of %d sessions are reported as failed", failed, len(sessions))
		}
	})
	t.Run("a session that is not wanted any more", func(t *testing.T) {
		f.h.IP(t, "link set eth0 up")
		f.h.IP(t, "addr add 2001:db8::2/64 dev eth0 nodad") // the kernel forgets those of an interface that is down
		all(t, "IPv4 is Up again", s.Status, func(st udp.Status) bool { return st.Peer.Is6() || isUp(st) })
		sync(t, s)
		f.peersAre(t, "FRR has heard of the end", func(p frrPeer) bool { return p.Status == "down" })
		if len(s.Status()) != 0 {
			t.Errorf("%+v", s.Status())
		}
	})
}

func TestPassiveWithFRR(t *testing.T) {
	h := lan(t, "/usr/lib/frr/bfdd", "vtysh")
	f := startFRR(t, h)
	s := server(t)
	w := session(peer4, us4)
	w.Passive = true
	sync(t, s, w)
	time.Sleep(300 * time.Millisecond)
	if st := s.Status()[0]; st.Sent != 0 {
		t.Errorf("sent %d packets before it was spoken to", st.Sent)
	}
	f.do(t, "peer 192.0.2.1 local-address 192.0.2.2 interface eth0")
	all(t, "the session is Up", s.Status, isUp)
	l2test.Eventually(t, soon, "FRR says so too", func() bool { return f.peers(t)[0].Status == "up" })
}
