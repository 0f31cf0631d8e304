package arp

import (
	"bytes"
	"errors"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/l2test"
)

// What arping -D of iputils, RFC 5227's probe, ends with.
const (
	addressFree  = 0
	addressTaken = 1
)

func probed(t *testing.T, h *l2test.Host, address string) int {
	t.Helper()
	err := h.Command("arping", "-q", "-D", "-c", "1", "-w", "2", "-I", "eth0", address).Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit == nil {
		return 0
	}
	return exit.ExitCode()
}

func TestAProbeForDuplicatesFindsOurAddressTaken(t *testing.T) {
	h, r := lan(t, "arping")
	syncOK(t, r, []l2.Interface{ifi(t, "lan0")}, entries("192.0.2.10"))
	if got := probed(t, h, "192.0.2.10"); got != addressTaken {
		t.Errorf("arping -D of our address ended with %d, want %d", got, addressTaken)
	}
	if got := probed(t, h, "192.0.2.12"); got != addressFree {
		t.Errorf("arping -D of a free address ended with %d, want %d", got, addressFree)
	}
}

// touch has the client's kernel send a datagram to an address.
func touch(t *testing.T, h *l2test.Host, address string) {
	t.Helper()
	h.Inside(t, func() error {
		c, err := net.Dial("udp4", net.JoinHostPort(address, "9"))
		if err == nil {
			_, _ = c.Write([]byte("x")) // refused where the kernel has given up on the address before
			_ = c.Close()
		}
		return err
	})
}

func neighbour(h *l2test.Host, address string) string {
	out, _ := h.Run("ip neigh show " + address)
	return strings.TrimSpace(out)
}

// resolves waits until the client's kernel has this hardware address as the answer to a question of its own.
func resolves(t *testing.T, h *l2test.Host, address string, at l2.Interface) {
	t.Helper()
	l2test.Eventually(t, 10*time.Second, "the client's kernel resolves "+address, func() bool {
		n := neighbour(h, address)
		if strings.Contains(n, "lladdr "+at.HardwareAddr().String()) && strings.Contains(n, "REACHABLE") {
			return true
		}
		if n == "" || strings.Contains(n, "FAILED") || strings.Contains(n, "STALE") {
			h.Run("ip neigh del " + address + " dev eth0")
			touch(t, h, address)
		}
		return false
	})
}

func TestANeighbourThatChecksByUnicastFindsUsReachable(t *testing.T) {
	h, r := lan(t)
	us := ifi(t, "lan0")
	syncOK(t, r, []l2.Interface{us}, entries("192.0.2.10"))
	stop := h.Capture(t, "eth0")
	h.IP(t, "neigh replace 192.0.2.10 lladdr "+us.HardwareAddr().String()+" nud probe dev eth0")
	l2test.Eventually(t, 10*time.Second, "the entry is confirmed", func() bool {
		return strings.Contains(neighbour(h, "192.0.2.10"), "REACHABLE")
	})
	question := bytesOf(t, "0001 0800 06 04 0001")
	for _, f := range stop() {
		if len(f) > 22 && bytes.Equal(f[:6], us.MAC[:]) && bytes.Equal(f[14:22], question) {
			return
		}
	}
	t.Error("the client's kernel has not asked by unicast")
}

func TestTsharkFindsNothingWrong(t *testing.T) {
	h, r := lan(t, "arping", "tshark")
	us := ifi(t, "lan0")
	stop := h.Capture(t, "eth0")
	syncOK(t, r, []l2.Interface{us}, entries("192.0.2.10", "192.0.2.11"))
	resolves(t, h, "192.0.2.10", us) // by broadcast
	probed(t, h, "192.0.2.11")
	h.IP(t, "neigh replace 192.0.2.11 lladdr "+us.HardwareAddr().String()+" nud probe dev eth0") // by unicast
	l2test.Eventually(t, 10*time.Second, "the entry is confirmed", func() bool {
		return strings.Contains(neighbour(h, "192.0.2.11"), "REACHABLE")
	})
	var ours [][]byte
	for _, f := range stop() {
		if bytes.Equal(f[6:12], us.MAC[:]) {
			ours = append(ours, f)
		}
	}
	if len(ours) < 2*2+3 {
		t.Errorf("%d frames of ours, want at least a claim of two frames for two addresses and three answers", len(ours))
	}
	if wrong := l2test.Dissect(t, ours); wrong != "" {
		t.Errorf("tshark takes exception:\n%s", wrong)
	}
	cut := ours[0][:30]
	if l2test.Dissect(t, [][]byte{cut}) == "" {
		t.Error("tshark finds nothing wrong with a frame that is cut: the test shows nothing")
	}
}
