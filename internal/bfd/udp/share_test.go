package udp_test

import (
	"net/netip"
	"testing"
	"time"

	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/internal/l2/l2test"
)

// TestSharesOfAServer has two users with a session each on one Server, with a peer that answers both.
func TestSharesOfAServer(t *testing.T) {
	h := lan(t)
	peer, _ := spawn(t, h)
	theirs := []udp.Session{session(us4, peer4), session(us6, peer6)}
	if _, err := peer.Sync(theirs...); err != nil {
		t.Fatal(err)
	}
	shares := udp.Divide(server(t))
	defer shares.Close()
	first, second := shares.Share(), shares.Share()
	for s, to := range map[*udp.Share][2]netip.Addr{first: {peer4, us4}, second: {peer6, us6}} {
		if _, err := s.Sync([]udp.Session{session(to[0], to[1])}); err != nil {
			t.Fatal(err)
		}
	}
	up := func(s *udp.Share) bool { st := s.Status(); return len(st) == 1 && st[0].State == bfd.Up }
	l2test.Eventually(t, soon, "both are Up", func() bool { return up(first) && up(second) })
	first.Changes()
	second.Changes()

	if _, err := first.Sync(nil); err != nil {
		t.Fatal(err)
	}
	if len(first.Status()) != 0 || !up(second) {
		t.Errorf("%+v, %+v", first.Status(), second.Status())
	}
	if _, err := peer.Sync(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-second.Changed():
	case <-time.After(soon):
		t.Fatal("the second user does not hear of the end of its session")
	}
	for _, c := range second.Changes() {
		if c.Peer != peer6 {
			t.Errorf("hears of %+v", c)
		}
	}
	if all := first.Changes(); len(all) > 0 {
		t.Errorf("the first user hears of %+v", all)
	}
}
