package responder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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
	yielding map[netip.Addr]struct{}  // of answered: those that end when another station claims them
	claimed  map[netip.Addr]time.Time // of answered: when another station did, since this one began
	admitted []netip.Addr             // by the socket's filter
	dead     bool
	asked    map[netip.Addr]time.Time // addresses that were asked for, and when

	hearing sync.Mutex // after mu where both are held
	heard   l2.Sightings
}

// recent is how long another station's claim counts as one to an address that is yielded only afterwards: the successor may
// have been told first. It is longer than any pause between the rounds of the first seconds of l2.Claim.
const recent = 1200 * time.Millisecond

// NewResponder returns a Responder that answers for nothing and has not started.
func NewResponder(at Place, link Link, p Protocol) *Responder {
	p.Log = p.Log.With("interface", at.Name)
	return &Responder{
		Protocol: p, place: at, link: link, wake: make(chan struct{}, 1), closing: make(chan struct{}),
		answered: map[netip.Addr]struct{}{}, yielding: map[netip.Addr]struct{}{}, claimed: map[netip.Addr]time.Time{},
		asked: map[netip.Addr]time.Time{},
	}
}

// start begins to read and to claim. failed is called once, when the socket has died; sighted, when another station was heard
// to have an address that matters.
func (r *Responder) start(failed, sighted func()) {
	r.loops.Go(func() { r.read(failed, sighted) })
	r.loops.Go(r.claim)
}

// Set makes the responder answer for the desired addresses, go on answering for the yielding ones as far as it does until
// another station claims them, and answer for no other. Both are sorted. After an error requests for some of them may not
// arrive, and the next call tries again.
func (r *Responder) Set(desired, yielding []netip.Addr, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	begin, end := l2.Diff(r.sorted, desired)
	for a := range r.yielding { // it may have been claimed meanwhile
		if contains(desired, a) {
			begin = append(begin, a)
		}
	}
	for _, a := range end {
		if contains(yielding, a) && now.Sub(r.claimed[a]) > recent {
			r.yielding[a] = struct{}{}
			r.schedule.End(a)
			continue
		}
		r.forget(a)
	}
	for _, a := range begin {
		r.answered[a] = struct{}{}
		r.begin(a, now)
	}
	r.sorted = desired
	if len(r.yielding) > 0 {
		r.sorted = slices.AppendSeq(slices.Clone(desired), maps.Keys(r.yielding))
		slices.SortFunc(r.sorted, netip.Addr.Compare)
	}
	if len(begin) > 0 {
		signal(r.wake)
	}
	return r.admit()
}

// admit lets in frames about what is answered. mu is held, so that no claim leaves before: who hears it may ask at once.
func (r *Responder) admit() error {
	if slices.Equal(r.sorted, r.admitted) {
		return nil
	}
	if err := r.link.Admit(l2.Cover(r.sorted, MaxRanges)); err != nil {
		r.admitted = nil
		return fmt.Errorf("cannot let in frames about %d addresses: %w", len(r.sorted), err)
	}
	r.admitted = r.sorted
	return nil
}

func contains(sorted []netip.Addr, a netip.Addr) bool {
	_, ok := slices.BinarySearchFunc(sorted, a, netip.Addr.Compare)
	return ok
}

// begin starts the claims of an address; mu is held.
func (r *Responder) begin(a netip.Addr, now time.Time) {
	delete(r.yielding, a)
	delete(r.claimed, a)
	r.schedule.Begin(a, now)
}

// forget makes the responder silent for an address; mu is held.
func (r *Responder) forget(a netip.Addr) {
	delete(r.answered, a)
	delete(r.yielding, a)
	delete(r.claimed, a)
	r.schedule.End(a)
}

// reclaim begins the claims of all addresses anew that are not yielded.
func (r *Responder) reclaim(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.sorted {
		if _, yielding := r.yielding[a]; !yielding {
			r.begin(a, now)
		}
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
		r.lose(target, time.Now())
	}
}

// answer takes a frame whose target address is known. Its cost does not depend on how many addresses are answered. claimed
// reports that another station claims an address that is answered here.
func (r *Responder) answer(target netip.Addr, frame []byte) (claimed bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, ours := r.answered[target]; !ours {
		return false
	}
	reply, rival, err := r.link.Answer(frame)
	if reply == nil && err == nil {
		return rival
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

// lose takes another station's claim to an address that is answered here: one that is yielded is its own from now on.
func (r *Responder) lose(a netip.Addr, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, yielding := r.yielding[a]; yielding {
		i, _ := slices.BinarySearchFunc(r.sorted, a, netip.Addr.Compare)
		r.sorted = slices.Delete(slices.Clone(r.sorted), i, i+1)
		r.forget(a)
	} else if _, answered := r.answered[a]; answered {
		r.claimed[a] = now
	}
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
