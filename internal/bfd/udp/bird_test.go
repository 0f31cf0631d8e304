package udp_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/internal/l2/l2test"
)

// bird is BIRD on a host.
type bird struct {
	h   *l2test.Host
	dir string
}

func (b *bird) configure(t *testing.T, interval time.Duration, neighbours ...string) {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "router id 192.0.2.2;\nprotocol device {}\nprotocol bfd bfd1 {\n")
	for _, kind := range []string{`interface "eth0"`, "multihop"} {
		fmt.Fprintf(&text, "%s { min rx interval %d ms; min tx interval %d ms; idle tx interval 1 s; multiplier 6; };\n", kind, interval.Milliseconds(), interval.Milliseconds())
	}
	for _, n := range neighbours {
		fmt.Fprintf(&text, "neighbor %s;\n", n)
	}
	text.WriteString("}\n")
	if err := os.WriteFile(b.dir+"/bird.conf", []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func startBIRD(t *testing.T, h *l2test.Host, interval time.Duration, neighbours ...string) *bird {
	t.Helper()
	b := &bird{h, t.TempDir()}
	b.configure(t, interval, neighbours...)
	h.Start(t, fmt.Sprintf("bird -f -c %[1]s/bird.conf -s %[1]s/bird.ctl", b.dir))
	l2test.Eventually(t, soon, "BIRD is there", func() bool {
		_, ok := h.Run("birdc -s " + b.dir + "/bird.ctl show status")
		return ok
	})
	return b
}

func (b *bird) do(t *testing.T, line string) string {
	t.Helper()
	out, ok := b.h.Run("birdc -s " + b.dir + "/bird.ctl " + line)
	if !ok {
		t.Fatalf("birdc %s: %s", line, out)
	}
	return out
}

func TestWithBIRD(t *testing.T) {
	h := lan(t, "bird", "birdc")
	ll, ours := linkLocal(t, h), ourLinkLocal(t)
	neighbours := []string{
		`192.0.2.1 dev "eth0" local 192.0.2.2`, `2001:db8::1 dev "eth0" local 2001:db8::2`,
		fmt.Sprintf(`%s dev "eth0" local %s`, ours, ll.WithZone("")), "192.0.2.1 local 192.0.2.2 multihop yes",
	}
	b := startBIRD(t, h, 200*time.Millisecond, neighbours...)
	multihop := session(netip.MustParseAddr("192.0.2.2"), us4)
	multihop.Multihop = true
	multihop.MinimumTTL = 64 // BIRD sends them as the kernel sends anything
	sessions := []udp.Session{session(peer4, us4), session(peer6, us6), session(ll, ours), multihop}
	s := server(t)
	sync(t, s, sessions...)
	for _, st := range all(t, "all four sessions are Up", s.Status, settled) {
		if st.DetectionTime != 6*200*time.Millisecond || st.TransmitInterval != 200*time.Millisecond {
			t.Errorf("%s: detection %v, transmit %v", st.Name(), st.DetectionTime, st.TransmitInterval)
		}
	}

	t.Run("timers change on either side", func(t *testing.T) {
		for i := range sessions {
			sessions[i].Transmit, sessions[i].Receive = 600*time.Millisecond, 500*time.Millisecond
		}
		sync(t, s, sessions...)
		all(t, "the polls are answered", s.Status, func(st udp.Status) bool {
			return !st.Polling && st.TransmitInterval == 600*time.Millisecond && st.DetectionTime == 6*500*time.Millisecond
		})
		b.configure(t, 800*time.Millisecond, neighbours...)
		b.do(t, "configure")
		all(t, "theirs are agreed on", s.Status, func(st udp.Status) bool {
			return st.TransmitInterval == 800*time.Millisecond && st.DetectionTime == 6*800*time.Millisecond
		})
		for _, st := range s.Status() {
			if st.Ups != 1 || st.Downs != 0 {
				t.Errorf("%s: %d ups, %d downs", st.Name(), st.Ups, st.Downs)
			}
		}
	})
	s.Changes()
	t.Run("we are AdminDown", func(t *testing.T) {
		adminDown(t, s, sessions, func() {
			l2test.Eventually(t, soon, "BIRD is down", func() bool {
				return !strings.Contains(b.do(t, "show bfd sessions"), "Up")
			})
		})
	})
	t.Run("they end", func(t *testing.T) {
		b.do(t, "disable bfd1")
		all(t, "all are Down", s.Status, func(st udp.Status) bool { return st.State == bfd.Down })
		for _, c := range s.Changes() {
			t.Logf("%s: failed %t, %s, remote %s %s", c.Name(), c.Failed, c.Diagnostic, c.Remote.State, c.Remote.Diagnostic)
		}
		b.do(t, "enable bfd1")
		all(t, "all are Up again", s.Status, isUp)
	})
}
