package lab_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"metallb.io/operator/test/lab"
)

const crashEnv = "LAB_TEST_CRASH"

// crash is a test binary that dies with a cluster on its hands.
func crash() {
	_, err := lab.Up(context.Background(), lab.Options{Nodes: 1, Logf: func(format string, args ...any) {
		fmt.Printf(format+"\n", args...)
		if strings.HasPrefix(format, "API server ready") {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}})
	fmt.Println("not killed:", err)
	os.Exit(1)
}

// TestCrash: whoever made a cluster is killed in the middle of it, and nothing is left a moment later.
func TestCrash(t *testing.T) {
	lab.Require(t)
	before := clean(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t, 2*time.Minute), self)
	cmd.Env = append(os.Environ(), crashEnv+"=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("it was to be killed: %v\n%s", err, &out)
	}
	if !strings.Contains(out.String(), "API server ready") {
		t.Fatalf("it was killed too early:\n%s", &out)
	}
	sameLeavings(t, before)
}
