package discovery

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/ipv6"

	"metallb.io/operator/internal/l2/l2test"
)

// soon is far more than anything takes; a busy machine is no failure.
const soon = 60 * time.Second

func TestMain(m *testing.M) { l2test.Main(m, (*testing.M).Run) }

// station is another machine's end of the link.
type station struct {
	conn *ipv6.PacketConn
	ifi  *net.Interface
}

func newStation(t *testing.T, h *l2test.Host) *station {
	t.Helper()
	s := &station{}
	h.Inside(t, func() (err error) {
		l2test.Eventually(t, soon, "the router has an address", func() bool { _, err = Local("eth0"); return err == nil })
		if s.ifi, err = net.InterfaceByName("eth0"); err == nil {
			s.conn, err = open(context.Background(), s.ifi)
		}
		return err
	})
	t.Cleanup(func() { _ = s.conn.Close() })
	return s
}

func (s *station) advertise(t *testing.T) {
	t.Helper()
	if err := send(s.conn, s.ifi, allNodes, advertisement(s.ifi.HardwareAddr)); err != nil {
		t.Fatal(err)
	}
}

// hears waits for a message of a type.
func (s *station) hears(t *testing.T, kind byte) netip.Addr {
	t.Helper()
	for end := time.Now().Add(soon); time.Now().Before(end); {
		if got, from, err := receive(s.conn, make([]byte, 1500), end); err == nil && got == kind {
			return from
		}
	}
	t.Fatalf("no message of type %d was heard", kind)
	return netip.Addr{}
}

func TestLink(t *testing.T) {
	l2test.Require(t)
	l := Open("lan0", slog.New(slog.DiscardHandler))
	t.Cleanup(l.Close)
	says := func(words string) {
		t.Helper()
		l2test.Eventually(t, soon, words, func() bool {
			a, err := l.Router()
			return err != nil && !a.IsValid() && strings.Contains(err.Error(), words)
		})
	}
	has := func(want string) {
		t.Helper()
		l2test.Eventually(t, soon, "the router is "+want, func() bool {
			a, err := l.Router()
			return err == nil && a.String() == want
		})
	}
	says("this node has no interface lan0")
	h := l2test.NewHost(t)
	h.Connect(t, "lan0", "eth0")
	says("no router has been heard on interface lan0")

	s := newStation(t, h)
	ours, err := Local("lan0")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []byte{typeSolicitation, typeAdvertisement} {
		if from := s.hears(t, kind); from != ours.WithZone("") {
			t.Errorf("a message of type %d from %v, not %v", kind, from, ours)
		}
	}
	var theirs netip.Addr
	h.Inside(t, func() error {
		theirs, err = Local("eth0")
		return err
	})
	s.advertise(t)
	has(theirs.WithZone("lan0").String())

	t.Run("another address is believed when the first answers no more", func(t *testing.T) {
		h.IP(t, "addr add fe80::77/64 dev eth0 nodad")
		h.IP(t, "addr del "+theirs.WithZone("").String()+"/64 dev eth0")
		l2test.Eventually(t, soon, "the router is fe80::77", func() bool {
			s.advertise(t)
			a, _ := l.Router()
			return a == netip.MustParseAddr("fe80::77%lan0")
		})
	})
	t.Run("a cut cable is noticed", func(t *testing.T) {
		h.IP(t, "link set eth0 down")
		says("interface lan0 has no carrier")
		h.IP(t, "link set eth0 up")
		says("no router has been heard on interface lan0")
	})
	l2test.IP(t, "link del lan0")
	says("this node has no interface lan0")
}
