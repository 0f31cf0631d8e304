package bgptest

import (
	"os"
	"testing"

	"metallb.io/operator/internal/l2/l2test"
)

// BIRD is a router.
type BIRD struct {
	Host   *l2test.Host
	socket string
}

// StartBIRD starts one that ends with the test.
func StartBIRD(t testing.TB, h *l2test.Host, configuration string) *BIRD {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/bird.conf", []byte(configuration), 0o644); err != nil {
		t.Fatal(err)
	}
	b := &BIRD{h, dir + "/bird.ctl"}
	h.Start(t, "bird -f -c "+dir+"/bird.conf -s "+b.socket)
	l2test.Eventually(t, soon, "BIRD is there", func() bool {
		_, err := os.Stat(b.socket)
		return err == nil
	})
	return b
}

// Ask gives a command and returns the answer.
func (b *BIRD) Ask(command string) string {
	out, _ := b.Host.Run("birdc -s " + b.socket + " " + command)
	return out
}
