package arp

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/l2test"
	"metallb.io/operator/internal/l2/responder"
)

func TestMain(m *testing.M) {
	l2test.Main(m, (*testing.M).Run)
}

// lan is a node (the test's namespace, interface lan0) and a client with the kernel's own ARP.
func lan(t *testing.T, tools ...string) (*l2test.Host, *Responders) {
	l2test.Require(t, tools...)
	h := l2test.NewHost(t)
	h.Connect(t, "lan0", "eth0")
	h.IP(t, "addr add 192.0.2.99/24 dev eth0")
	l2test.IP(t, "addr add 192.0.2.1/24 dev lan0")
	r := New(&count{}, quiet)
	t.Cleanup(r.Close)
	return h, r
}

// ifi is an interface of the test's namespace as it is now.
func ifi(t *testing.T, name string) l2.Interface {
	t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l2.Interface{Name: name, Index: i.Index, MAC: [6]byte(i.HardwareAddr)}
}

func syncOK(t *testing.T, r *Responders, interfaces []l2.Interface, e []l2.Entry) {
	t.Helper()
	if _, err := r.Listen(interfaces); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Sync(e); err != nil {
		t.Fatal(err)
	}
}

var fromMAC = regexp.MustCompile(`\[([0-9A-F:]{17})\]\s+([0-9.]+)ms`)

// arping asks once from the client and returns the hardware address that answered and the time it took; "" is silence.
func arping(h *l2test.Host, options, address string) (mac, took string) {
	out, _ := h.Run("arping -c 1 -w 1 -I eth0 " + options + " " + address)
	if m := fromMAC.FindStringSubmatch(out); m != nil {
		return strings.ToLower(m[1]), m[2]
	}
	return "", ""
}

func TestTheKernelResolvesOurAddressAndNoOther(t *testing.T) {
	h, r := lan(t, "arping")
	us := ifi(t, "lan0")
	syncOK(t, r, []l2.Interface{us}, entries("192.0.2.10"))

	mac, took := arping(h, "", "192.0.2.10")
	if mac != us.HardwareAddr().String() {
		t.Errorf("arping got %q, want %s", mac, us.HardwareAddr())
	}
	kernelMAC, kernelTook := arping(h, "", "192.0.2.1")
	t.Logf("answered after %s ms; the kernel's own address after %s ms (by %s)", took, kernelTook, kernelMAC)
	if mac, _ := arping(h, "", "192.0.2.11"); mac != "" {
		t.Errorf("%s answered for an address that is not ours", mac)
	}
	resolves(t, h, "192.0.2.10", us)
}

func TestAWithdrawnAddressIsSilentAtOnce(t *testing.T) {
	h, r := lan(t, "arping")
	us := []l2.Interface{ifi(t, "lan0")}
	syncOK(t, r, us, entries("192.0.2.10", "192.0.2.11"))
	if mac, _ := arping(h, "", "192.0.2.10"); mac == "" {
		t.Fatal("not answered")
	}
	syncOK(t, r, us, entries("192.0.2.11"))
	if mac, _ := arping(h, "", "192.0.2.10"); mac != "" {
		t.Errorf("%s still answers", mac)
	}
	if mac, _ := arping(h, "", "192.0.2.11"); mac == "" {
		t.Error("the other address is silent too")
	}
}

func TestAnAddressIsAnsweredOnItsInterfacesOnly(t *testing.T) {
	h, r := lan(t, "arping")
	other := l2test.NewHost(t)
	other.Connect(t, "lan1", "eth0")
	other.IP(t, "addr add 192.0.2.98/24 dev eth0")
	syncOK(t, r, []l2.Interface{ifi(t, "lan0"), ifi(t, "lan1")}, entries("192.0.2.10@lan1", "192.0.2.11"))
	for _, c := range []struct {
		from     *l2test.Host
		address  string
		answered bool
	}{{h, "192.0.2.10", false}, {other, "192.0.2.10", true}, {h, "192.0.2.11", true}, {other, "192.0.2.11", true}} {
		if mac, _ := arping(c.from, "", c.address); (mac != "") != c.answered {
			t.Errorf("%s was answered by %q", c.address, mac)
		}
	}
}

