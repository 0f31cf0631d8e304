package main

import (
	"log/slog"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// timerSlack is how late the kernel may wake a thread whose sleep is over. Its own is 50 µs. All timers are that much late at
	// most, and so is who takes over from a goroutine that is held up in a system call: nothing here is due that exactly.
	timerSlack = 10 * time.Millisecond
	// timersRelaxed is set in the environment of a process that has begun anew with timerSlack.
	timersRelaxed = "METALLB_TIMERS_RELAXED"
)

// relaxTimers has the kernel wake this process's threads up to timerSlack late (prctl(2), PR_SET_TIMERSLACK). While anything
// runs, Go's runtime has a thread that looks after the others every 20 µs; where a process mostly waits for the API server, and
// works for an instant on each answer, these are most of its switches between threads, and a sixth of its processor time.
//
// A thread has the slack of the one that started it, and that thread of the runtime is there before main is: so the process
// begins anew, once. Where that cannot be it goes on as it is.
func relaxTimers(log *slog.Logger) {
	if os.Getenv(timersRelaxed) != "" {
		return
	}
	runtime.LockOSThread() // the one whose slack is set is to be the one that begins anew
	defer runtime.UnlockOSThread()
	err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0)
	if err == nil {
		err = beginAnew(timersRelaxed + "=yes")
	}
	log.Warn("timers stay as they are, which costs processor time", "error", err)
}

// beginAnew starts this program again in its own place, with the same arguments and with more in its environment. It returns only
// if that cannot be.
func beginAnew(environment ...string) error {
	path, err := os.Executable() // not /proc/self/exe: that would be the name of the process
	if err != nil {
		return err
	}
	return syscall.Exec(path, os.Args, append(os.Environ(), environment...))
}
