package arp

import (
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/l2test"
	"metallb.io/operator/internal/l2/responder"
)

var (
	ourMAC    = [6]byte{2, 0, 0, 0, 0, 1}
	ourIP     = netip.MustParseAddr("192.0.2.10")
	eth0      = l2.Interface{Name: "eth0", Index: 2, MAC: ourMAC}
	eth1      = l2.Interface{Name: "eth1", Index: 3, MAC: [6]byte{2, 0, 0, 0, 0, 2}}
	quiet     = slog.New(slog.DiscardHandler)
	addrEqual = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
)

// wire is a connection in memory.
type wire struct {
	in     chan []byte
	out    chan []byte
	broken chan error
	closed chan struct{}
	once   sync.Once

	filters int
	refuse  error // a filter
}

func newWire() *wire {
	return &wire{in: make(chan []byte), out: make(chan []byte, 1000), broken: make(chan error, 1), closed: make(chan struct{})}
}

func (w *wire) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case f := <-w.in:
		return copy(b, f), nil, nil
	case err := <-w.broken:
		return 0, nil, err
	case <-w.closed:
		return 0, nil, net.ErrClosed
	}
}

func (w *wire) WriteTo(b []byte, _ net.Addr) (int, error) {
	w.out <- append([]byte(nil), b...)
	return len(b), nil
}

func (w *wire) SetBPF([]bpf.RawInstruction) error {
	w.filters++
	return w.refuse
}

func (w *wire) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

// wires makes Responders with connections in memory and counts what is opened.
type wires struct {
	sync.Mutex
	opened []string
	last   map[string]*wire
	refuse map[string]error
}

func (w *wires) open(ifi l2.Interface) (conn, error) {
	w.Lock()
	defer w.Unlock()
	w.opened = append(w.opened, ifi.Name)
	if err := w.refuse[ifi.Name]; err != nil {
		return nil, err
	}
	w.last[ifi.Name] = newWire()
	return w.last[ifi.Name], nil
}

func newResponders(t *testing.T) (*Responders, *wires, *count) {
	c := &count{}
	w := &wires{last: map[string]*wire{}, refuse: map[string]error{}}
	r := New(c, quiet)
	r.open = w.open
	t.Cleanup(r.Close)
	return r, w, c
}

// count is a Meter.
type count struct {
	sync.Mutex
	requests, responses, gratuitous int
}

func (c *count) add(n *int)                 { c.Lock(); *n++; c.Unlock() }
func (c *count) RequestReceived(netip.Addr) { c.add(&c.requests) }
func (c *count) ResponseSent(netip.Addr)    { c.add(&c.responses) }
func (c *count) GratuitousSent(netip.Addr)  { c.add(&c.gratuitous) }
func (c *count) all() [3]int {
	c.Lock()
	defer c.Unlock()
	return [3]int{c.requests, c.responses, c.gratuitous}
}

// bytesOf reads hex with blanks.
func bytesOf(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	question = "ffffffffffff 020000000099 0806 0001 0800 06 04 0001 020000000099 c0000263 000000000000 c000020a"
	padding  = "000000000000000000000000000000000000"
)

