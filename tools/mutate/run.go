package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// outcome of the tests with a mutant.
type outcome int

const (
	killed   outcome = iota // a test fails, or does not end
	survived                // all tests pass
	unclear                 // the tests could not be built or run
)

// runner runs the tests of a package with files replaced.
type runner struct {
	root    string
	dir     string // of the package, relative to root
	args    []string
	timeout time.Duration
	scratch string
}

// build compiles the tests with other contents of some files, and returns the program. The tree is not touched.
func (r *runner) build(ctx context.Context, files map[string][]byte) (string, error) {
	dir, err := os.MkdirTemp(r.scratch, "")
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for path, data := range files {
		replace[path] = filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(replace[path], data, 0o600); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "tests")
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return "", err
	}
	compile := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", program, "./"+filepath.ToSlash(r.dir))
	compile.Dir = r.root
	if out, err := compile.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the tests: %w\n%s", err, out)
	}
	return program, nil
}

// run runs the tests with one of the program's mutants switched on; 0: none.
func (r *runner) run(ctx context.Context, program string, number int) (outcome, error) {
	limited, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	tests := exec.CommandContext(limited, program, append([]string{"-test.failfast", "-test.timeout=0"}, r.args...)...)
	tests.Dir = filepath.Join(r.root, r.dir)
	// A mutant may ask for all the memory there is; it then fails for want of it.
	tests.Env = append(os.Environ(), variable+"="+strconv.Itoa(number), "GOMAXPROCS=1")
	tests.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	tests.Stdout, tests.Stderr = &out, &out
	if err := tests.Start(); err != nil {
		return unclear, err
	}
	limitMemory(tests.Process.Pid)
	err := tests.Wait()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return unclear, ctx.Err()
	case err == nil:
		return survived, nil
	case errors.As(err, &exit) || limited.Err() != nil:
		return killed, fmt.Errorf("%w\n%s", err, out.Bytes())
	}
	return unclear, err
}

// all tries mutants, so many at a time, and returns what came of each.
func (r *runner) all(ctx context.Context, src *source, ms []mutant, workers int, tell func(mutant, outcome)) ([]outcome, error) {
	files, err := src.schema(r.root, ms)
	if err != nil {
		return nil, fmt.Errorf("the program with all mutants: %w", err)
	}
	common, err := r.build(ctx, files)
	if err != nil {
		return nil, err
	}
	if was, err := r.run(ctx, common, 0); was != survived {
		return nil, fmt.Errorf("the tests do not pass with no mutant on: %w", err)
	}
	try := func(i int) (outcome, error) {
		if ms[i].site != (site{}) {
			return r.run(ctx, common, i+1)
		}
		program, err := r.build(ctx, map[string][]byte{ms[i].file: ms[i].apply(src.files[ms[i].file])})
		if err != nil {
			return unclear, err
		}
		defer func() { _ = os.RemoveAll(filepath.Dir(program)) }()
		return r.run(ctx, program, 0)
	}
	out := make([]outcome, len(ms))
	next := make(chan int)
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		errs  []error
	)
	for range workers {
		group.Go(func() {
			for i := range next {
				was, err := try(i)
				mu.Lock()
				if out[i] = was; was == unclear {
					errs = append(errs, fmt.Errorf("%s: %s", ms[i].name, strings.TrimSpace(err.Error())))
				}
				tell(ms[i], was)
				mu.Unlock()
			}
		})
	}
	for i := range ms {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	group.Wait()
	return out, errors.Join(append(errs, ctx.Err())...)
}
