package ndp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2"
)

// conn is the part of a packet socket that a responder uses.
type conn interface {
	ReadFrom(b []byte) (int, net.Addr, error)
	WriteTo(b []byte, addr net.Addr) (int, error)
	SetBPF(filter []bpf.RawInstruction) error
	Close() error
}

// listen opens a packet socket for neighbour solicitations on an interface.
func listen(ifi l2.Interface) (conn, error) {
	f, err := filter(false)
	if err != nil {
		return nil, err
	}
	c, err := packet.Listen(&net.Interface{Index: ifi.Index, Name: ifi.Name, HardwareAddr: ifi.HardwareAddr()},
		packet.Raw, unix.ETH_P_IPV6, &packet.Config{Filter: f})
	if err != nil {
		return nil, err
	}
	if err := enlarge(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// enlarge makes room for the burst of questions when a router has lost its neighbour table. The kernel makes less of it
// where net.core.rmem_max says so.
func enlarge(c *packet.Conn) error {
	const receiveBuffer = 4 << 20
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = rc.Control(func(fd uintptr) {
		setErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	})
	return errors.Join(err, setErr)
}

// responder answers on one interface. Frames are sent with mu held for reading, so that once an address was ended under
// the write lock no further frame leaves for it.
type responder struct {
	place
	conn   conn
	meter  l2.Meter
	log    *slog.Logger
	failed func() // called once, when the socket has died

	groups  *groups      // this and the next are used by join and close only, which are not called at a time
	members []netip.Addr // the addresses for which all groups are joined

	wake    chan struct{} // size 1: the schedule has changed
	closing chan struct{}
	loops   sync.WaitGroup

	mu       sync.RWMutex
	sorted   []netip.Addr
	answered map[netip.Addr]struct{}
	schedule l2.Schedule
	yielding bool // an address ends here when another station advertises it
	dead     bool
}

func start(p place, c conn, g *groups, meter l2.Meter, log *slog.Logger, failed func()) *responder {
	r := &responder{
		place: p, conn: c, groups: g, meter: meter, log: log, failed: failed,
		wake: make(chan struct{}, 1), closing: make(chan struct{}), answered: map[netip.Addr]struct{}{},
	}
	r.loops.Go(r.read)
	r.loops.Go(r.claim)
	return r
}

// set makes the responder answer for these addresses, sorted, and for no other. join is to follow.
func (r *responder) set(desired []netip.Addr, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	begin, end := l2.Diff(r.sorted, desired)
	for _, a := range end {
		delete(r.answered, a)
		r.schedule.End(a)
	}
	for _, a := range begin {
		r.answered[a] = struct{}{}
		r.schedule.Begin(a, now)
	}
	r.sorted = desired
	if len(begin) > 0 {
		r.poke()
	}
}

// join makes the responder a member of its addresses' groups. It is apart from set because thousands of groups take the
// kernel a second, and claims need none. An address whose group cannot be joined is answered all the same, to those who
// ask by unicast at least; the next call tries again.
func (r *responder) join() error {
	sorted, alive := r.running()
	if !alive || slices.Equal(sorted, r.members) {
		return nil
	}
	wanted := make(map[netip.Addr]bool, len(sorted))
	for _, a := range sorted {
		wanted[groupOf(a)] = true
	}
	missing, err := r.groups.set(wanted)
	if missing > 0 {
		r.members = nil
		return fmt.Errorf("interface %s: cannot join %d of %d solicited-node groups: %w", r.Name, missing, len(wanted), err)
	}
	r.members = sorted
	return nil
}

func (r *responder) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// running returns the addresses that are answered, sorted; alive is false when the socket has died.
func (r *responder) running() (addresses []netip.Addr, alive bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.dead {
		return nil, false
	}
	return r.sorted, true
}

// close ends the responder; nothing is sent any more when it returns.
func (r *responder) close() {
	close(r.closing)
	_ = r.conn.Close() // nothing to do about it
	r.loops.Wait()
	r.groups.close()
}

// read answers solicitations until the socket is closed or dies.
func (r *responder) read() {
	buf := make([]byte, maxFrame)
	for {
		n, _, err := r.conn.ReadFrom(buf)
		if err != nil {
			r.die(err)
			return
		}
		target, ok := targetOf(buf[:n])
		if ok && r.serve(target, buf[:n]) {
			r.end(target)
		}
	}
}

// serve takes a frame whose target address is known. Its cost does not depend on how many addresses are answered. lost
// reports that the address is to be given up because another station advertises it.
func (r *responder) serve(target netip.Addr, frame []byte) (lost bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, ours := r.answered[target]; !ours {
		return false
	}
	m, ok := parse(frame)
	if !ok {
		return false
	}
	if m.advertisement {
		return r.yielding && m.mac != r.MAC
	}
	r.meter.RequestReceived(target)
	if err := r.send(answer(m, r.place)); err != nil {
		r.log.Debug("cannot send a neighbour advertisement", "interface", r.Name, "address", target, "error", err)
		return false
	}
	r.meter.ResponseSent(target)
	return false
}

func (r *responder) send(frame []byte) error {
	_, err := r.conn.WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])})
	return err
}

// end makes the responder fall silent for one address. Its group is left by the next join.
func (r *responder) end(a netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i, ours := slices.BinarySearchFunc(r.sorted, a, netip.Addr.Compare); ours {
		r.sorted = slices.Delete(slices.Clone(r.sorted), i, i+1)
		delete(r.answered, a)
		r.schedule.End(a)
	}
}

// yield makes the responder give up an address as soon as another station advertises it. Only from now on are
// advertisements let into the process.
func (r *responder) yield() {
	f, err := filter(true)
	if err == nil {
		err = r.conn.SetBPF(f)
	}
	if err != nil {
		r.log.Warn("cannot listen for a successor's advertisements", "interface", r.Name, "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.yielding = true
}

// claim sends unsolicited advertisements when they are due.
func (r *responder) claim() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		r.mu.Lock()
		due := r.schedule.Due(time.Now())
		next, ok := r.schedule.Next()
		r.mu.Unlock()
		for _, a := range due {
			r.announce(a)
		}
		if ok {
			timer.Reset(time.Until(next))
		} else {
			timer.Stop()
		}
		select {
		case <-timer.C:
		case <-r.wake:
		case <-r.closing:
			return
		}
	}
}

// announce sends one round for an address, if it is still answered. A frame that cannot be sent is made up for by the
// next round.
func (r *responder) announce(a netip.Addr) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, ours := r.answered[a]; !ours {
		return
	}
	if err := r.send(unsolicited(a, r.place)); err != nil {
		r.log.Debug("cannot send an unsolicited neighbour advertisement", "interface", r.Name, "address", a, "error", err)
		return
	}
	r.meter.GratuitousSent(a)
}

// die notes that the socket cannot be read any more, unless it was closed on purpose.
func (r *responder) die(err error) {
	select {
	case <-r.closing:
		return
	default:
	}
	r.mu.Lock()
	r.dead = true
	r.mu.Unlock()
	level := slog.LevelWarn
	if errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		level = slog.LevelDebug // the interface went down or away, which is reported as such
	}
	r.log.Log(context.Background(), level, "NDP socket failed", "interface", r.Name, "error", err)
	r.failed()
}