func TestServe(t *testing.T) {
	reply := "020000000099 020000000001 0806 0001 0800 06 04 0002 020000000001 c000020a 020000000099 c0000263" + padding
	for name, c := range map[string]struct {
		frame string
		want  string // "" is silence
	}{
		"a broadcast question is answered to the station that asked": {question + padding, reply},
		"a frame without padding is answered":                        {question, reply},
		"a unicast question, which keeps a neighbour entry fresh, is answered": {
			strings.Replace(question, "ffffffffffff", "020000000001", 1), reply},
		"a probe for duplicates (RFC 5227 section 1.1) is answered": {
			strings.Replace(question, "c0000263", "00000000", 1), strings.Replace(reply, "c0000263", "00000000", 1)},
		"the ARP header's sender is answered, not the Ethernet header's": {
			strings.Replace(question, "ffffffffffff 020000000099", "ffffffffffff 020000000077", 1), reply},
		"a question for another address is not ours":         {strings.Replace(question, "c000020a", "c000020b", 1), ""},
		"an announcement of our address is not a question":   {strings.Replace(question, "c0000263", "c000020a", 1), ""},
		"a reply is not answered":                            {strings.Replace(question, "06 04 0001", "06 04 0002", 1), ""},
		"a frame that is cut short is ignored":               {question[:len(question)-2], ""},
		"a sender that is a group would multiply the answer": {strings.Replace(question, "0001 020000000099", "0001 ffffffffffff", 1), ""},
		"another protocol's addresses are ignored":           {strings.Replace(question, "0001 0800 06", "0001 86dd 06", 1), ""},
		"another hardware's addresses are ignored":           {strings.Replace(question, "0806 0001", "0806 0006", 1), ""},
		"lengths that do not fit are ignored":                {strings.Replace(question, "06 04 0001", "06 10 0001", 1), ""},
		"another EtherType is ignored":                       {strings.Replace(question, "0806", "0800", 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, m := newWire(), &count{}
			r := responder.NewResponder(responder.Place{Interface: eth0}, &link{eth0, w}, responder.Protocol{Meter: m, Log: quiet})
			if err := r.Set([]netip.Addr{ourIP}, nil, time.Now()); err != nil {
				t.Fatal(err)
			}
			r.Serve(bytesOf(t, c.frame))
			var got []byte
			select {
			case got = <-w.out:
			default:
			}
			if d := cmp.Diff(hex.EncodeToString(bytesOf(t, c.want)), hex.EncodeToString(got)); d != "" {
				t.Error(d)
			}
			if want := map[bool][3]int{true: {1, 1, 0}}[c.want != ""]; m.all() != want {
				t.Errorf("counted %v, want %v", m.all(), want)
			}
		})
	}
}

func TestGratuitousFrames(t *testing.T) {
	got, err := gratuitous(ourIP, ourMAC[:])
	if err != nil {
		t.Fatal(err)
	}
	want := []string{ // the announcement as request, and as reply with the target's hardware address equal to the sender's
		"ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 c000020a 000000000000 c000020a" + padding,
		"ffffffffffff 020000000001 0806 0001 0800 06 04 0002 020000000001 c000020a 020000000001 c000020a" + padding,
	}
	for i, w := range want {
		if d := cmp.Diff(hex.EncodeToString(bytesOf(t, w)), hex.EncodeToString(got[i])); d != "" {
			t.Errorf("frame %d: %s", i, d)
		}
	}
}

func entries(addresses ...string) []l2.Entry {
	var out []l2.Entry
	for _, a := range addresses {
		name, iface, _ := strings.Cut(a, "@")
		e := l2.Entry{Address: netip.MustParseAddr(name)}
		if iface != "" {
			e.Interfaces = strings.Split(iface, ",")
		}
		out = append(out, e)
	}
	return out
}

// yielded are entries of another node, on which the one here goes on answering for a moment.
func yielded(addresses ...string) []l2.Entry {
	out := entries(addresses...)
	for i := range out {
		out[i].Yielding = true
	}
	return out
}

func TestSync(t *testing.T) {
	r, w, m := newResponders(t)
	both := []l2.Interface{eth0, eth1}
	check := func(what string, interfaces []l2.Interface, wanted, running []l2.Entry, opened ...string) {
		t.Helper()
		w.opened = nil
		if _, err := r.Listen(interfaces); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		got, err := r.Sync(wanted)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if d := cmp.Diff(running, got, addrEqual); d != "" {
			t.Errorf("%s: running: %s", what, d)
		}
		if d := cmp.Diff(map[string]int{}, countOf(w.opened, opened)); d != "" {
			t.Errorf("%s: opened: %s", what, d)
		}
	}
	check("sockets open before there is an address", both, nil, []l2.Entry{}, "eth0", "eth1")
	check("an address for all and one for an interface", both, entries("192.0.2.1", "192.0.2.2@eth1"),
		entries("192.0.2.1@eth0,eth1", "192.0.2.2@eth1"))
	l2test.Eventually(t, 10*time.Second, "six gratuitous frames at once", func() bool { return m.all()[2] == 6 })
	check("a second time nothing happens", both, entries("192.0.2.1", "192.0.2.2@eth1"),
		entries("192.0.2.1@eth0,eth1", "192.0.2.2@eth1"))
	check("IPv6 is somebody else's", both, entries("192.0.2.1", "2001:db8::1"), entries("192.0.2.1@eth0,eth1"))
	check("an interface that goes away takes its answers with it", both[:1], entries("192.0.2.1"), entries("192.0.2.1@eth0"))
	again := eth0
	again.Index = 9
	check("an interface made anew gets another socket", []l2.Interface{again}, entries("192.0.2.1"), entries("192.0.2.1@eth0"), "eth0")
	check("an entry on an interface that is not here does not run", []l2.Interface{again}, entries("192.0.2.1@eth5"), []l2.Entry{})
}

