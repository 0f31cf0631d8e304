package udp

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// again is how often a process asks for the place of one that has just ended.
	again = 2 * time.Millisecond
	// later is how often it does when it is not its turn.
	later = 100 * time.Millisecond
)

// running is an engine at work.
type running struct {
	wake   int // an eventfd
	done   chan struct{}
	last   table // of the owner, once done
	cancel context.CancelFunc
	others sync.WaitGroup // the goroutine that waits for its turn

	mu   sync.Mutex
	line *successors // of the owner
}

// Sync makes the desired sessions run, each once, and no others. It returns the status of those that are wanted, in order,
// also where an error says which could not begin; those do not keep the others from running, and are tried again by
// themselves. Changed settings reach the peer by a Poll Sequence and never reset a session. One that is not wanted any more
// ends with AdminDown. A second Sync with the same sessions does nothing.
func (s *Server) Sync(desired []Session) (observed []Status, err error) {
	if started, err := s.start(len(desired) > 0); err != nil || !started {
		return nil, err
	}
	failed := s.do(func(e *engine) { observed, err = e.apply(desired, time.Now()) })
	return observed, errors.Join(failed, err)
}

// start begins, if there is a reason to.
func (s *Server) start(wanted bool) (started bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return false, ErrClosed
	case s.engine != nil || !wanted:
		return s.engine != nil, nil
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{wake: wake, done: make(chan struct{}), cancel: cancel}
	s.requests = make(chan func(*engine), 16)
	s.engine = r
	e := newEngine(s)
	e.news = r.tell
	l, err := claim(s.lock)
	switch {
	case err == nil:
		e.place = owner
		r.own(s, l)
	case !errors.Is(err, unix.EADDRINUSE):
		cancel()
		s.engine = nil
		return false, errors.Join(err, unix.Close(wake))
	default:
		r.others.Add(1)
		go func() {
			defer r.others.Done()
			s.waitForTurn(ctx, r)
		}()
	}
	go func() {
		defer close(r.done)
		e.loop(wake, s.requests)
		r.last = e.table()
		e.close()
	}()
	return true, nil
}

// own begins to serve successors.
func (r *running) own(s *Server, l *net.UnixListener) {
	w := &successors{listener: l, waiting: map[*successor]struct{}{}}
	w.current = func() (t table, err error) {
		err = s.do(func(e *engine) { t = w.stamp(e.table()) })
		return t, err
	}
	w.running.Add(1)
	go w.serve()
	r.mu.Lock()
	r.line = w
	r.mu.Unlock()
}

func (r *running) tell() {
	if w := r.served(); w != nil {
		w.tell()
	}
}

func (r *running) served() *successors {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.line
}

// do has the loop's thread call f, and waits for it. Nothing happens where the Server has never begun.
func (s *Server) do(f func(*engine)) error {
	s.mu.Lock()
	r, closed := s.engine, s.closed
	s.mu.Unlock()
	if r == nil {
		if closed {
			return ErrClosed
		}
		return nil
	}
	return s.ask(r, f)
}

func (s *Server) ask(r *running, f func(*engine)) error {
	called := make(chan struct{})
	select {
	case s.requests <- func(e *engine) { f(e); close(called) }:
	case <-r.done:
		return ErrClosed
	}
	one := [8]byte{1, 0, 0, 0, 0, 0, 0, 1} // not zero, whatever the byte order
	_, _ = unix.Write(r.wake, one[:])
	select {
	case <-called:
		return nil
	case <-r.done:
		return ErrClosed
	}
}

// waitForTurn stands in line until this process is the owner.
func (s *Server) waitForTurn(ctx context.Context, r *running) {
	nextInLine := false
	pause := later
	for ctx.Err() == nil {
		if l, err := claim(s.lock); err == nil {
			r.own(s, l)
			_ = s.ask(r, func(e *engine) { e.inherit(time.Now()) })
			s.log.Info("took the BFD sessions of this node over", "lock", s.lock)
			return
		}
		if !nextInLine {
			if turn, err := claim(s.lock + "/next"); err == nil {
				nextInLine = true
				defer turn.Close()
				s.log.Info("another process has the BFD sessions of this node; waiting for its end", "lock", s.lock)
			}
		}
		if nextInLine {
			pause = again
			err := follow(ctx, s.lock, func(t table) { s.prepare(r, t) })
			if err != nil {
				pause = later
			}
			_ = s.ask(r, func(e *engine) { e.blocked = err })
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// prepare takes a table of the owner, and joins the ports that the owner has.
func (s *Server) prepare(r *running, t table) {
	_ = s.ask(r, func(e *engine) {
		e.place, e.inherited = next, t
		for _, wanted := range e.sessions {
			e.begin(wanted, time.Now())
		}
	})
}

// Close ends all sessions. Where another process waits for them it gets them as they are, and their peers notice nothing.
// Otherwise they end with AdminDown, for as long as it takes to be heard, but not beyond ctx. It may be called again.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	r, closed := s.engine, s.closed
	s.closed = true
	s.mu.Unlock()
	if r == nil {
		return nil
	}
	if closed {
		<-r.done
		return nil
	}
	if w := r.served(); w == nil || !w.there() {
		s.farewell(ctx, r)
	}
	r.cancel()
	_ = s.ask(r, func(e *engine) { e.stop = true })
	<-r.done
	r.others.Wait()
	if w := r.served(); w != nil {
		w.close(w.stamp(r.last))
	}
	return unix.Close(r.wake)
}

// farewell sends AdminDown and waits until it is heard.
func (s *Server) farewell(ctx context.Context, r *running) {
	idle := make(chan struct{})
	_ = s.ask(r, func(e *engine) {
		_, _ = e.apply(nil, time.Now())
		if len(e.sessions) == 0 {
			close(idle)
			return
		}
		e.idle = idle
	})
	select {
	case <-idle:
	case <-ctx.Done():
	case <-r.done:
	}
}
