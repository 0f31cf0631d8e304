package testenv

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// guard ends the servers and removes their files when this process ends without doing so: a test that panics, a -timeout
// that passes, an interrupt.
type guard struct {
	cmd  *exec.Cmd
	pipe io.Closer // open as long as this process lives
}

// script waits until its input ends, then ends the processes whose ids stand before "--" and removes what stands after.
const script = `read -r _; while [ "$1" != -- ]; do kill -9 "$1" 2>/dev/null; shift; done; shift; sleep 1; rm -rf "$@"`

func newGuard(env *envtest.Environment) (*guard, error) {
	children, err := ownChildren()
	if err != nil {
		return nil, err
	}
	args := append([]string{"-c", script, "guard"}, children...)
	args = append(args, "--", env.ControlPlane.Etcd.DataDir, env.ControlPlane.GetAPIServer().CertDir)
	g := &guard{cmd: exec.Command("sh", args...)}
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what interrupts us does not end it
	if g.pipe, err = g.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return g, g.cmd.Start()
}

// dismiss ends the guard before it does anything.
func (g *guard) dismiss() {
	if g == nil || g.cmd.Process == nil {
		return
	}
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait()
	_ = g.pipe.Close()
}

// ownChildren lists the ids of the processes that this one has started.
func ownChildren() ([]string, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var children []string
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// After the name, which stands in brackets: state, then the parent's id (proc(5)).
		var state string
		var parent int
		if _, err := fmt.Sscan(string(text[bytes.LastIndexByte(text, ')')+1:]), &state, &parent); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if parent == os.Getpid() {
			children = append(children, filepath.Base(filepath.Dir(path)))
		}
	}
	return children, nil
}
