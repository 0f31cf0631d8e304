package ndp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/l2test"
	"metallb.io/operator/internal/l2/responder"
)

func TestSync(t *testing.T) {
	r, k, m := newResponders(t)
	both := []l2.Interface{eth0, eth1}
	check := func(what string, interfaces []l2.Interface, wanted, running []l2.Entry, opened ...string) {
		t.Helper()
		k.opened = nil
		got, err := r.Sync(interfaces, wanted)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if d := cmp.Diff(running, got, addrEqual); d != "" {
			t.Errorf("%s: running: %s", what, d)
		}
		bag := map[string]int{}
		for _, n := range k.opened {
			bag[n]++
		}
		for _, n := range opened {
			bag[n]--
		}
		for n, c := range bag {
			if c != 0 {
				t.Errorf("%s: %s opened %d times too often", what, n, c)
			}
		}
		if len(k.joined) != len(groupsOf(running)) {
			t.Errorf("%s: groups %v are joined for %v", what, k.joined, running)
		}
	}
	check("no socket without an IPv6 address", both, entries("192.0.2.1"), entries())
	if len(k.watches) != 0 {
		t.Error("addresses are watched for nothing")
	}
	check("an address for all and one for an interface", both, entries("2001:db8::1", "2001:db8::2@eth1"),
		entries("2001:db8::1@eth0,eth1", "2001:db8::2@eth1"), "eth0", "eth1")
	l2test.Eventually(t, 10*time.Second, "three advertisements at once", func() bool { return m.all()[2] == 3 })
	check("a second time nothing happens", both, entries("2001:db8::1", "2001:db8::2@eth1"),
		entries("2001:db8::1@eth0,eth1", "2001:db8::2@eth1"))
	check("two addresses of a group share it", both[:1], entries("2001:db8::1", "2001:db8:1::1"), entries("2001:db8::1@eth0", "2001:db8:1::1@eth0"))
	check("the group stays for the other", both[:1], entries("2001:db8:1::1"), entries("2001:db8:1::1@eth0"))
	check("more than a socket's groups", both[:1], entries("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"),
		entries("2001:db8::1@eth0", "2001:db8::2@eth0", "2001:db8::3@eth0", "2001:db8::4@eth0"))
	again := eth0
	again.Index = 9
	check("an interface made anew gets another socket", []l2.Interface{again}, entries("2001:db8::1"), entries("2001:db8::1@eth0"), "eth0")
	check("an entry on an interface that is not here does not run", []l2.Interface{again}, entries("2001:db8::1@eth5"), entries())
}

func groupsOf(running []l2.Entry) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, e := range running {
		out[groupOf(e.Address)] = true
	}
	return out
}

func TestSyncIsIdempotent(t *testing.T) {
	r, k, m := newResponders(t)
	for range 5 {
		if _, err := r.Sync([]l2.Interface{eth0}, entries("2001:db8::1", "2001:db8::2")); err != nil {
			t.Fatal(err)
		}
	}
	l2test.Eventually(t, 10*time.Second, "a round for each address", func() bool { return m.all()[2] >= 2 })
	time.Sleep(30 * time.Millisecond)
	if m.all()[2] != 2 || len(k.opened) != 1 || len(k.watches) != 1 || k.sockets != 1 {
		t.Errorf("five times the same: %d advertisements, opened %v, %d watches, %d sockets", m.all()[2], k.opened, len(k.watches), k.sockets)
	}
}

func TestAnInterfaceThatCannotBeOpenedLeavesTheOthers(t *testing.T) {
	r, k, _ := newResponders(t)
	k.refuse["eth1"] = os.ErrPermission
	got, err := r.Sync([]l2.Interface{eth0, eth1}, entries("2001:db8::1"))
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "eth1") {
		t.Errorf("error %v does not name the interface and the cause", err)
	}
	if d := cmp.Diff(entries("2001:db8::1@eth0"), got, addrEqual); d != "" {
		t.Error(d)
	}
	delete(k.refuse, "eth1")
	if got, err = r.Sync([]l2.Interface{eth0, eth1}, entries("2001:db8::1")); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(entries("2001:db8::1@eth0,eth1"), got, addrEqual); d != "" {
		t.Error(d)
	}
}

func TestAGroupThatCannotBeJoinedIsReportedAndTriedAgain(t *testing.T) {
	r, k, m := newResponders(t)
	k.refused["ff02::1:ff00:2"] = unix.EINVAL
	check := func() error {
		t.Helper()
		got, err := r.Sync([]l2.Interface{eth0}, entries("2001:db8::1", "2001:db8::2", "2001:db8::3"))
		if d := cmp.Diff(entries("2001:db8::1@eth0", "2001:db8::2@eth0", "2001:db8::3@eth0"), got, addrEqual); d != "" {
			t.Error(d)
		}
		return err
	}
	for range 2 {
		if err := check(); !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "eth0") || !strings.Contains(err.Error(), "1 of 3") {
			t.Errorf("error %v does not say where and what", err)
		}
	}
	delete(k.refused, "ff02::1:ff00:2")
	if err := check(); err != nil || len(k.joined) != 3 {
		t.Errorf("joined %v, error %v", k.joined, err)
	}
	l2test.Eventually(t, 10*time.Second, "each is claimed once", func() bool { return m.all()[2] == 3 })
}

