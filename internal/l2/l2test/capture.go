package l2test

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const maxFrame = 2048

// Capture records the frames that pass an interface of the host from now on, until stop is called, which returns them.
func (h *Host) Capture(t testing.TB, name string) (stop func() [][]byte) {
	t.Helper()
	all := int(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL)))
	var fd int
	h.Inside(t, func() error {
		i, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		timeout := unix.NsecToTimeval(int64(100 * time.Millisecond))
		return errors.Join(
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: i.Index}))
	})
	var frames [][]byte
	var reading sync.WaitGroup
	ended := make(chan struct{})
	reading.Go(func() {
		defer func() { _ = unix.Close(fd) }()
		for buf := make([]byte, maxFrame); ; {
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if err == nil {
				frames = append(frames, append([]byte(nil), buf[:n]...))
			}
			select {
			case <-ended:
				return
			default:
			}
		}
	})
	end := sync.OnceFunc(func() { close(ended); reading.Wait() })
	t.Cleanup(end)
	return func() [][]byte { end(); return frames }
}

// Dissect returns what tshark, Wireshark's dissector, takes exception to in frames, a line for each; empty where it finds
// nothing malformed and nothing worth an expert's look. The test has to Require tshark.
func Dissect(t testing.TB, frames [][]byte) string {
	t.Helper()
	// A file as of libpcap: version 2.4, microseconds, Ethernet.
	le := binary.LittleEndian
	pcap := le.AppendUint32(nil, 0xa1b2c3d4)
	pcap = le.AppendUint16(le.AppendUint16(pcap, 2), 4)
	for _, field := range []uint32{0, 0, maxFrame, 1} {
		pcap = le.AppendUint32(pcap, field)
	}
	for i, f := range frames {
		for _, field := range []uint32{uint32(i), 0, uint32(len(f)), uint32(len(f))} {
			pcap = le.AppendUint32(pcap, field)
		}
		pcap = append(pcap, f...)
	}
	file := filepath.Join(t.TempDir(), "frames.pcap")
	if err := os.WriteFile(file, pcap, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tshark", "-n", "-r", file, "-Y", "_ws.malformed || _ws.expert", "-T", "fields", "-e", "frame.number", "-e", "_ws.col.Info", "-e", "_ws.expert.message")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	return strings.TrimSpace(string(out))
}
