// Command l2 measures the ARP and NDP responders next to the kernel's own, and the memory of a speaker. It prints what it
// finds and ends with 1 where a bar of package bench is missed.
//
//	KUBEBUILDER_ASSETS=$(bin/lab assets) go run ./bench/l2 -binary bin/metallb
//
// It needs root and the command ip: nodes and clients are network namespaces of its own making, with virtual cables
// between. The responders are processes of their own (l2 respond), and so is the speaker.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"metallb.io/operator/bench"
)

type options struct {
	binary string
	only   []string
	runs   int
	keep   string
}

// measurements are what can be named by -only, in their order.
var measurements = []struct {
	name string
	bars []bench.Bar
	run  func(context.Context, options, bench.Samples) error
}{
	{"responders", bench.Responders, responders},
	{"many", bench.ManyAddresses, many},
	{"memory", bench.SpeakerMemory, memory},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "respond" {
		if err := respond(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "l2 respond:", err)
			os.Exit(1)
		}
		return
	}
	var names []string
	for _, m := range measurements {
		names = append(names, m.name)
	}
	o := options{only: names}
	flag.StringVar(&o.binary, "binary", "bin/metallb", "the binary to measure (make build)")
	flag.Func("only", "what to measure, with commas between (default "+strings.Join(names, ",")+"); bars of the rest are not judged", func(text string) error {
		o.only = strings.Split(text, ",")
		for _, name := range o.only {
			if !slices.Contains(names, name) {
				return fmt.Errorf("%q is not among them", name)
			}
		}
		return nil
	})
	flag.IntVar(&o.runs, "runs", 3, "runs of each; medians are judged")
	flag.StringVar(&o.keep, "keep", "", "directory for the speaker's log and its heap profiles; by default nothing is kept")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "l2:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if o.runs < 1 {
		return errors.New("-runs must be 1 or more")
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
	if err := bench.IP("link", "set", "lo", "up"); err != nil {
		return err
	}
	samples := bench.Samples{}
	var bars []bench.Bar
	for _, m := range measurements {
		if !slices.Contains(o.only, m.name) {
			continue
		}
		bars = append(bars, m.bars...)
		for i := range o.runs {
			fmt.Printf("\n== %s, run %d of %d\n", m.name, i+1, o.runs)
			if err := m.run(ctx, o, samples); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
	}
	fmt.Println()
	if !bench.Report(os.Stdout, bench.Judge(bars, samples)) {
		return errors.New("a bar is missed")
	}
	return nil
}
