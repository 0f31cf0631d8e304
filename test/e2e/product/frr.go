package product

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// StartFRR runs daemons of FRR on a machine that is no router of the lab's, until the test ends. They can write to the directory
// dir, where their sockets for vtysh are. The configuration is for all of them.
func (p *Product) StartFRR(t testing.TB, machine string, daemons []string, configuration func(dir string) string) (dir string, err error) {
	t.Helper()
	if dir, err = os.MkdirTemp("", "metallb-frr-"); err != nil { // FRR's user must get into it
		return "", err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{}, len(daemons))
	running := 0
	t.Cleanup(func() {
		cancel()
		for range running {
			<-ended
		}
		_ = os.RemoveAll(dir)
	})
	for name, text := range map[string]string{"empty.conf": "", "frr.conf": configuration(dir)} { // a daemon's own -f takes only a part of the language
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(dir, 0o775); err != nil {
		return "", err
	}
	if out, err := exec.Command("chown", "-R", "frr:frrvty", dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	for _, d := range daemons {
		line := fmt.Sprintf("/usr/lib/frr/%s -f %[2]s/empty.conf -z %[2]s/z -i %[2]s/%[1]s.pid --vty_socket %[2]s -u frr -g frr -P 0", d, dir)
		if d == "bfdd" {
			line += " --bfdctl " + dir + "/bfdd.sock"
		}
		running++
		go func() {
			_, _ = p.Exec(ctx, machine, strings.Fields(line)...)
			ended <- struct{}{}
		}()
		err := Until(Within(t, time.Minute), d+" on "+machine, func() (bool, error) {
			_, err := os.Stat(filepath.Join(dir, d+".vty"))
			return err == nil, err
		})
		if err != nil {
			return "", err
		}
	}
	_, err = p.Exec(Within(t, time.Minute), machine, "vtysh", "--vty_socket", dir, "-f", filepath.Join(dir, "frr.conf"))
	return dir, err
}