func TestGratuitousARPMovesTheKernelsNeighbourEntry(t *testing.T) {
	h, r := lan(t)
	for name, state := range map[string]string{
		"an entry just confirmed": "reachable", // within the locktime of 1 s
		"a stale entry":           "stale",
	} {
		t.Run(name, func(t *testing.T) {
			h.IP(t, "neigh replace 192.0.2.10 lladdr 02:00:00:00:00:77 nud "+state+" dev eth0")
			syncOK(t, r, []l2.Interface{ifi(t, "lan0")}, entries("192.0.2.10"))
			start := time.Now()
			l2test.Eventually(t, 10*time.Second, "the neighbour entry is ours", func() bool {
				out, _ := h.Run("ip neigh show 192.0.2.10")
				return strings.Contains(out, ifi(t, "lan0").HardwareAddr().String())
			})
			t.Logf("moved within %v", time.Since(start).Round(time.Millisecond))
			syncOK(t, r, []l2.Interface{ifi(t, "lan0")}, nil)
		})
	}
}

// frames reads what tcpdump sees on the client; the channel closes with it.
func frames(t *testing.T, h *l2test.Host) <-chan string {
	t.Helper()
	out := make(chan string, 1000)
	sc := bufio.NewScanner(h.Start(t, "tcpdump -l -n -e -tt -i eth0 arp"))
	go func() {
		defer close(out)
		for sc.Scan() {
			out <- sc.Text()
		}
	}()
	// tcpdump says on standard error that it listens; a frame seen says it better.
	l2test.Eventually(t, 10*time.Second, "tcpdump sees frames", func() bool {
		h.Run("arping -q -c 1 -w 1 -b -U -I eth0 192.0.2.99")
		select {
		case <-out:
			return true
		default:
			return false
		}
	})
	for {
		select {
		case <-out:
		case <-time.After(50 * time.Millisecond):
			return out
		}
	}
}

func TestTheClaimOnTheWire(t *testing.T) {
	h, r := lan(t, "tcpdump", "arping")
	seen := frames(t, h)
	start := time.Now()
	syncOK(t, r, []l2.Interface{ifi(t, "lan0")}, entries("192.0.2.10"))
	type frame struct {
		after time.Duration
		line  string
	}
	var got []frame
	for timeout := time.After(20 * time.Second); len(got) < 8; {
		select {
		case line := <-seen:
			got = append(got, frame{time.Since(start), line})
		case <-timeout:
			t.Fatalf("only %d frames: %v", len(got), got)
		}
	}
	for i, f := range got {
		due := l2.Claim[i/2]
		t.Logf("frame %d after %v, due after %v", i, f.after.Round(time.Millisecond), due)
		if f.after < due-5*time.Millisecond {
			t.Errorf("frame %d is too early", i)
		}
		want := "Request who-has 192.0.2.10"
		if i%2 == 1 {
			want = "Reply 192.0.2.10 is-at " + ifi(t, "lan0").HardwareAddr().String()
		}
		if !strings.Contains(f.line, want) || !strings.Contains(f.line, "> ff:ff:ff:ff:ff:ff") {
			t.Errorf("frame %d is %q, want %q to all", i, f.line, want)
		}
	}
}

