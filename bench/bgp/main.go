// Command bgp measures how fast routers hear of what a speaker announces, and what that costs: the real binary against a bare
// API server, with BIRD 2 as the router and its log as the clock. It prints what it finds and ends with 1 where a bar of package
// bench is missed.
//
//	KUBEBUILDER_ASSETS=$(bin/lab assets) go run ./bench/bgp -binary bin/metallb
//
// It needs root, the command ip and BIRD 2: node and router are network namespaces of its own making, with a virtual cable
// between.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"metallb.io/operator/bench"
)

type options struct {
	binary  string
	n, few  int
	runs    int
	changes int
	keep    string
	profile time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/metallb", "the binary to measure (make build)")
	flag.IntVar(&o.n, "n", 5000, "Services that are present; there are bars for 5000")
	flag.IntVar(&o.few, "few", 100, "Services beside which the same change is measured for comparison")
	flag.IntVar(&o.runs, "runs", 3, "runs; medians are judged")
	flag.IntVar(&o.changes, "changes", 300, "changes of one Service to measure, in each run and with each number present")
	flag.StringVar(&o.keep, "keep", "", "directory for the logs of the speaker and BIRD; by default nothing is kept")
	flag.DurationVar(&o.profile, "profile", 0, "take a CPU profile of the speaker of that length at its start and while Services change, and one of its heap, into the directory of -keep")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bgp:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	switch {
	case o.profile > 0 && o.keep == "":
		return errors.New("-profile needs -keep, which says where to")
	case o.runs < 1 || o.changes < 1:
		return errors.New("-runs and -changes must be 1 or more")
	case o.few < 1 || o.n <= o.few || o.n > 60000:
		return errors.New("-few must be 1 or more, and -n more than that and at most 60000, for which there are addresses")
	}
	if outside, err := bench.Isolate(); outside {
		return err
	}
	ctrl.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	if _, err := os.Stat(o.binary); err != nil {
		return fmt.Errorf("%w: make build first, or name it with -binary", err)
	}
	if err := bench.IP("link", "set", "lo", "up"); err != nil {
		return err
	}
	samples := bench.Samples{}
	for i := range o.runs {
		fmt.Printf("\n== %d Services, run %d of %d\n", o.n, i+1, o.runs)
		if err := measure(ctx, o, samples); err != nil {
			return err
		}
	}
	fmt.Println()
	if !bench.Report(os.Stdout, bench.Judge(bench.Routes, samples)) {
		return errors.New("a bar is missed")
	}
	return nil
}
