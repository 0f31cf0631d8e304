package pid1

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSteps runs steps as a machine does, and reaps as its first process does.
func TestSteps(t *testing.T) {
	t.Chdir(t.TempDir())
	c := &children{env: []string{"PATH=/usr/bin:/bin", "SAY=hello"}, ended: map[int]chan syscall.WaitStatus{}}
	go c.reap()
	sh := func(script string) []string { return []string{"/bin/sh", "-c", script, "sh"} }
	for name, content := range map[string]string{"b.tar": "", "a.tar": ""} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	steps := []Step{
		{Name: "first", Args: sh("sleep 0.2; echo $SAY; echo first >>order"), Wait: true},
		{Name: "each", Args: sh("echo $1 >>order"), Each: "*.tar", Wait: true},
		{Name: "retry", Args: sh("echo x >>tries; test $(wc -l <tries) -ge 3 && echo third >>order"), Retry: true},
		{Name: "daemon", Args: sh("sleep 0.3; touch up; sleep 60")},
		{Name: "awaits", Args: sh("echo last >>order"), Await: "up", Wait: true},
		{Name: "fails", Args: sh("exit 3"), Wait: true}, // reported, not fatal
		{Name: "absent", Args: []string{"/no/such/program"}},
	}
	var failed []string
	start := time.Now()
	for _, s := range steps {
		if err := c.do(s); err != nil {
			failed = append(failed, err.Error())
		}
	}
	order, err := os.ReadFile("order")
	if want := "first\na.tar\nb.tar\nthird\nlast\n"; err != nil || string(order) != want {
		t.Errorf("order %q, want %q; %v", order, want, err)
	}
	if log, err := os.ReadFile("first.log"); err != nil || string(log) != "hello\n" {
		t.Errorf("log %q, %v", log, err)
	}
	if len(failed) != 1 || !strings.HasPrefix(failed[0], "absent: ") {
		t.Errorf("errors: %q", failed)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it waited for the daemon: %s", took)
	}
	c.mu.Lock()
	left := len(c.ended)
	for pid := range c.ended {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	c.mu.Unlock()
	if left != 1 {
		t.Errorf("%d children left, want the daemon alone", left)
	}
}

func TestWhoIsNotAwaitedDoesNotLive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node1", "spec.json")
	if err := (&Spec{Hostname: "node1"}).Write(path); err != nil {
		t.Fatal(err)
	}
	stdin := os.Stdin
	defer func() { os.Stdin = stdin }()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	os.Stdin = r
	w.Close() // whoever started the machine is gone
	if err := Main(Enter, path); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Error(err)
	}
}
