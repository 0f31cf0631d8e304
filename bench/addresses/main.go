// Command addresses measures how Services get addresses: the real controller, as a process of its own with its own rights
// and its leader election, against a bare API server and etcd, next to the floor: a bare client that makes the same number
// of writes of Services' status with the same concurrency. It prints what it finds and ends with 1 where a bar of package
// bench is missed.
//
//	KUBEBUILDER_ASSETS=$(bin/lab assets) go run ./bench/addresses -binary bin/metallb
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
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"metallb.io/operator/bench"
)

type options struct {
	binary  string
	sizes   []int
	runs    int
	paced   int
	keep    string
	profile time.Duration
}

func main() {
	o := options{sizes: []int{1000, 5000, 10000}}
	flag.StringVar(&o.binary, "binary", "bin/metallb", "the binary to measure (make build)")
	flag.Func("n", "numbers of Services, with commas between (default 1000,5000,10000); bars of others are not judged", func(text string) (err error) {
		o.sizes, err = parseSizes(text)
		return err
	})
	flag.IntVar(&o.runs, "runs", 3, "runs of each number; medians are judged")
	flag.IntVar(&o.paced, "paced", 200, "Services to create at a pace of 20 a second")
	flag.StringVar(&o.keep, "keep", "", "directory for the controller's log and, with -profile, its profiles; by default nothing is kept")
	flag.DurationVar(&o.profile, "profile", 0, "take a CPU profile of that length at the start of each scenario, and one of the heap at its end, into the directory of -keep")
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	met, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "addresses:", err)
	}
	if err != nil || !met {
		os.Exit(1)
	}
}

func parseSizes(text string) ([]int, error) {
	var out []int
	for _, part := range strings.Split(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 1 || n > 60000 {
			return nil, fmt.Errorf("%q is no number from 1 to 60000, for which there are addresses", part)
		}
		if slices.Contains(out, n) {
			return nil, fmt.Errorf("%d stands there twice", n)
		}
		out = append(out, n)
	}
	return out, nil
}

// run measures everything and says whether all bars are met.
func run(ctx context.Context, o options) (bool, error) {
	if o.runs < 1 || o.paced < 1 {
		return false, errors.New("-runs and -paced must be 1 or more")
	}
	if o.profile > 0 && o.keep == "" {
		return false, errors.New("-profile needs -keep, which says where to")
	}
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return false, err
	}
	if _, err := os.Stat(binary); err != nil {
		return false, fmt.Errorf("%w: make build first, or name it with -binary", err)
	}
	o.binary = binary
	samples := bench.Samples{}
	measureAllocator(samples, o.runs)
	for _, n := range o.sizes {
		for i := range o.runs {
			fmt.Printf("\n== %d Services, run %d of %d\n", n, i+1, o.runs)
			if err := measure(ctx, o, n, samples); err != nil {
				return false, err
			}
		}
	}
	fmt.Println()
	return bench.Report(os.Stdout, bench.Judge(barsFor(bench.Addresses, o.sizes), samples)), nil
}

// barsFor leaves out the bars of numbers that are not measured.
func barsFor(bars []bench.Bar, sizes []int) []bench.Bar {
	return slices.DeleteFunc(slices.Clone(bars), func(b bench.Bar) bool { return b.Services > 0 && !slices.Contains(sizes, b.Services) })
}
