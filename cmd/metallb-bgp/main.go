// Command metallb-bgp runs the BGP sessions of a speaker, which starts it beside itself. It is not for users, and a program of its
// own because a session has a process of its own (docs/decisions/0018-bgp.md): it holds nothing that only the speaker needs.
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"metallb.io/operator/internal/bgp/engine"
	"metallb.io/operator/internal/bgp/gobgp"
	"metallb.io/operator/internal/memory"
	"metallb.io/operator/internal/obs"
)

func main() {
	level := flag.String("log-level", "info", "least severe message to write: all, debug, info, warn, error or none")
	flag.Parse()
	handler, err := obs.NewHandler(os.Stderr, *level)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	// A signal to end is for the speaker, which knows in which order things are to end: the standard input is closed then.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	memory.Reading(memory.Frugal)()
	log := slog.New(handler)
	router := gobgp.New(log)
	go func() { _ = engine.ServeCalls(router) }() // ends with the speaker, as this process does
	err = engine.Serve(os.Stdin, os.Stdout, router)
	router.Close()
	if err != nil {
		log.Error("stopped by an error", "error", err)
		os.Exit(1)
	}
}
