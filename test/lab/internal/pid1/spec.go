// Package pid1 is the first process of a lab machine: it makes the machine's
// view of the file system, starts the programs that its Spec lists, and reaps.
// It restarts nothing: killing it is pulling the machine's plug. It knows no
// Kubernetes and must not import the lab package; all it needs is in the Spec.
package pid1

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"metallb.io/operator/test/lab/internal/cgroup"
)

// Spec is a machine as its first process sees it. All paths are the host's.
type Spec struct {
	Hostname string
	// Dir is the working directory of the programs and where their logs go.
	Dir string
	// Env is the environment of all programs, as "name=value".
	Env     []string
	Cgroups cgroup.Place
	// Cover lists directories hidden under an empty tmpfs, before Keep and Binds are done.
	Cover []string
	// Keep lists directories that stay visible at their place though a covered one holds them.
	Keep []string
	// Binds are mounted over directories (made if absent) or files.
	Binds []Bind
	Steps []Step
}

// Bind shows From at To.
type Bind struct{ From, To string }

// Step is one program, started after those before it.
type Step struct {
	// Name names its log, <Dir>/<Name>.log.
	Name string
	Args []string
	// Each, a glob pattern, runs the program once for each match, which is its last argument.
	Each string
	// Await delays the step until this path exists.
	Await string
	// Wait lets the next step begin only when this one has ended.
	Wait bool
	// Retry repeats a step that failed, ten times a second, for at most a minute. It implies Wait.
	Retry bool
}

// Write stores the spec where Run finds it.
func (s *Spec) Write(path string) error {
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

func read(path string) (*Spec, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := new(Spec)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}
