package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/internal/bgp/engine"
	"metallb.io/operator/internal/bgp/gobgp"
)

// bgpEngine is the command that a speaker starts beside itself while there are BGP peers. It is not for users.
const bgpEngine = "bgp-engine"

// bgpEngineCommand runs BGP sessions as the speaker says on the standard input, until that is closed: a signal to end is for
// the speaker, which knows in which order things are to end.
func bgpEngineCommand(*flag.FlagSet) func(context.Context, *slog.Logger) error {
	return func(_ context.Context, log *slog.Logger) error {
		router := gobgp.New(log)
		defer router.Close()
		go func() { _ = engine.ServeCalls(router) }() // ends with the speaker, as this process does
		return engine.Serve(os.Stdin, os.Stdout, router)
	}
}

// newEngine returns an Engine whose processes are this program's, and log where it does.
func newEngine(level string, log *slog.Logger) *engine.Engine {
	return engine.New(func() *exec.Cmd {
		cmd := exec.Command("/proc/self/exe", bgpEngine, "--log-level", level)
		cmd.Stderr = os.Stderr
		return cmd
	}, log)
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
