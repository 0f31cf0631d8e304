package arp

import (
	"strings"
	"testing"
	"time"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/l2test"
)

func TestAnInterfaceThatWasDownAnswersAgain(t *testing.T) {
	h, r := lan(t)
	us := ifi(t, "lan0")
	syncOK(t, r, []l2.Interface{us}, entries("192.0.2.10"))
	l2test.IP(t, "link set lan0 down")
	select {
	case <-r.Failed():
	case <-time.After(5 * time.Second):
		t.Error("the lost socket was not reported")
	}
	syncOK(t, r, nil, entries("192.0.2.10"))
	l2test.IP(t, "link set lan0 up")
	syncOK(t, r, []l2.Interface{us}, entries("192.0.2.10"))
	resolves(t, h, "192.0.2.10", us)
}

func TestAChangedHardwareAddressIsTold(t *testing.T) {
	h, r := lan(t)
	before := ifi(t, "lan0")
	syncOK(t, r, []l2.Interface{before}, entries("192.0.2.10"))
	resolves(t, h, "192.0.2.10", before)
	l2test.IP(t, "link set lan0 address 02:00:00:00:00:55")
	now := ifi(t, "lan0")
	if now == before {
		t.Fatal("the hardware address has not changed")
	}
	syncOK(t, r, []l2.Interface{now}, entries("192.0.2.10"))
	l2test.Eventually(t, 10*time.Second, "the client's entry follows", func() bool { // by the claim
		return strings.Contains(neighbour(h, "192.0.2.10"), "lladdr "+now.HardwareAddr().String())
	})
	h.IP(t, "neigh flush dev eth0")
	resolves(t, h, "192.0.2.10", now)
}

func TestABridgeAnswersAtItsPorts(t *testing.T) {
	h, r := lan(t)
	l2test.IP(t, "link add bridge0 type bridge")
	t.Cleanup(func() { l2test.IP(t, "link del bridge0") })
	l2test.IP(t, "link set lan0 master bridge0")
	l2test.IP(t, "link set bridge0 address 02:00:00:00:00:66")
	l2test.IP(t, "link set bridge0 up")
	bridge := ifi(t, "bridge0")
	syncOK(t, r, []l2.Interface{bridge}, entries("192.0.2.10"))
	resolves(t, h, "192.0.2.10", bridge)
}
