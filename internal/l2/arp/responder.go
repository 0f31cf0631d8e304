package arp

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2"
)

// conn is the part of a packet socket that a responder uses.
type conn interface {
	ReadFrom(b []byte) (int, net.Addr, error)
	WriteTo(b []byte, addr net.Addr) (int, error)
	Close() error
}

// listen opens a packet socket for ARP requests on an interface.
func listen(ifi l2.Interface) (conn, error) {
	f, err := filter()
	if err != nil {
		return nil, err
	}
	return packet.Listen(&net.Interface{Index: ifi.Index, Name: ifi.Name, HardwareAddr: ifi.HardwareAddr()},
		packet.Raw, unix.ETH_P_ARP, &packet.Config{Filter: f})
}

// responder answers on one interface. Frames are sent with mu held for reading, so that once an address was ended under
// the write lock no further frame leaves for it.
type responder struct {
	ifi    l2.Interface
	conn   conn
	meter  l2.Meter
	log    *slog.Logger
	failed func() // called once, when the socket has died

	wake    chan struct{} // size 1: the schedule has changed
	closing chan struct{}
	loops   sync.WaitGroup

	mu       sync.RWMutex
	sorted   []netip.Addr
	answered map[netip.Addr]struct{}
	schedule l2.Schedule
	yielding bool // an address ends here when another station claims it
	dead     bool
}

func start(ifi l2.Interface, c conn, meter l2.Meter, log *slog.Logger, failed func()) *responder {
	r := &responder{
		ifi: ifi, conn: c, meter: meter, log: log, failed: failed,
		wake: make(chan struct{}, 1), closing: make(chan struct{}), answered: map[netip.Addr]struct{}{},
	}
	r.loops.Go(r.read)
	r.loops.Go(r.claim)
	return r
}

// set makes the responder answer for these addresses, sorted, and for no other.
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
}

// read answers requests until the socket is closed or dies.
func (r *responder) read() {
	buf := make([]byte, 256) // a request is at most 60 octets, the rest of a longer frame is of no interest
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

// serve handles a frame whose target address is known. Its cost does not depend on how many addresses are answered.
// lost reports that the address is to be given up because another station claims it.
func (r *responder) serve(target netip.Addr, frame []byte) (lost bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, ours := r.answered[target]; !ours {
		return false
	}
	req, ok := parse(frame)
	if !ok {
		return false
	}
	if req.announcement() {
		return r.yielding && !bytes.Equal(req.senderMAC, r.ifi.MAC[:])
	}
	r.meter.RequestReceived(target)
	b, err := answer(req, r.ifi.HardwareAddr())
	if err == nil {
		_, err = r.conn.WriteTo(b, &packet.Addr{HardwareAddr: req.senderMAC})
	}
	if err != nil {
		r.log.Debug("cannot send an ARP reply", "interface", r.ifi.Name, "address", target, "error", err)
		return false
	}
	r.meter.ResponseSent(target)
	return false
}

// end makes the responder fall silent for one address.
func (r *responder) end(a netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i, ours := slices.BinarySearchFunc(r.sorted, a, netip.Addr.Compare); ours {
		r.sorted = slices.Delete(slices.Clone(r.sorted), i, i+1)
		delete(r.answered, a)
		r.schedule.End(a)
	}
}

// yield makes the responder give up an address as soon as another station claims it.
func (r *responder) yield() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.yielding = true
}

// claim sends gratuitous frames when they are due.
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
	frames, err := gratuitous(a, r.ifi.HardwareAddr())
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, ours := r.answered[a]; !ours {
		return
	}
	for _, f := range frames {
		if _, err = r.conn.WriteTo(f, &packet.Addr{HardwareAddr: net.HardwareAddr(f[:6])}); err != nil {
			break
		}
		r.meter.GratuitousSent(a)
	}
	if err != nil {
		r.log.Debug("cannot send gratuitous ARP", "interface", r.ifi.Name, "address", a, "error", err)
	}
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
	r.log.Log(context.Background(), level, "ARP socket failed", "interface", r.ifi.Name, "error", err)
	r.failed()
}
