// Command mutate asks whether tests would notice a wrong rule: it changes each rule of a package once (a comparison, a
// condition, a result, a number, a statement that is left out) and runs the package's tests with it. A mutant that no
// test fails with has survived: either a test is missing, or the mutant does what the package does and belongs, with the
// reason, into the file of equivalents.
//
// It prints each survivor with its place and the change, and ends with 1 if there is one, or if the file of equivalents
// holds a mutant that does not exist or that is killed. The tree is never touched.
//
//	go run -C tools ./mutate -root .. internal/ipam internal/election
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	root, equivalents, only string
	workers                 int
	timeout                 time.Duration
	args                    string
	list, verbose           bool
	out                     io.Writer
}

func main() {
	o := options{out: os.Stdout}
	flag.StringVar(&o.root, "root", ".", "directory of the module")
	flag.StringVar(&o.equivalents, "equivalents", "", "file of mutants that cannot change anything, each with the reason")
	flag.StringVar(&o.only, "only", "", "try only mutants whose name, or file:line, holds this")
	flag.IntVar(&o.workers, "p", runtime.NumCPU(), "mutants to try at the same time")
	flag.DurationVar(&o.timeout, "timeout", time.Minute, "how long tests may take with a mutant; those that take longer have noticed it")
	flag.StringVar(&o.args, "args", "", "arguments for the tests, with blanks between")
	flag.BoolVar(&o.list, "list", false, "list the mutants and try none")
	flag.BoolVar(&o.verbose, "v", false, "tell of every mutant")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, dirs []string) error {
	if len(dirs) == 0 || o.workers < 1 {
		return errors.New("name packages by their directories, and let -p be 1 or more")
	}
	root, err := filepath.Abs(o.root)
	if err != nil {
		return err
	}
	equivalents := map[string]string{}
	if o.equivalents != "" {
		text, err := os.ReadFile(o.equivalents)
		if err != nil {
			return err
		}
		if equivalents, err = parseEquivalents(string(text)); err != nil {
			return fmt.Errorf("%s: %w", o.equivalents, err)
		}
	}
	scratch, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	var problems []string
	exist := map[string]bool{}
	for _, dir := range dirs {
		r := &runner{root: root, dir: dir, args: strings.Fields(o.args), timeout: o.timeout, scratch: scratch}
		found, err := o.examine(ctx, r, equivalents, exist)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		problems = append(problems, found...)
	}
	for name := range equivalents {
		if o.only == "" && !exist[name] {
			problems = append(problems, fmt.Sprintf("%s: no such mutant: %s", o.equivalents, name))
		}
	}
	slices.Sort(problems)
	for _, p := range problems {
		fmt.Fprintln(o.out, p)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%d problems", len(problems))
	}
	return nil
}

// examine tries the mutants of a package and returns what is wrong with its tests, or with the list of equivalents. The
// names of all mutants are put into exist.
func (o options) examine(ctx context.Context, r *runner, equivalents map[string]string, exist map[string]bool) ([]string, error) {
	src, err := load(r.root, r.dir)
	if err != nil {
		return nil, err
	}
	all, err := src.mutants()
	if err != nil {
		return nil, err
	}
	var chosen []mutant
	for _, m := range all {
		exist[m.name] = true
		if strings.Contains(m.name, o.only) || strings.Contains(place(r.root, m), o.only) {
			chosen = append(chosen, m)
		}
	}
	if o.list {
		for _, m := range chosen {
			fmt.Fprintf(o.out, "%s: %s\n", place(r.root, m), m.name)
		}
		return nil, nil
	}
	began := time.Now()
	done := 0
	outcomes, err := r.all(ctx, src, chosen, o.workers, func(m mutant, was outcome) {
		done++
		if o.verbose {
			fmt.Fprintf(o.out, "%d/%d %s %s\n", done, len(chosen), []string{"killed", "SURVIVED", "UNCLEAR"}[was], m.name)
		}
	})
	if err != nil {
		return nil, err
	}
	var problems []string
	counts := map[outcome]int{}
	for i, m := range chosen {
		_, listed := equivalents[m.name]
		counts[outcomes[i]]++
		switch {
		case outcomes[i] == survived && !listed:
			problems = append(problems, fmt.Sprintf("%s: survived: %s", place(r.root, m), m.name))
		case outcomes[i] == killed && listed:
			problems = append(problems, fmt.Sprintf("%s: is listed as an equivalent, but a test notices it: %s", o.equivalents, m.name))
		}
	}
	fmt.Fprintf(o.out, "%s: %d mutants, %d killed, %d survived or equivalent, %s\n", r.dir, len(chosen), counts[killed], counts[survived], time.Since(began).Round(time.Second))
	return problems, nil
}

// place is file:line of a mutant.
func place(root string, m mutant) string {
	path, err := filepath.Rel(root, m.file)
	if err != nil {
		path = m.file
	}
	return fmt.Sprintf("%s:%d", path, m.line)
}
