package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTimersAreRelaxed has this test itself as the process that begins anew.
func TestTimersAreRelaxed(t *testing.T) {
	const inside = "TIMERS_TEST_INSIDE"
	if os.Getenv(inside) != "" {
		relaxTimers(slog.Default())
		slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		fmt.Println(os.Getpid(), time.Duration(slack), err, os.Args[1:])
		os.Exit(0)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), inside+"=yes")
	cmd.Stderr = os.Stderr
	said, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	// A thread has the slack of the one that started it, and all began with the one that began anew.
	if want := fmt.Sprintln(cmd.Process.Pid, timerSlack, nil, cmd.Args[1:]); string(said) != want {
		t.Errorf("the process says %q, want %q", said, want)
	}
}
