package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"metallb.io/operator/bench"
	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/arp"
	"metallb.io/operator/internal/l2/ndp"
)

// A node has this interface, and these addresses of its own on it.
const (
	nodeInterface = "lan0"
	nodeIPv4      = "10.0.0.1"
	nodeIPv6      = "2001:db8::1"
)

// task is what a node is told: to answer for these blocks of addresses, and for no other.
type task struct{ Blocks []block }

// block is so many addresses that follow one another.
type block struct {
	First netip.Addr
	Count int
}

// done is what it says then.
type done struct {
	Running int           // addresses that it answers for
	Took    time.Duration // to begin
	Error   string
}

func addresses(blocks ...block) (out []netip.Addr) {
	for _, b := range blocks {
		a := b.First
		for range b.Count {
			out = append(out, a)
			a = a.Next()
		}
	}
	return out
}

// respond is the process with the responders; it ends with its input.
func respond(in io.Reader, out io.Writer) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ipv4, ipv6 := arp.New(unmetered{}, log), ndp.New(unmetered{}, log)
	defer ipv4.Close()
	defer ipv6.Close()
	i, err := net.InterfaceByName(nodeInterface)
	if err != nil {
		return err
	}
	on := []l2.Interface{{Name: i.Name, Index: i.Index, MAC: [6]byte(i.HardwareAddr)}}
	if _, err := ipv4.Listen(on); err != nil {
		return err
	}
	answers := json.NewEncoder(out)
	for tasks := json.NewDecoder(in); ; {
		var t task
		if err := tasks.Decode(&t); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var entries []l2.Entry
		for _, a := range addresses(t.Blocks...) {
			entries = append(entries, l2.Entry{Address: a})
		}
		if err := answers.Encode(begin(ipv4, ipv6, on, entries)); err != nil {
			return err
		}
	}
}

// begin has the entries answered, as soon as the interface has the link-local address that IPv6 needs.
func begin(ipv4 *arp.Responders, ipv6 *ndp.Responders, on []l2.Interface, entries []l2.Entry) done {
	for late := time.After(10 * time.Second); ; {
		began := time.Now()
		running4, err4 := ipv4.Sync(entries)
		running6, err6 := ipv6.Sync(on, entries)
		d := done{Running: len(running4) + len(running6), Took: time.Since(began)}
		if err := errors.Join(err4, err6); err != nil {
			d.Error = err.Error()
		}
		if d.Running == len(entries) {
			return d
		}
		select {
		case <-ipv6.Failed():
		case <-late:
			return d
		}
	}
}

type unmetered struct{}

func (unmetered) RequestReceived(netip.Addr) {}
func (unmetered) ResponseSent(netip.Addr)    {}
func (unmetered) GratuitousSent(netip.Addr)  {}

// node is a machine with responders, as the client sees it.
type node struct {
	cmd   *exec.Cmd
	tasks *json.Encoder
	dones *json.Decoder
	end   func()
	*asker
}

// startNode makes a node with a cable to an interface of the client's, whose name is given, and no address to answer for.
func startNode(cable string) (n *node, err error) {
	n = &node{}
	pid, release, err := bench.Machine()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	if err := connect(cable, pid); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	n.cmd = exec.Command("nsenter", "-t", strconv.Itoa(pid), "-n", "taskset", "-c", strconv.Itoa(nodeCPU), self, "respond")
	n.cmd.Stderr = os.Stderr
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := n.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	n.tasks, n.dones = json.NewEncoder(in), json.NewDecoder(out)
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	n.end = func() {
		_ = in.Close()
		_ = n.cmd.Wait()
		_ = bench.IP("link", "del", cable)
		release()
	}
	if n.asker, err = newAsker(cable); err != nil {
		_ = n.cmd.Process.Kill()
		return nil, errors.Join(err, n.cmd.Wait())
	}
	return n, nil
}

func (n *node) close() {
	n.asker.close()
	n.end()
}

// answer has the node answer for addresses, and waits until it does.
func (n *node) answer(blocks ...block) (done, error) {
	if err := n.tasks.Encode(task{blocks}); err != nil {
		return done{}, err
	}
	var d done
	if err := n.dones.Decode(&d); err != nil {
		return d, fmt.Errorf("the node with the responders: %w", err)
	}
	if want := len(addresses(blocks...)); d.Error != "" || d.Running != want {
		return d, fmt.Errorf("the node answers for %d of %d addresses: %s", d.Running, want, d.Error)
	}
	return d, nil
}

func (n *node) cpu() (time.Duration, error) { return bench.ProcessCPU(n.cmd.Process.Pid) }

// The client and the node have a processor each, as two machines have: what one sends interrupts the other. On a virtual
// cable alone the kernel's answer is made, and has arrived, before the client's system call that asks is over, which no LAN
// can do.
const clientCPU, nodeCPU = 0, 1

// interrupts has frames that arrive at interfaces made from now on, in the namespace that the command runs in, served by a
// processor (receive packet steering; Linux 6.3 or newer).
func interrupts(cpu int, command ...string) error {
	cmd := exec.Command("sh", "-c", fmt.Sprintf("echo %x >/proc/sys/net/core/rps_default_mask", 1<<cpu))
	if len(command) > 0 {
		cmd = exec.Command(command[0], append(command[1:], cmd.Args...)...)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return nil
}

// connect lays a cable to the namespace of a process and gives both ends addresses. Nobody probes for duplicates, which
// takes seconds.
func connect(cable string, pid int) error {
	const client = "addr add 10.0.0.2/8 dev %[1]s\naddr add 2001:db8::2/32 dev %[1]s nodad\nlink set %[1]s up\n"
	there := []string{"nsenter", "-t", strconv.Itoa(pid), "-n"}
	if err := errors.Join(interrupts(clientCPU), interrupts(nodeCPU, there...)); err != nil {
		return err
	}
	if err := errors.Join(
		bench.IP("link", "add", cable, "type", "veth", "peer", "name", nodeInterface, "netns", strconv.Itoa(pid)),
		os.WriteFile("/proc/sys/net/ipv6/conf/"+cable+"/accept_dad", []byte("0"), 0),
		bench.Batch(fmt.Sprintf(client, cable), "ip"),
	); err != nil {
		return err
	}
	quiet := exec.Command(there[0], append(there[1:], "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/"+nodeInterface+"/accept_dad")...)
	if out, err := quiet.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", quiet, err, out)
	}
	return bench.Batch(fmt.Sprintf("link set lo up\naddr add %s/8 dev %[3]s\naddr add %[2]s/32 dev %[3]s nodad\nlink set %[3]s up\n", nodeIPv4, nodeIPv6, nodeInterface),
		append(there, "ip")...)
}
