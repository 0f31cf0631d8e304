package udp_test

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/bfdtest"
	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/internal/l2/l2test"
)

// statuses asks a process.
func statuses(t *testing.T, c *bfdtest.Client) func() []udp.Status {
	return func() []udp.Status { return ask(t, c, bfdtest.Request{Op: "Status"}).Status }
}

// TestTakeover: two processes want the same sessions. The second sends nothing while the first lives. When the first ends,
// in whatever way, the second goes on with its sessions; the peer, FRR, never sees a Down.
func TestTakeover(t *testing.T) {
	h := lan(t, "/usr/lib/frr/bfdd", "vtysh")
	f := startFRR(t, h)
	for _, peer := range []string{"192.0.2.1 local-address 192.0.2.2 interface eth0", "2001:db8::1 local-address 2001:db8::2 interface eth0"} {
		f.do(t, "peer "+peer, "receive-interval 100", "transmit-interval 100", "detect-multiplier 10")
	}
	wanted := []udp.Session{session(peer4, us4), session(peer6, us6)}
	for i := range wanted {
		wanted[i].Multiplier = 10 // a second, for a busy machine
	}
	first, cmd := spawn(t, nil)
	ask(t, first, bfdtest.Request{Op: "Sync", Sessions: wanted})
	before := all(t, "both are Up", statuses(t, first), settled)

	for _, end := range []string{"it is killed", "it closes"} {
		second, secondCmd := spawn(t, nil)
		ask(t, second, bfdtest.Request{Op: "Sync", Sessions: wanted})
		waiting := func(s udp.Status) bool { return s.Waiting && s.Sent == 0 && s.Err == nil }
		all(t, "the second waits", statuses(t, second), waiting)
		third, thirdCmd := spawn(t, nil) // and one that is not even next
		ask(t, third, bfdtest.Request{Op: "Sync", Sessions: wanted})
		time.Sleep(300 * time.Millisecond)
		all(t, "the third waits", statuses(t, third), waiting)
		all(t, "the second still waits", statuses(t, second), waiting)
		for _, s := range statuses(t, first)() {
			if s.Downs != 0 || !isUp(s) {
				t.Errorf("the first: %+v", s)
			}
		}
		_ = thirdCmd.Process.Kill()

		start := time.Now()
		if end == "it is killed" {
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		} else {
			ask(t, first, bfdtest.Request{Op: "Close"})
		}
		l2test.Eventually(t, soon, "the second has them", func() bool { return !statuses(t, second)()[0].Waiting })
		took := time.Since(start)
		for i, s := range all(t, "the second is Up", statuses(t, second), settled) {
			if s.Discriminator != before[i].Discriminator || s.Downs != 0 || s.Ups != 1 {
				t.Errorf("%s: it was %+v, it is %+v", end, before[i], s)
			}
		}
		if n := f.counter(t, "session-down"); n != 0 {
			t.Errorf("%s: FRR counts %d downs", end, n)
		}
		t.Logf("%s: taken over after %v", end, took)
		first, cmd = second, secondCmd
	}

	// The last one ends alone: AdminDown, and no failure.
	ask(t, first, bfdtest.Request{Op: "Close", Within: 5 * time.Second})
	f.peersAre(t, "FRR has heard of the end", func(p frrPeer) bool { return p.Status == "down" })
}

// TestTakeoverOfOtherSessions: what only the first wanted ends with AdminDown, what only the second wants begins.
func TestTakeoverOfOtherSessions(t *testing.T) {
	h := lan(t)
	peer, _ := spawn(t, h)
	a, b := session(us4, peer4), session(us6, peer6)
	ask(t, peer, bfdtest.Request{Op: "Sync", Sessions: []udp.Session{a, b}})
	first, cmd := spawn(t, nil)
	ask(t, first, bfdtest.Request{Op: "Sync", Sessions: []udp.Session{session(peer4, us4)}})
	all(t, "the first is Up", statuses(t, first), settled)
	second := server(t)
	sync(t, second, session(peer6, us6))
	all(t, "the second waits", second.Status, func(s udp.Status) bool { return s.Waiting })
	time.Sleep(200 * time.Millisecond) // until it has the table
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	all(t, "its own is Up", second.Status, settled)
	l2test.Eventually(t, soon, "the peer has heard that the other has ended", func() bool {
		for _, s := range statuses(t, peer)() {
			if s.Peer == us4 {
				return s.State == bfd.Down && s.LastDownDiagnostic == bfd.NeighborSignaledDown
			}
		}
		return false
	})
	for _, c := range peer.Changes() {
		if c.Change.Failed {
			t.Errorf("%+v", c.Change)
		}
	}
	for _, c := range second.Changes() {
		if c.Peer != peer6 {
			t.Errorf("the second is told of what it does not want: %+v", c)
		}
	}
}

// TestAStoppedProcess: a process that is stopped for several Detection Times, and whose peer is patient, finds packets in
// its sockets when it goes on, and judges nobody.
func TestAStoppedProcess(t *testing.T) {
	h := lan(t)
	peer, _ := spawn(t, h)
	us, cmd := spawn(t, nil)
	var here, there []udp.Session
	for _, at := range [][2]netip.Addr{{us4, peer4}, {us6, peer6}} {
		patient := session(at[1], at[0])
		patient.Multiplier = 200 // as long as the peer waits for this end: 20 s
		here, there = append(here, patient), append(there, session(at[0], at[1]))
	}
	for i := range there {
		there[i].Multiplier = 3
	}
	ask(t, peer, bfdtest.Request{Op: "Sync", Sessions: there})
	ask(t, us, bfdtest.Request{Op: "Sync", Sessions: here})
	for _, s := range all(t, "both are Up", statuses(t, us), settled) {
		if s.DetectionTime != 300*time.Millisecond {
			t.Errorf("%+v", s)
		}
	}
	for range 3 {
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		for _, s := range statuses(t, us)() {
			if !isUp(s) || s.Downs != 0 {
				t.Errorf("%+v", s)
			}
		}
	}
}
