// Command metallb is the operator, the controller and the speaker in one binary, and what an installer runs; its first argument says which.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"metallb.io/operator/internal/obs"
)

// version is set by the linker.
var version = "dev"

// A command declares its flags on fs and returns what to run once they are parsed.
type command func(fs *flag.FlagSet) func(ctx context.Context, log *slog.Logger) error

var commands = map[string]command{
	"operator":   operatorCommand,
	"controller": controllerCommand,
	"speaker":    speakerCommand,
	// What an installer calls: the hooks and the test of the Helm chart.
	"install-crds":     installCRDsCommand,
	"install-resource": installResourceCommand,
	"uninstall":        uninstallCommand,
	"check":            checkCommand,
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Println(version)
		return
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: metallb operator|controller|speaker|install-crds|install-resource|uninstall|check|version [flags]; -h after a command lists its flags")
		os.Exit(2)
	}
	fs := flag.NewFlagSet("metallb "+os.Args[1], flag.ExitOnError)
	level := fs.String("log-level", "info", "least severe message to write: all, debug, info, warn, error or none")
	run := commands[os.Args[1]](fs)
	_ = fs.Parse(os.Args[2:]) // ExitOnError
	if fs.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "%s takes flags only, not %q\n", fs.Name(), fs.Args())
		os.Exit(2)
	}
	handler, err := obs.NewHandler(os.Stderr, *level)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	log := slog.New(handler)
	if os.Args[1] == "controller" {
		relaxTimers(log)
	}
	ctrl.SetLogger(logr.FromSlogHandler(handler))
	klog.SetLogger(logr.FromSlogHandler(handler))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.Info("starting", "command", os.Args[1], "version", version)
	if err := run(ctx, log); err != nil {
		log.Error("stopped by an error", "error", err)
		os.Exit(1)
	}
}
