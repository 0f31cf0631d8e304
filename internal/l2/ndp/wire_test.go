package ndp

import (
	"bufio"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/packet"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/l2test"
	"metallb.io/operator/internal/l2/responder"
)

var stamp = regexp.MustCompile(`^[0-9]+\.[0-9]+`)

// watchWire returns what tcpdump makes of the messages that the client sees, a line each; the channel closes with it.
func watchWire(t *testing.T, h *l2test.Host) <-chan string {
	t.Helper()
	out := make(chan string, 1000)
	sc := bufio.NewScanner(h.Start(t, "tcpdump --immediate-mode -l -n -e -tt -vv -i eth0 ip6[6] == 58 and (ip6[40] == 135 or ip6[40] == 136)"))
	go func() {
		defer close(out)
		var message string
		for sc.Scan() {
			if line := sc.Text(); strings.TrimSpace(line) == line { // else it goes on with the line before
				message = ""
			}
			message += sc.Text()
			if strings.Contains(message, "link-address option") {
				out <- message
				message = ""
			}
		}
	}()
	// tcpdump says on standard error that it listens; a message seen says it better.
	l2test.Eventually(t, 10*time.Second, "tcpdump sees messages", func() bool {
		h.Run("ip -6 neigh flush dev eth0")
		ask(t, h, "2001:db8::ffff")
		select {
		case <-out:
			return true
		case <-time.After(20 * time.Millisecond):
			return false
		}
	})
	untilSilent(t, out)
	return out
}

// untilSilent waits until there was no message for longer than the client's kernel takes to ask again.
func untilSilent(t *testing.T, seen <-chan string) {
	t.Helper()
	l2test.Eventually(t, 10*time.Second, "the wire is silent", func() bool {
		select {
		case <-seen:
			return false
		case <-time.After(300 * time.Millisecond):
			return true
		}
	})
}

// rawClient returns a function that sends a frame from the client.
func rawClient(t *testing.T, h *l2test.Host) func([]byte) {
	t.Helper()
	var c *packet.Conn
	h.Inside(t, func() error {
		there, err := net.InterfaceByName("eth0")
		if err == nil {
			c, err = packet.Listen(there, packet.Raw, 0, nil)
		}
		return err
	})
	t.Cleanup(func() { _ = c.Close() })
	return func(b []byte) {
		if _, err := c.WriteTo(b, &packet.Addr{HardwareAddr: b[:6]}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheClaimOnTheWire(t *testing.T) {
	h, r, _ := lan(t, "tcpdump")
	seen := watchWire(t, h)
	us := ifi(t, "lan0")
	start := time.Now()
	syncOK(t, r, []l2.Interface{us}, entries("2001:db8::10"))
	for i, due := range l2.Claim[:4] {
		var line string
		select {
		case line = <-seen:
		case <-time.After(3 * time.Second):
			t.Fatalf("round %d does not come", i)
		}
		sec, err := strconv.ParseFloat(stamp.FindString(line), 64)
		if err != nil {
			t.Fatalf("no time in %q", line)
		}
		if after := time.UnixMicro(int64(sec * 1e6)).Sub(start.Truncate(time.Microsecond)); after < due-5*time.Millisecond || after > due+300*time.Millisecond {
			t.Errorf("round %d after %v, due after %v", i, after, due)
		}
		expect(t, line, us.HardwareAddr().String()+" > 33:33:00:00:00:01", "hlim 255", "2001:db8::10 > ff02::1:", "[icmp6 sum ok]",
			"neighbor advertisement", "length 32", "tgt is 2001:db8::10", "Flags [override]",
			"destination link-address option (2), length 8 (1): "+us.HardwareAddr().String())
	}
}

func expect(t *testing.T, line string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(line, p) {
			t.Errorf("%q is missing in %q", p, line)
		}
	}
}

// observed is the link that Responders have opened.
type observed struct {
	*link
	silent atomic.Bool // makes no more claims
}

func (o *observed) Claim(a netip.Addr) ([][]byte, error) {
	if o.silent.Load() {
		return nil, nil
	}
	return o.link.Claim(a)
}

// observe returns the link that is opened next.
func observe(r *Responders) *observed {
	o := &observed{}
	r.all.Open = func(p place) (responder.Link, error) {
		l, err := r.link(p)
		o.link, _ = l.(*link)
		return o, err
	}
	return o
}

// endClaims waits for the first round of the claims and suppresses the others, so that answers are seen by themselves.
func (o *observed) endClaims(t *testing.T, m *count, addresses int) {
	t.Helper()
	sent := func() int { return m.all()[2] }
	l2test.Eventually(t, 10*time.Second, "the first round", func() bool { return sent() >= addresses })
	o.silent.Store(true)
	l2test.Eventually(t, 10*time.Second, "the end of a round that was under way", func() bool {
		before := sent()
		time.Sleep(100 * time.Millisecond)
		return sent() == before
	})
}

// Solicitations as other systems send them; tcpdump judges the answers.
func TestAnswersOnTheWire(t *testing.T) {
	h, r, m := lan(t, "tcpdump")
	seen := watchWire(t, h)
	us := ifi(t, "lan0")
	o := observe(r)
	syncOK(t, r, []l2.Interface{us}, entries("2001:db8::10"))
	o.endClaims(t, m, 1)
	untilSilent(t, seen)
	send := rawClient(t, h)
	for name, c := range map[string]struct {
		ask  func(*packetOf)
		want []string
	}{
		"to the group": {func(*packetOf) {}, []string{"> 02:00:00:00:00:99,", "> fe80::99:", "Flags [solicited, override]"}},
		"by unicast": {func(p *packetOf) { p.to, p.destination = us.HardwareAddr().String(), "2001:db8::10" },
			[]string{"> 02:00:00:00:00:99,", "> fe80::99:", "Flags [solicited, override]"}},
		"by unicast without the option": {func(p *packetOf) { p.to, p.destination, p.options = us.HardwareAddr().String(), "2001:db8::10", "" },
			[]string{"> 02:00:00:00:00:99,", "> fe80::99:", "Flags [solicited, override]"}},
		"a probe for duplicates": {func(p *packetOf) { p.source, p.options = "::", "" },
			[]string{"> 33:33:00:00:00:01,", "> ff02::1:", "Flags [override]"}},
	} {
		send(asked().with(c.ask).bytes(t))
		line := <-seen
		for !strings.Contains(line, "neighbor advertisement") {
			line = <-seen // our own solicitation
		}
		expect(t, name+": "+line, append(c.want, "[icmp6 sum ok]", "hlim 255", "tgt is 2001:db8::10",
			"destination link-address option (2), length 8 (1): "+us.HardwareAddr().String())...)
	}
}

func TestTheFilterKeepsForeignFramesOut(t *testing.T) {
	h, r, m := lan(t)
	us := ifi(t, "lan0")
	reads := make(chan []byte, 100)
	r.net.listen = func(i l2.Interface) (conn, error) {
		c, err := listen(i)
		return l2test.Counted{Conn: c, Reads: reads}, err
	}
	l2test.IP(t, "link set lan0 promisc on")
	syncOK(t, r, []l2.Interface{us}, entries("2001:db8::10"))
	send := rawClient(t, h)
	vlan := func(f []byte) []byte {
		return append(append(append([]byte{}, f[:12]...), 0x81, 0, 0, 5), f[12:]...)
	}
	foreign := map[string][]byte{
		"to another station":      asked().with(func(p *packetOf) { p.to = "02:00:00:00:00:77" }).bytes(t),
		"in a VLAN":               vlan(asked().bytes(t)),
		"passed on by a router":   asked().with(func(p *packetOf) { p.hops = 254 }).bytes(t),
		"another code":            asked().with(func(p *packetOf) { p.code = 1 }).bytes(t),
		"a router's solicitation": asked().with(func(p *packetOf) { p.kind = 133 }).bytes(t),
		"behind another header":   asked().with(func(p *packetOf) { p.next = 0 }).bytes(t),
		"for another address":     asked().with(func(p *packetOf) { p.target = "2001:db8::1:10" }).bytes(t),
	}
	claim := toldAll().with(func(p *packetOf) { p.from, p.options = "02:00:00:00:00:77", "0201020000000077" }).bytes(t)
	good := asked().with(func(p *packetOf) { p.options = "0101020000000098" }).bytes(t)
	for _, f := range foreign {
		send(f)
	}
	send(claim)
	send(good) // comes last, so the others were dealt with before
	if d := cmp.Diff([][]byte{claim}, readUntil(t, reads, good)); d != "" {
		t.Errorf("let in: %s", d)
	}
	l2test.Eventually(t, 10*time.Second, "the good one is answered", func() bool { return m.all()[1] == 1 })
	if got := m.all(); got[0] != 1 {
		t.Errorf("%d requests counted, want 1", got[0])
	}
}

// readUntil returns the frames let in before the last one. The client's kernel asks for our addresses too.
func readUntil(t *testing.T, reads <-chan []byte, last []byte) (before [][]byte) {
	t.Helper()
	for {
		select {
		case f := <-reads:
			if string(f) == string(last) {
				return before
			}
			before = append(before, f)
		case <-time.After(time.Second):
			t.Fatal("the last frame was not let in")
		}
	}
}

func TestAYieldedAddressIsAnsweredUntilAnotherStationClaimsIt(t *testing.T) {
	h, r, _ := lan(t)
	us := []l2.Interface{ifi(t, "lan0")}
	answered := func(what, address string, want bool) {
		t.Helper()
		if resolves(t, h, address, us[0].HardwareAddr()) != want {
			t.Errorf("%s: %s answered is not %v", what, address, want)
		}
	}
	syncOK(t, r, us, entries("2001:db8::10", "2001:db8::11"))
	syncOK(t, r, us, yielded("2001:db8::10", "2001:db8::11"))
	answered("nobody else is there", "2001:db8::10", true)

	sibling := New(&count{}, quiet)
	syncOK(t, sibling, us, entries("2001:db8::10", "2001:db8::11"))
	answered("another process on the node", "2001:db8::10", true)
	sibling.Close()
	answered("it is gone", "2001:db8::10", true)

	successor := toldAll().with(func(p *packetOf) { p.from, p.options = "02:00:00:00:00:77", "0201020000000077" })
	rawClient(t, h)(successor.bytes(t))
	l2test.Eventually(t, 10*time.Second, "the address is the successor's", func() bool { return len(r.Running()) == 1 })
	answered("claimed", "2001:db8::10", false)
	answered("not claimed", "2001:db8::11", true)
	syncOK(t, r, us, nil)
	answered("time is up", "2001:db8::11", false)
}
