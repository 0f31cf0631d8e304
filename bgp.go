package main

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/internal/bgp/engine"
)

// bgpProgram runs a BGP session. It is beside this program.
const bgpProgram = "metallb-bgp"

// newEngine returns an Engine whose processes log where this one does.
func newEngine(level string, log *slog.Logger) (*engine.Engine, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return engine.New(func() *exec.Cmd {
		cmd := exec.Command(filepath.Join(filepath.Dir(self), bgpProgram), "--log-level", level)
		cmd.Stderr = os.Stderr
		return cmd
	}, log), nil
}

// bfdFarewell is how long to wait for the other ends of BFD sessions to hear that this one goes on purpose.
const bfdFarewell = 300 * time.Millisecond

// closeBFD ends the BFD sessions of this process, so that the other ends see that it is on purpose; where another process of
// this node waits for them, it goes on with them.
func closeBFD(s *udp.Server, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), bfdFarewell)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		log.Warn("cannot end the BFD sessions", "error", err)
	}
}