func TestAnInterfaceMadeAnewAnswersAgain(t *testing.T) {
	h, r := lan(t, "arping")
	syncOK(t, r, []l2.Interface{ifi(t, "lan0")}, entries("192.0.2.10"))
	l2test.IP(t, "link del lan0")
	select {
	case <-r.Failed():
	case <-time.After(2 * time.Second):
		t.Error("the lost socket was not reported")
	}
	syncOK(t, r, nil, entries("192.0.2.10"))
	if len(r.Running()) != 0 {
		t.Errorf("running without an interface: %v", r.Running())
	}
	h.Connect(t, "lan0", "eth0")
	h.IP(t, "addr add 192.0.2.99/24 dev eth0")
	us := ifi(t, "lan0")
	syncOK(t, r, []l2.Interface{us}, entries("192.0.2.10"))
	if mac, _ := arping(h, "", "192.0.2.10"); mac != us.HardwareAddr().String() {
		t.Errorf("answered by %q, want %s", mac, us.HardwareAddr())
	}
}

func TestTheFilterKeepsForeignFramesOut(t *testing.T) {
	h, r := lan(t, "arping")
	us := ifi(t, "lan0")
	var m count
	r.all.Meter = &m
	l2test.IP(t, "link set lan0 promisc on")
	syncOK(t, r, []l2.Interface{us}, entries("192.0.2.10"))
	h.IP(t, "neigh replace 192.0.2.10 lladdr 02:00:00:00:00:77 nud permanent dev eth0")
	// Asked by unicast of another station: the frame arrives only because the interface is promiscuous.
	if mac, _ := arping(h, "-s 192.0.2.99", "192.0.2.10"); mac == "" {
		t.Fatal("not answered by broadcast")
	}
	before := m.all()
	c := rawClient(t, h)
	for _, f := range []string{
		strings.Replace(question, "ffffffffffff", "020000000077", 1),                         // to another station
		strings.Replace(question, "0806", "8100 0005 0806", 1),                               // in a VLAN
		strings.Replace(question, "06 04 0001", "06 04 0002", 1),                             // a reply
		strings.Replace(question, "0806 0001 0800", "0800 4500 0020", 1),                     // not ARP
		strings.Replace(question, "ffffffffffff", "01005e000001", 1),                         // to a group
		strings.Replace(question, "020000000099 c0000263 00", "020000000099 c000020a 00", 1), // our address claimed
	} {
		c(bytesOf(t, f+padding))
	}
	c(bytesOf(t, question+padding)) // comes last, so the others were dealt with before
	l2test.Eventually(t, 10*time.Second, "the good question is answered", func() bool { return m.all()[1] > before[1] })
	time.Sleep(20 * time.Millisecond)
	if got := m.all(); got[0] != before[0]+1 {
		t.Errorf("%d requests counted, want 1", got[0]-before[0])
	}
}