func TestASocketThatDiesIsReportedAndReplaced(t *testing.T) {
	r, k, _ := newResponders(t)
	if _, err := r.Sync([]l2.Interface{eth0}, entries("2001:db8::1")); err != nil {
		t.Fatal(err)
	}
	k.last["eth0"].broken <- unix.ENETDOWN
	signalled(t, r)
	if d := cmp.Diff(entries(), r.Running(), addrEqual); d != "" {
		t.Errorf("a dead socket counts as running: %s", d)
	}
	got, err := r.Sync([]l2.Interface{eth0}, entries("2001:db8::1"))
	if err != nil || len(k.opened) != 2 {
		t.Errorf("opened %v, error %v", k.opened, err)
	}
	if d := cmp.Diff(entries("2001:db8::1@eth0"), got, addrEqual); d != "" {
		t.Error(d)
	}
}

func signalled(t *testing.T, r *Responders) {
	t.Helper()
	select {
	case <-r.Failed():
	case <-time.After(time.Second):
		t.Fatal("no signal")
	}
}

func TestLinkLocalAddresses(t *testing.T) {
	r, k, _ := newResponders(t)
	delete(k.linkLocals, "eth1")
	both, want := []l2.Interface{eth0, eth1}, entries("2001:db8::1")
	check := func(what string, running []l2.Entry) {
		t.Helper()
		got, err := r.Sync(both, want)
		if d := cmp.Diff(running, got, addrEqual); d != "" || err != nil {
			t.Errorf("%s: %v %s", what, err, d)
		}
	}
	check("an interface without one is left out", entries("2001:db8::1@eth0"))
	if d := cmp.Diff([]string{"eth0", "eth1"}, k.watches[0].names); d != "" {
		t.Errorf("watched: %s", d)
	}
	k.linkLocals["eth1"] = "fe80::2"
	k.watches[0].changed()
	signalled(t, r)
	check("it gets one", entries("2001:db8::1@eth0,eth1"))
	k.linkLocals["eth0"] = "fe80::77"
	check("one changes", entries("2001:db8::1@eth0,eth1"))
	if f := <-k.last["eth0"].out; netip.AddrFrom16([16]byte(f[offsetTarget:])) != want[0].Address {
		t.Errorf("after the change this was sent: %x", f)
	}
	delete(k.linkLocals, "eth1")
	check("it goes away", entries("2001:db8::1@eth0"))
	k.watches[0].dead = true
	check("the watch has died", entries("2001:db8::1@eth0"))
	if len(k.watches) != 2 || !k.watches[0].closed {
		t.Error("a dead watch was not replaced")
	}
}

func TestAYieldedAddressEndsWithTheFirstClaimOfAnotherStation(t *testing.T) {
	r, k, _ := newResponders(t)
	sync := func(e []l2.Entry) {
		t.Helper()
		if _, err := r.Sync([]l2.Interface{eth0}, e); err != nil {
			t.Fatal(err)
		}
	}
	sync(entries("2001:db8::10", "2001:db8::11"))
	advertise := func(mac string) {
		p := toldAll()
		p.options, p.source = "0201"+mac, "fe80::77"
		k.last["eth0"].in <- p.bytes(t)
		k.last["eth0"].in <- asked().bytes(t) // read after the advertisement was dealt with
	}
	sync(append(entries("2001:db8::11"), yielded("2001:db8::10")...))
	advertise("020000000001")
	if n := len(r.Running()); n != 2 {
		t.Fatalf("our own advertisement, or that of another process on this node, ended an address: %d run", n)
	}
	advertise("020000000099")
	l2test.Eventually(t, 10*time.Second, "the address is given up", func() bool {
		return cmp.Equal(entries("2001:db8::11@eth0"), r.Running(), addrEqual)
	})
}

func BenchmarkServe(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(map[int]string{1: "1 address", 10_000: "10000 addresses"}[n], func(b *testing.B) {
			r := responder.NewResponder(here, &link{place: here, conn: &discard{}}, responder.Protocol{Meter: &count{}, Log: quiet})
			answered := []netip.Addr{ourIP}
			for a := netip.MustParseAddr("2001:db8:1::"); len(answered) < n; a = a.Next() {
				answered = append(answered, a)
			}
			if err := r.Set(answered, nil, time.Now()); err != nil {
				b.Fatal(err)
			}
			f := asked().bytes(b)
			for b.Loop() {
				r.Serve(f)
			}
		})
	}
}

type discard struct{ wire }

func (*discard) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }
