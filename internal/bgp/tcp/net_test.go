package tcp_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/bgp/tcp"
	"metallb.io/operator/internal/l2/l2test"
)

// patience is for an answer; one that is not signed as it should be gets none.
const patience = 2 * time.Second

func TestMain(m *testing.M) { l2test.Main(m, (*testing.M).Run) }

// greet tells whoever opened a connection for whom it was taken.
func greet(peer string, c net.Conn) {
	defer func() { _ = c.Close() }()
	_, _ = fmt.Fprint(c, peer)
}

func listener(t *testing.T) *tcp.Listener {
	t.Helper()
	l := tcp.New(179, greet, slog.New(slog.DiscardHandler))
	t.Cleanup(l.Close)
	return l
}

func admit(t *testing.T, l *tcp.Listener, peers ...bgp.Peer) {
	t.Helper()
	if err := l.Sync(peers); err != nil {
		t.Fatal(err)
	}
}

func peer(name, address string) bgp.Peer {
	return bgp.Peer{Name: name, Address: netip.MustParseAddr(address)}
}

// opens has a host open a connection from an address, and returns as whose it was taken; an error where it was not.
func opens(t *testing.T, h *l2test.Host, from, to, password string) (as string, err error) {
	t.Helper()
	h.Inside(t, func() error {
		source, target := netip.MustParseAddr(from), netip.MustParseAddr(to)
		d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0)), Control: func(_, _ string, c syscall.RawConn) (err error) {
			if password == "" {
				return nil
			}
			if e := c.Control(func(fd uintptr) { err = tcp.Sign(int(fd), target, bgp.Password(password)) }); e != nil {
				return e
			}
			return err
		}}
		var c net.Conn
		if c, err = d.Dial("tcp", netip.AddrPortFrom(target, 179).String()); err != nil {
			return nil
		}
		defer func() { _ = c.Close() }()
		var b []byte
		b, err = io.ReadAll(c)
		as = string(b)
		return nil
	})
	return as, err
}

func TestListener(t *testing.T) {
	l2test.Require(t)
	h := l2test.NewHost(t)
	h.Connect(t, "lan0", "eth0")
	for _, line := range []string{"addr add 192.0.2.1/24 dev lan0", "addr add 2001:db8::1/64 dev lan0 nodad", "addr add fe80::1/64 dev lan0 nodad"} {
		l2test.IP(t, line)
	}
	for _, line := range []string{"addr add 192.0.2.2/24 dev eth0", "addr add 192.0.2.3/24 dev eth0", "addr add 192.0.2.4/24 dev eth0", "addr add 2001:db8::2/64 dev eth0 nodad", "addr add fe80::2/64 dev eth0 nodad"} {
		h.IP(t, line)
	}
	signed := peer("signed", "192.0.2.3")
	signed.Password = "pass-word"
	link := bgp.Peer{Name: "link", Interface: "lan0"}
	l := listener(t)
	if _, err := opens(t, h, "192.0.2.2", "192.0.2.1", ""); err == nil {
		t.Error("it listens though there are no peers")
	}
	admit(t, l, peer("four", "192.0.2.2"), signed, peer("six", "2001:db8::2"), link)
	for name, tt := range map[string]struct{ from, to, password, as string }{
		"a peer":                            {"192.0.2.2", "192.0.2.1", "", "four"},
		"one of IPv6":                       {"2001:db8::2", "2001:db8::1", "", "six"},
		"one that is found by an interface": {"fe80::2%eth0", "fe80::1%eth0", "", "link"},
		"nobody":                            {"192.0.2.4", "192.0.2.1", "", ""},
		"one with its password":             {"192.0.2.3", "192.0.2.1", "pass-word", "signed"},
		"one with another password":         {"192.0.2.3", "192.0.2.1", "other", ""},
		"one without its password":          {"192.0.2.3", "192.0.2.1", "", ""},
		"one with a password where none is": {"192.0.2.2", "192.0.2.1", "pass-word", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if as, err := opens(t, h, tt.from, tt.to, tt.password); as != tt.as || (err == nil) != (tt.as != "") {
				t.Errorf("taken for %q, error %v", as, err)
			}
		})
	}
	t.Run("peers change", func(t *testing.T) {
		admit(t, l, peer("was signed", "192.0.2.3"), peer("new", "192.0.2.4"))
		for from, want := range map[string]string{"192.0.2.3": "was signed", "192.0.2.4": "new", "192.0.2.2": ""} {
			if as, err := opens(t, h, from, "192.0.2.1", ""); as != want {
				t.Errorf("%s is taken for %q, error %v", from, as, err)
			}
		}
		if _, err := opens(t, h, "2001:db8::2", "2001:db8::1", ""); err == nil {
			t.Error("it listens to a family that no peer has")
		}
	})
	t.Run("another one follows, and nobody is refused", func(t *testing.T) {
		next := listener(t)
		admit(t, next, peer("new", "192.0.2.4"))
		for range 10 {
			if as, err := opens(t, h, "192.0.2.4", "192.0.2.1", ""); as != "new" {
				t.Errorf("taken for %q, error %v", as, err)
			}
		}
		l.Close()
		for range 10 {
			if as, err := opens(t, h, "192.0.2.4", "192.0.2.1", ""); as != "new" {
				t.Errorf("taken for %q, error %v", as, err)
			}
		}
	})
	t.Run("a VRF that is not there", func(t *testing.T) {
		p := peer("red", "192.0.2.2")
		p.Device = "red"
		next := listener(t)
		if err := next.Sync([]bgp.Peer{p, peer("new", "192.0.2.4")}); err == nil {
			t.Error("no error")
		}
		if as, err := opens(t, h, "192.0.2.4", "192.0.2.1", ""); as != "new" {
			t.Errorf("the others: taken for %q, error %v", as, err)
		}
	})
}