func TestTheFilterKeepsQuestionsForOthersOut(t *testing.T) {
	h, r := lan(t)
	us := []l2.Interface{ifi(t, "lan0")}
	reads := make(chan []byte, 100)
	r.open = func(i l2.Interface) (conn, error) {
		c, err := listen(i)
		return l2test.Counted{Conn: c, Reads: reads}, err
	}
	send := rawClient(t, h)
	about := func(sender, target string) []byte {
		s, a := netip.MustParseAddr(sender).As4(), netip.MustParseAddr(target).As4()
		return bytesOf(t, question[:len(question)-len("c0000263 000000000000 c000020a")]+hex.EncodeToString(s[:])+"000000000000"+hex.EncodeToString(a[:])+padding)
	}
	var many []string // in more ranges than the filter has room for, and a wide gap
	for i := range 2 * responder.MaxRanges {
		many = append(many, fmt.Sprintf("192.0.2.%d", 100+2*i), fmt.Sprintf("203.0.113.%d", 100+2*i))
	}
	const outside = "198.51.100.99"
	for _, c := range []struct {
		answered []string
		in, out  []string
	}{
		{[]string{"192.0.2.10"}, []string{"192.0.2.10"}, []string{"192.0.2.9", "192.0.2.11", "0.0.0.0", "255.255.255.255"}},
		{[]string{"192.0.2.10", "192.0.2.20"}, []string{"192.0.2.10", "192.0.2.20"}, []string{"192.0.2.11", "192.0.2.19"}},
		{[]string{"192.0.2.20"}, []string{"192.0.2.20"}, []string{"192.0.2.10"}},
		{many, many, []string{"192.0.2.99", "198.51.100.1", "203.0.113.99", "203.0.113.163"}},
		{[]string{"0.0.0.1", "255.255.255.254"}, []string{"0.0.0.1", "255.255.255.254"}, []string{"0.0.0.0", "0.0.0.2", "255.255.255.253", "255.255.255.255"}},
	} {
		syncOK(t, r, us, entries(c.answered...))
		for _, a := range c.out {
			send(about(outside, a))
			send(about(a, outside))
		}
		for _, a := range c.in {
			for name, f := range map[string][]byte{"to": about(outside, a), "from": about(a, outside)} {
				send(f)
				select {
				case got := <-reads:
					if !bytes.Equal(got, f) {
						t.Fatalf("answering %v: let in %x, want what goes %s %s", c.answered, got, name, a)
					}
				case <-time.After(5 * time.Second):
					t.Fatalf("answering %v: what goes %s %s is kept out", c.answered, name, a)
				}
			}
		}
	}
	syncOK(t, r, us, nil)
	send(about(outside, "192.0.2.10"))
	syncOK(t, r, us, entries("192.0.2.11"))
	send(about(outside, "192.0.2.11"))
	if got := <-reads; !bytes.Equal(got, about(outside, "192.0.2.11")) {
		t.Errorf("answering nothing: let in %x", got)
	}
}

func TestNoQuestionIsLostWhileTheFilterChanges(t *testing.T) {
	h, r := lan(t)
	us := []l2.Interface{ifi(t, "lan0")}
	var m count
	r.all.Meter = &m
	syncOK(t, r, us, entries("192.0.2.10"))
	send := rawClient(t, h)
	const rounds = 300
	for i := range rounds {
		send(bytesOf(t, question+padding)) // is dealt with meanwhile
		syncOK(t, r, us, entries("192.0.2.10", fmt.Sprintf("192.0.2.%d", 20+i%200)))
	}
	l2test.Eventually(t, 10*time.Second, "every question is answered", func() bool { return m.all()[1] == rounds })
}

