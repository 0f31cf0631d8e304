package ndp

import (
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"golang.org/x/net/bpf"

	"metallb.io/operator/internal/l2"
)

var (
	eth0      = l2.Interface{Name: "eth0", Index: 2, MAC: [6]byte{2, 0, 0, 0, 0, 1}}
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

func (w *wire) SetBPF([]bpf.RawInstruction) error { return nil }

func (w *wire) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

// kernel is a network in memory.
type kernel struct {
	sync.Mutex
	opened     []string
	last       map[string]*wire
	refuse     map[string]error
	linkLocals map[string]string
	room       int // groups that a socket has room for
	refused    map[string]error
	joined     map[netip.Addr]int
	sockets    int
	watches    []*pretendedWatch
}

func (k *kernel) network() network {
	return network{linkLocal: k.linkLocal, listen: k.listen, member: k.member, watch: k.watch}
}

func (k *kernel) linkLocal(ifi l2.Interface) (netip.Addr, error) {
	k.Lock()
	defer k.Unlock()
	a, _ := netip.ParseAddr(k.linkLocals[ifi.Name])
	return a, nil
}

func (k *kernel) listen(ifi l2.Interface) (conn, error) {
	k.Lock()
	defer k.Unlock()
	k.opened = append(k.opened, ifi.Name)
	if err := k.refuse[ifi.Name]; err != nil {
		return nil, err
	}
	k.last[ifi.Name] = newWire()
	return k.last[ifi.Name], nil
}

func (k *kernel) member(l2.Interface) (member, error) {
	k.Lock()
	defer k.Unlock()
	k.sockets++
	return &pretendedMember{kernel: k, groups: map[netip.Addr]bool{}}, nil
}

type pretendedMember struct {
	kernel *kernel
	groups map[netip.Addr]bool
}

func (m *pretendedMember) join(group netip.Addr) error {
	m.kernel.Lock()
	defer m.kernel.Unlock()
	switch err := m.kernel.refused[group.String()]; {
	case err != nil:
		return err
	case m.groups[group]:
		return unix.EADDRINUSE
	case len(m.groups) == m.kernel.room:
		return unix.ENOMEM
	}
	m.groups[group] = true
	m.kernel.joined[group]++
	return nil
}

func (m *pretendedMember) leave(group netip.Addr) error {
	m.kernel.Lock()
	defer m.kernel.Unlock()
	if !m.groups[group] {
		return unix.EADDRNOTAVAIL
	}
	delete(m.groups, group)
	if m.kernel.joined[group]--; m.kernel.joined[group] == 0 {
		delete(m.kernel.joined, group)
	}
	return nil
}

func (m *pretendedMember) close() error {
	for g := range maps.Clone(m.groups) {
		_ = m.leave(g)
	}
	m.kernel.Lock()
	defer m.kernel.Unlock()
	m.kernel.sockets--
	return nil
}

type pretendedWatch struct {
	changed func()
	names   []string
	dead    bool
	closed  bool
}

func (k *kernel) watch(changed func()) (watch, error) {
	w := &pretendedWatch{changed: changed}
	k.watches = append(k.watches, w)
	return w, nil
}

func (w *pretendedWatch) only(interfaces []l2.Interface) {
	w.names = nil
	for _, i := range interfaces {
		w.names = append(w.names, i.Name)
	}
}
func (w *pretendedWatch) alive() bool { return !w.dead }
func (w *pretendedWatch) close()      { w.closed = true }

func newResponders(t *testing.T) (*Responders, *kernel, *count) {
	c := &count{}
	k := &kernel{
		last: map[string]*wire{}, refuse: map[string]error{}, room: 3, refused: map[string]error{}, joined: map[netip.Addr]int{},
		linkLocals: map[string]string{"eth0": "fe80::1", "eth1": "fe80::2"},
	}
	r := New(c, quiet)
	r.net = k.network()
	t.Cleanup(func() {
		r.Close()
		if k.sockets != 0 || len(k.joined) != 0 {
			t.Errorf("%d sockets open, groups %v joined after the end", k.sockets, k.joined)
		}
		for i, w := range k.watches {
			if !w.closed {
				t.Errorf("watch %d was not closed", i)
			}
		}
	})
	return r, k, c
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

func entries(addresses ...string) []l2.Entry {
	out := []l2.Entry{}
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
