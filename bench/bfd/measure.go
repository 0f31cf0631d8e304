package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"metallb.io/operator/bench"
	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/bfdtest"
	"metallb.io/operator/internal/bfd/udp"
)

// end is one of the two processes.
type end struct {
	*bfdtest.Client
	cmd *exec.Cmd
}

func start(elsewhere bool) (*end, error) {
	cmd := exec.Command("/proc/self/exe", "run")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if elsewhere {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &end{bfdtest.NewClient(out, in), cmd}, nil
}

func (e *end) stop() {
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
}

var us = netip.MustParseAddr("10.0.0.1")

// sessions measures so many of them once.
func sessions(n int, interval, span time.Duration, samples bench.Samples) error {
	here, err := start(false)
	if err != nil {
		return err
	}
	defer here.stop()
	there, err := start(true)
	if err != nil {
		return err
	}
	defer there.stop()
	peers, err := connect(there.cmd.Process.Pid, n)
	if err != nil {
		return err
	}
	defer func() { _ = exec.Command("ip", "link", "del", "bfd0").Run() }()
	set := bfd.Settings{Transmit: interval, Receive: interval, Multiplier: 3}
	var ours, theirs []udp.Session
	for _, p := range peers {
		ours = append(ours, udp.Session{Key: udp.Key{Peer: p, Local: us}, Settings: set})
		theirs = append(theirs, udp.Session{Key: udp.Key{Peer: us, Local: p}, Settings: set})
	}
	if _, err := there.Sync(theirs...); err != nil {
		return err
	}
	if _, err := here.Sync(ours...); err != nil {
		return err
	}
	if err := here.allUp(30 * time.Second); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // Poll Sequences end
	return here.watch(n, span, samples)
}

// connect lays the cable and gives the far end its addresses.
func connect(pid, n int) (peers []netip.Addr, err error) {
	var there strings.Builder
	there.WriteString("link set lo up\nlink set eth0 up\n")
	for i := range n {
		p := netip.AddrFrom4([4]byte{10, 0, byte(1 + i/250), byte(1 + i%250)})
		peers = append(peers, p)
		fmt.Fprintf(&there, "addr add %s/16 dev eth0\n", p)
	}
	batch := exec.Command("nsenter", "-t", strconv.Itoa(pid), "-n", "ip", "-batch", "-")
	batch.Stdin = strings.NewReader(there.String())
	for _, cmd := range []*exec.Cmd{
		exec.Command("ip", "link", "set", "lo", "up"),
		exec.Command("ip", "link", "add", "bfd0", "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(pid)),
		exec.Command("ip", "addr", "add", us.String()+"/16", "dev", "bfd0"),
		exec.Command("ip", "link", "set", "bfd0", "up"),
		batch,
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", cmd, err, out)
		}
	}
	return peers, nil
}

func (e *end) allUp(within time.Duration) error {
	for deadline := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		reply, err := e.Status()
		if err != nil {
			return err
		}
		down := 0
		for _, s := range reply.Status {
			if s.State != bfd.Up {
				down++
			}
		}
		if down == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d sessions are not Up after %v", down, within)
		}
	}
}

// watch takes the samples while nothing else is asked of the process.
func (e *end) watch(n int, span time.Duration, samples bench.Samples) error {
	before, err := e.Status()
	if err != nil {
		return err
	}
	cpu, err := bench.ProcessCPU(e.cmd.Process.Pid)
	if err != nil {
		return err
	}
	began := time.Now()
	time.Sleep(span)
	took := time.Since(began)
	after, err := bench.ProcessCPU(e.cmd.Process.Pid)
	if err != nil {
		return err
	}
	rss, _, err := bench.Memory(e.cmd.Process.Pid)
	if err != nil {
		return err
	}
	reply, err := e.Status()
	if err != nil {
		return err
	}
	var packets, downs uint64
	for i, s := range reply.Status {
		packets += s.Sent + s.Received - before.Status[i].Sent - before.Status[i].Received
		downs += s.Downs
	}
	percent := 100 * float64(after-cpu) / float64(took)
	samples.Add(bench.SessionsCPU(n), 0, percent)
	samples.Add(bench.SessionsRSS(n), 0, rss)
	fmt.Printf("%4d sessions: %.2f %% of a core, %.1f MiB, %.0f packets/s in and out, %d Downs\n", n, percent, rss, float64(packets)/took.Seconds(), downs)
	return nil
}