func TestASocketNeedsTheCapabilityNetRawAndNoOther(t *testing.T) {
	lan(t)
	us := ifi(t, "lan0")
	open := func() error {
		c, err := listen(us)
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	if err := l2test.WithCapabilities(t, 1<<unix.CAP_NET_RAW, open); err != nil {
		t.Errorf("with NET_RAW alone: %v", err)
	}
	if err := l2test.WithCapabilities(t, 0, open); !errors.Is(err, unix.EPERM) {
		t.Errorf("without any capability: %v; the test shows nothing", err)
	}
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

func TestAForeignHolderIsHeard(t *testing.T) {
	h, r := lan(t, "arping")
	us := ifi(t, "lan0")
	syncOK(t, r, []l2.Interface{us}, entries("192.0.2.10"))
	theirs := h.MAC(t, "eth0")
	none := func(what string) {
		t.Helper()
		time.Sleep(50 * time.Millisecond)
		if s := r.Sightings(); len(s) > 0 {
			t.Errorf("%s: heard %+v", what, s)
		}
	}
	none("our own claims")
	arping(h, "", "192.0.2.10")
	h.Run("arping -q -c 1 -w 1 -D -I eth0 192.0.2.10")
	none("a question and a probe for duplicates")

	h.IP(t, "addr add 192.0.2.10/32 dev eth0")
	none("a holder that says nothing")
	ask := func() {
		if err := r.Ask("lan0", netip.MustParseAddr("192.0.2.10")); err != nil {
			t.Fatal(err)
		}
	}
	if mac := l2test.Sighted(t, r.Sightings, "192.0.2.10", ask); mac != theirs {
		t.Errorf("asked for, the address is at %s, want %s", mac, theirs)
	}
	for _, form := range []string{"-U", "-A"} { // a request, a reply
		if mac := l2test.Sighted(t, r.Sightings, "192.0.2.10", func() { h.Run("arping -q -c 1 -w 1 " + form + " -I eth0 -s 192.0.2.10 192.0.2.10") }); mac != theirs {
			t.Errorf("claimed with %s, the address is at %s, want %s", form, mac, theirs)
		}
	}
	select {
	case <-r.Sighted():
	default:
		t.Error("no signal")
	}
	h.IP(t, "addr del 192.0.2.10/32 dev eth0")
	ask()
	none("a holder that has gone")

	// What is not answered here can be asked for as well.
	if mac := l2test.Sighted(t, r.Sightings, "192.0.2.99", func() {
		if err := r.Ask("lan0", netip.MustParseAddr("192.0.2.99")); err != nil {
			t.Fatal(err)
		}
	}); mac != theirs {
		t.Errorf("the client's own address is at %s, want %s", mac, theirs)
	}
	if r.Ask("lan7", netip.MustParseAddr("192.0.2.99")) == nil {
		t.Error("no error on an interface that is not there")
	}
}

func TestTheOwnerDefendsAndRepairs(t *testing.T) {
	h, r := lan(t)
	us := ifi(t, "lan0")
	syncOK(t, r, []l2.Interface{us}, entries("192.0.2.10", "192.0.2.11"))
	stolen := func() {
		h.IP(t, "neigh replace 192.0.2.10 lladdr 02:00:00:00:00:77 nud stale dev eth0")
	}
	ours := func(what string) {
		t.Helper()
		l2test.Eventually(t, 10*time.Second, what, func() bool {
			out, _ := h.Run("ip neigh show 192.0.2.10")
			return strings.Contains(out, us.HardwareAddr().String())
		})
	}
	stolen()
	r.Defend(netip.MustParseAddr("192.0.2.10"))
	ours("a claim anew")
	if !r.Reopen("lan0") || r.Reopen("lan1") {
		t.Error("Reopen does not tell whether there was a socket")
	}
	<-r.Failed()
	stolen()
	syncOK(t, r, []l2.Interface{us}, entries("192.0.2.10", "192.0.2.11"))
	ours("a socket opened anew")
}

func TestAYieldedAddressIsAnsweredUntilAnotherStationClaimsIt(t *testing.T) {
	h, r := lan(t, "arping")
	us := []l2.Interface{ifi(t, "lan0")}
	answered := func(what, address string, want bool) {
		t.Helper()
		if mac, _ := arping(h, "", address); (mac == us[0].HardwareAddr().String()) != want {
			t.Errorf("%s: %s is answered by %q", what, address, mac)
		}
	}
	syncOK(t, r, us, entries("192.0.2.10", "192.0.2.11"))
	settle(t, r, yielded("192.0.2.10", "192.0.2.11"))
	answered("nobody else is there", "192.0.2.10", true)

	sibling := New(&count{}, quiet)
	syncOK(t, sibling, us, entries("192.0.2.10", "192.0.2.11"))
	answered("another process on the node", "192.0.2.10", true)
	sibling.Close()
	answered("it is gone", "192.0.2.10", true)

	h.IP(t, "addr add 192.0.2.10/32 dev eth0")
	l2test.Eventually(t, 10*time.Second, "the address is the other station's", func() bool {
		h.Run("arping -q -c 1 -w 1 -U -I eth0 192.0.2.10")
		return len(r.Running()) == 1
	})
	answered("not claimed", "192.0.2.11", true)
	settle(t, r, nil)
	answered("time is up", "192.0.2.11", false)
}

func settle(t *testing.T, r *Responders, entries []l2.Entry) {
	t.Helper()
	if _, err := r.Sync(entries); err != nil {
		t.Error(err)
	}
}
