package ndp

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/l2test"
)

func TestNdisc6FindsUsAndNothingElse(t *testing.T) {
	h, r, _ := lan(t, "ndisc6")
	us := ifi(t, "lan0")
	syncOK(t, r, []l2.Interface{us}, entries("2001:db8::10"))
	out, ok := h.Run("ndisc6 -1 -q -r 3 -w 2000 2001:db8::10 eth0")
	if got := strings.ToLower(strings.TrimSpace(out)); !ok || got != us.HardwareAddr().String() {
		t.Errorf("ndisc6 got %q, want %s", got, us.HardwareAddr())
	}
	if out, ok := h.Run("ndisc6 -1 -q -r 1 -w 500 2001:db8::11 eth0"); ok {
		t.Errorf("ndisc6 got %q for an address that is not ours", out)
	}
}

func TestTsharkFindsNothingWrong(t *testing.T) {
	h, r, m := lan(t, "tshark")
	us := ifi(t, "lan0")
	stop := h.Capture(t, "eth0")
	syncOK(t, r, []l2.Interface{us}, entries("2001:db8::10", "2001:db8::11"))
	if !resolves(t, h, "2001:db8::10", us.HardwareAddr()) { // by the group
		t.Error("not resolved")
	}
	h.IP(t, "-6 neigh replace 2001:db8::10 lladdr "+us.HardwareAddr().String()+" nud probe dev eth0") // by unicast
	l2test.Eventually(t, 10*time.Second, "the entry is confirmed", func() bool {
		return strings.Contains(neighbour(h, "2001:db8::10"), "REACHABLE")
	})
	sysctl(t, h, "conf/eth0/"+noProbes, "1")
	h.IP(t, "addr add 2001:db8::11/64 dev eth0") // by a probe for duplicates
	l2test.Eventually(t, 10*time.Second, "the kernel finds our address taken", func() bool {
		out, _ := h.Run("ip -6 -o addr show dev eth0 to 2001:db8::11")
		return strings.Contains(out, "dadfailed")
	})
	if got := m.all(); got[1] < 2 || got[2] < 2 { // a claim may refuse the duplicate before the probe does
		t.Errorf("%d answers and %d unsolicited advertisements, want at least 2 of each", got[1], got[2])
	}
	var ours [][]byte
	for _, f := range stop() {
		if bytes.Equal(f[6:12], us.MAC[:]) && len(f) >= offsetOptions && f[offsetNextHeader] == protocolICMPv6 && f[offsetICMP] == typeAdvertisement {
			ours = append(ours, f)
		}
	}
	if len(ours) < 4 {
		t.Errorf("%d advertisements seen, want at least 4", len(ours))
	}
	if wrong := l2test.Dissect(t, ours); wrong != "" {
		t.Errorf("tshark takes exception:\n%s", wrong)
	}
	bad := bytes.Clone(ours[0])
	bad[offsetChecksum]++
	if l2test.Dissect(t, [][]byte{bad}) == "" {
		t.Error("tshark finds nothing wrong with a false checksum: the test shows nothing")
	}
}

func TestAChangedHardwareAddressIsTold(t *testing.T) {
	h, r, _ := lan(t)
	before := ifi(t, "lan0")
	syncOK(t, r, []l2.Interface{before}, entries("2001:db8::10"))
	if !resolves(t, h, "2001:db8::10", before.HardwareAddr()) {
		t.Fatal("not resolved")
	}
	h.IP(t, "-6 neigh replace 2001:db8::10 lladdr "+before.HardwareAddr().String()+" nud stale dev eth0")
	l2test.IP(t, "link set lan0 address 02:00:00:00:00:55")
	now := ifi(t, "lan0")
	syncOK(t, r, []l2.Interface{now}, entries("2001:db8::10"))
	l2test.Eventually(t, 10*time.Second, "the client's entry follows", func() bool { // by the claim
		return strings.Contains(neighbour(h, "2001:db8::10"), "lladdr "+now.HardwareAddr().String())
	})
	if !resolves(t, h, "2001:db8::10", now.HardwareAddr()) {
		t.Error("not resolved after the change")
	}
}

func TestABridgeAnswersAtItsPorts(t *testing.T) {
	h, r, _ := lan(t)
	l2test.IP(t, "link add bridge0 type bridge mcast_snooping 1")
	t.Cleanup(func() { l2test.IP(t, "link del bridge0") })
	l2test.IP(t, "link set lan0 master bridge0")
	l2test.IP(t, "link set bridge0 up")
	bridge := ifi(t, "bridge0")
	l2test.Eventually(t, 10*time.Second, "the bridge has a link-local address", func() bool {
		a, err := linkLocal(bridge)
		return err == nil && a.IsValid()
	})
	syncOK(t, r, []l2.Interface{bridge}, entries("2001:db8::10"))
	if !resolves(t, h, "2001:db8::10", bridge.HardwareAddr()) {
		t.Error("not resolved")
	}
}