// countOf compares two bags of names.
func countOf(got, want []string) map[string]int {
	out := map[string]int{}
	for _, n := range got {
		out[n]++
	}
	for _, n := range want {
		out[n]--
	}
	for n, c := range out {
		if c == 0 {
			delete(out, n)
		}
	}
	return out
}

func TestSyncIsIdempotent(t *testing.T) {
	r, w, m := newResponders(t)
	all := entries("192.0.2.1", "192.0.2.2")
	for range 5 {
		syncOK(t, r, []l2.Interface{eth0}, all)
	}
	l2test.Eventually(t, 10*time.Second, "a round for each address", func() bool { return m.all()[2] >= 4 })
	time.Sleep(30 * time.Millisecond)
	if m.all()[2] != 4 || len(w.opened) != 1 {
		t.Errorf("five times the same: %d gratuitous frames, %d sockets; want 4 and 1", m.all()[2], len(w.opened))
	}
}

func TestAnInterfaceThatCannotBeOpenedLeavesTheOthers(t *testing.T) {
	r, w, _ := newResponders(t)
	w.refuse["eth1"] = os.ErrPermission
	open, err := r.Listen([]l2.Interface{eth0, eth1})
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "eth1") {
		t.Errorf("error %v does not name the interface and the cause", err)
	}
	if d := cmp.Diff([]string{"eth0"}, open); d != "" {
		t.Error(d)
	}
	if running, err := r.Sync(entries("192.0.2.1")); err != nil || !cmp.Equal(entries("192.0.2.1@eth0"), running, addrEqual) {
		t.Errorf("running %v, %v", running, err)
	}
	delete(w.refuse, "eth1")
	syncOK(t, r, []l2.Interface{eth0, eth1}, entries("192.0.2.1"))
	if d := cmp.Diff(entries("192.0.2.1@eth0,eth1"), r.Running(), addrEqual); d != "" {
		t.Error(d)
	}
}

func TestTheFilterFollowsTheAddresses(t *testing.T) {
	r, w, _ := newResponders(t)
	sync := func(what string, filters int, err error, addresses ...string) {
		t.Helper()
		running, got := r.Sync(entries(addresses...))
		if !errors.Is(got, err) || (err != nil && !strings.Contains(got.Error(), "eth0")) {
			t.Errorf("%s: error %v, want %v", what, got, err)
		}
		if len(running) != len(addresses) || w.last["eth0"].filters != filters {
			t.Errorf("%s: %d addresses run after %d filters, want %d and %d", what, len(running), w.last["eth0"].filters, len(addresses), filters)
		}
	}
	if _, err := r.Listen([]l2.Interface{eth0}); err != nil {
		t.Fatal(err)
	}
	sync("no address needs no filter", 0, nil)
	sync("the first one does", 1, nil, "192.0.2.1")
	sync("the same again does not", 1, nil, "192.0.2.1")
	w.last["eth0"].refuse = unix.ENOMEM
	sync("one that is refused is reported", 2, unix.ENOMEM, "192.0.2.1", "192.0.2.2")
	sync("and tried again", 3, unix.ENOMEM, "192.0.2.1", "192.0.2.2")
	w.last["eth0"].refuse = nil
	sync("until it is taken", 4, nil, "192.0.2.1", "192.0.2.2")
	sync("and then no more", 4, nil, "192.0.2.1", "192.0.2.2")
}

