package udp

import (
	"errors"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/bfd"
)

const (
	// granularity is the least time between two deadlines that the loop wakes for: what is due within it is done together.
	granularity = time.Millisecond
	// tolerance is how late a judgement may be without the process counting as late: a wake-up and some work.
	tolerance = 5 * time.Millisecond
	// grace is how much longer a late judgement is put off, for what the kernel has not put into the sockets yet: on a
	// machine that stood still as a whole that is work it has still to do.
	grace = 10 * time.Millisecond
	// mostPackets of one socket are read before the timers get their turn. It is more than a socket's queue holds, so that
	// all that waited when the loop began to read has been read, whoever floods the port.
	mostPackets = 1 << 14
)

// loop runs until the engine is told to stop. It keeps its thread for itself, so that a wake-up needs no other thread of
// this process, and asks the kernel to be let run soon rather than long.
func (e *engine) loop(wake int, requests <-chan func(*engine)) {
	runtime.LockOSThread() // and never unlocked: the thread, whose scheduling is changed, ends with the loop
	shortSlice()
	var fds []unix.PollFd
	for !e.stop {
		due := e.pass(time.Now())
		fds = append(fds[:0], unix.PollFd{Fd: int32(wake), Events: unix.POLLIN})
		if e.place == owner {
			for _, fd := range e.receivers {
				fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			}
		}
		wait(fds, due)
		if fds[0].Revents != 0 {
			var counter [8]byte
			_, _ = unix.Read(wake, counter[:])
		}
		for more := true; more && !e.stop; {
			select {
			case f := <-requests:
				f(e)
			default:
				more = false
			}
		}
		e.flush()
	}
}

// wait returns when there is something to read, or at the time; zero: no time.
func wait(fds []unix.PollFd, until time.Time) {
	var timeout *unix.Timespec
	if !until.IsZero() {
		t := unix.NsecToTimespec(int64(max(time.Until(until), granularity)))
		timeout = &t
	}
	_, _ = unix.Ppoll(fds, timeout, nil) // after a signal there is a pass more
}

// pass reads all that there is, then does what is due at now, and returns when it wants to be called again. In this order:
// a session whose packet waits in the socket is not silent.
func (e *engine) pass(now time.Time) time.Time {
	if e.place == owner {
		for k, fd := range e.receivers {
			e.drain(k, fd)
		}
	}
	for len(e.timers) > 0 && !e.timers[0].due.After(now) {
		e.tick(e.timers[0], now)
	}
	if !e.retryAt.IsZero() && !now.Before(e.retryAt) {
		e.retry(now)
	}
	e.flush()
	due := e.retryAt
	if len(e.timers) > 0 && (due.IsZero() || e.timers[0].due.Before(due)) {
		due = e.timers[0].due
	}
	return due
}

func (e *engine) retry(now time.Time) {
	e.retryAt = time.Time{}
	for _, s := range e.sessions {
		if s.machine == nil && s.err != nil {
			e.begin(s, now)
		}
	}
	e.news()
}

// tick does what is due for a session.
func (e *engine) tick(s *session, now time.Time) {
	if s.leaving && !now.Before(s.leaveAt) {
		e.remove(s)
		return
	}
	if s.machine.Excuse(tolerance, grace, now) {
		e.rearm(s)
		return
	}
	e.took(s, s.machine.Tick(now), now)
}

// took does what follows from a session's machine.
func (e *engine) took(s *session, out bfd.Output, now time.Time) {
	e.send(s, out)
	e.rearm(s)
	if !out.Changed || s.leaving { // of what nobody wants nobody wants to hear
		return
	}
	st := s.machine.Status()
	e.server.report(Change{
		Key: s.want.Key, From: out.From, To: st.State, Diagnostic: st.Diagnostic, Remote: st.Remote, At: now,
		Failed: out.From == bfd.Up && st.State == bfd.Down && st.Remote.State != bfd.AdminDown,
	})
	e.news()
}

func (e *engine) send(s *session, out bfd.Output) {
	if !out.Send {
		return
	}
	s.err = nil
	e.scratch = out.Packet.Append(e.scratch[:0])
	if s.via.box.add(s, e.scratch) {
		s.via.box.flush(s.via.fd, e.notSent)
	}
}

func (e *engine) flush() {
	for _, t := range e.senders {
		if t.box.n > 0 {
			t.box.flush(t.fd, e.notSent)
		}
	}
}

// notSent remembers why a packet was not sent. An interface that was made anew has another number.
func (e *engine) notSent(s *session, err error) {
	s.sendErrors++
	s.err = err
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EINVAL) {
		e.relocate(s)
	}
}

// shortSlice asks the kernel (6.12 and newer; others ignore it) to prefer this thread when it wakes, at the price of letting
// it run for a tenth of a millisecond at a time only. It needs no right, and its failure no answer.
func shortSlice() {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return
	}
	attr.Runtime = uint64(100 * time.Microsecond)
	_ = unix.SchedSetAttr(0, attr, 0)
}
