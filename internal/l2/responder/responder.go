package responder

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2"
)

// Responder answers on one interface. Frames are sent with mu held for reading, so that once an address was ended under
// the write lock no further frame leaves for it.
type Responder struct {
	Protocol
	place Place
	link  Link

	wake    chan struct{} // size 1: the schedule has changed
	closing chan struct{}
	loops   sync.WaitGroup

	mu       sync.RWMutex
	sorted   []netip.Addr
	answered map[netip.Addr]struct{}
	schedule l2.Schedule
	yielding bool // an address ends here when another station claims it
	dead     bool
	asked    map[netip.Addr]time.Time // addresses that were asked for, and when

	hearing sync.Mutex // after mu where both are held
	heard   l2.Sightings
}

// NewResponder returns a Responder that answers for nothing and has not started.
func NewResponder(at Place, link Link, p Protocol) *Responder {
	p.Log = p.Log.With("interface", at.Name)
	return &Responder{
		Protocol: p, place: at, link: link, wake: make(chan struct{}, 1), closing: make(chan struct{}),
		answered: map[netip.Addr]struct{}{}, asked: map[netip.Addr]time.Time{},
	}
}

// start begins to read and to claim. failed is called once, when the socket has died; sighted, when another station was heard
// to have an address that matters.
func (r *Responder) start(failed, sighted func()) {
	r.loops.Go(func() { r.read(failed, sighted) })
	r.loops.Go(r.claim)
}

// Set makes the responder answer for these addresses, sorted, and for no other.
func (r *Responder) Set(desired []netip.Addr, now time.Time) {
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
		signal(r.wake)
	}
}

// reclaim begins the claims of all addresses anew.
func (r *Responder) reclaim(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.sorted {
		r.schedule.Begin(a, now)
	}
	signal(r.wake)
}

// running returns the addresses that are answered, sorted; alive is false when the socket has died.
func (r *Responder) running() (addresses []netip.Addr, alive bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.dead {
		return nil, false
	}
	return r.sorted, true
}

// close ends the responder; nothing is sent any more when it returns.
func (r *Responder) close() {
	close(r.closing)
	_ = r.link.Close() // nothing to do about it
	r.loops.Wait()
}

// read serves frames until the socket is closed or dies.
func (r *Responder) read(failed, sighted func()) {
	buf := make([]byte, MaxFrame)
	for {
		n, _, err := r.link.ReadFrom(buf)
		if err != nil {
			if r.die(err) {
				failed()
			}
			return
		}
		r.Serve(buf[:n])
		if r.hear(buf[:n]) {
			sighted()
		}
	}
}

// Serve does what a frame that was received asks for.
func (r *Responder) Serve(frame []byte) {
	if target, ok := r.link.Target(frame); ok && r.answer(target, frame) {
		r.end(target)
	}
}

// answer takes a frame whose target address is known. Its cost does not depend on how many addresses are answered. lost
// reports that the address is to be given up because another station claims it.
func (r *Responder) answer(target netip.Addr, frame []byte) (lost bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, ours := r.answered[target]; !ours {
		return false
	}
	reply, rival, err := r.link.Answer(frame)
	if reply == nil && err == nil {
		return rival && r.yielding
	}
	r.Meter.RequestReceived(target)
	if err == nil {
		err = r.send(reply)
	}
	if err != nil {
		r.Log.Debug(r.Texts.CannotAnswer, "address", target, "error", err)
		return false
	}
	r.Meter.ResponseSent(target)
	return false
}

func (r *Responder) send(frame []byte) error {
	_, err := r.link.WriteTo(frame, r.link.Destination(frame))
	return err
}

// end makes the responder fall silent for one address.
func (r *Responder) end(a netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i, ours := slices.BinarySearchFunc(r.sorted, a, netip.Addr.Compare); ours {
		r.sorted = slices.Delete(slices.Clone(r.sorted), i, i+1)
		delete(r.answered, a)
		r.schedule.End(a)
	}
}

// yield makes the responder give up an address as soon as another station claims it.
func (r *Responder) yield() {
	r.link.Yield()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.yielding = true
}

// claim sends gratuitous frames when they are due.
func (r *Responder) claim() {
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
func (r *Responder) announce(a netip.Addr) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, ours := r.answered[a]; !ours {
		return
	}
	frames, err := r.link.Claim(a)
	for _, f := range frames {
		if err = r.send(f); err != nil {
			break
		}
		r.Meter.GratuitousSent(a)
	}
	if err != nil {
		r.Log.Debug(r.Texts.CannotClaim, "address", a, "error", err)
	}
}

// die notes that the socket cannot be read any more, and reports whether that is news: it was not closed on purpose.
func (r *Responder) die(err error) bool {
	select {
	case <-r.closing:
		return false
	default:
	}
	r.mu.Lock()
	r.dead = true
	r.mu.Unlock()
	level := slog.LevelWarn
	if errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		level = slog.LevelDebug // the interface went down or away, which is reported as such
	}
	r.Log.Log(context.Background(), level, r.Texts.SocketFailed, "error", err)
	return true
}