func TestASocketThatDiesIsReportedAndReplaced(t *testing.T) {
	r, w, _ := newResponders(t)
	syncOK(t, r, []l2.Interface{eth0}, entries("192.0.2.1"))
	w.last["eth0"].broken <- unix.ENETDOWN
	select {
	case <-r.Failed():
	case <-time.After(time.Second):
		t.Fatal("no signal")
	}
	if d := cmp.Diff([]l2.Entry{}, r.Running(), addrEqual); d != "" {
		t.Errorf("a dead socket counts as running: %s", d)
	}
	syncOK(t, r, []l2.Interface{eth0}, entries("192.0.2.1"))
	if len(w.opened) != 2 {
		t.Errorf("opened %v", w.opened)
	}
	if d := cmp.Diff(entries("192.0.2.1@eth0"), r.Running(), addrEqual); d != "" {
		t.Error(d)
	}
}

func TestReclaim(t *testing.T) {
	r, _, m := newResponders(t)
	syncOK(t, r, []l2.Interface{eth0}, entries("192.0.2.10", "192.0.2.11"))
	l2test.Eventually(t, 10*time.Second, "the first claim, of two frames for each", func() bool { return m.all()[2] == 4 })
	r.Reclaim()
	l2test.Eventually(t, 10*time.Second, "the first claim again", func() bool { return m.all()[2] == 8 })
}

func TestAYieldedAddressEndsWithTheFirstClaimOfAnotherStation(t *testing.T) {
	r, w, _ := newResponders(t)
	syncOK(t, r, []l2.Interface{eth0}, entries("192.0.2.10", "192.0.2.11"))
	claim := func(mac string) {
		w.last["eth0"].in <- bytesOf(t, "ffffffffffff "+mac+" 0806 0001 0800 06 04 0001 "+mac+" c000020a 000000000000 c000020a")
		w.last["eth0"].in <- bytesOf(t, strings.Replace(question, "c000020a", "c0000263", 1)) // read after the claim was served
	}
	settle(t, r, append(entries("192.0.2.11"), yielded("192.0.2.10")...))
	claim("020000000001")
	if n := len(r.Running()); n != 2 {
		t.Fatalf("our own claim, or that of another process on this node, ended an address: %d run", n)
	}
	claim("020000000099")
	l2test.Eventually(t, 10*time.Second, "the claimed address is given up", func() bool {
		return cmp.Equal(entries("192.0.2.11@eth0"), r.Running(), addrEqual)
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		question,
		strings.Replace(question, "0806", "8100 0005 0806", 1),
		strings.Replace(question, "0806", "88a8 0005 8100 0006 0806", 1),
		strings.Replace(question, "0806 0001", "0806 0006", 1),
	} {
		f.Add(bytesOf(f, seed+padding))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		target, ok := targetOf(b)
		r, parsed := parse(b)
		if parsed && (!ok || target != r.target) {
			t.Errorf("the quick look says %v %v, the parser %v", target, ok, r)
		}
		if parsed {
			if _, err := answer(r, ourMAC[:]); err != nil {
				t.Errorf("%v cannot be answered: %v", r, err)
			}
		}
	})
}

func BenchmarkServe(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(map[int]string{1: "1 address", 10_000: "10000 addresses"}[n], func(b *testing.B) {
			r := responder.NewResponder(responder.Place{Interface: eth0}, &link{eth0, &discard{}}, responder.Protocol{Meter: &count{}, Log: quiet})
			var answered []netip.Addr
			for a := netip.MustParseAddr("10.0.0.0"); len(answered) < n-1; a = a.Next() {
				answered = append(answered, a)
			}
			if err := r.Set(append(answered, ourIP), nil, time.Now()); err != nil {
				b.Fatal(err)
			}
			f, _ := hex.DecodeString(strings.ReplaceAll(question, " ", ""))
			for b.Loop() {
				r.Serve(f)
			}
		})
	}
}

type discard struct{ wire }

func (*discard) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }
