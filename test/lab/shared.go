package lab

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// Shared is one cluster for all tests of a test binary, brought up when the
// first test asks for it.
//
//	var shared = lab.Shared{}
//
//	func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }
type Shared struct {
	Options Options

	once    sync.Once
	cluster *Cluster
	err     error
}

// Run runs the tests of a package and ends the cluster afterwards, if one of them has asked for it; what the
// cluster leaves behind is a failure. It is for TestMain.
func (s *Shared) Run(m *testing.M) int {
	code := m.Run()
	if err := s.Down(); err != nil {
		fmt.Fprintln(os.Stderr, "the lab left things behind:", err)
		return max(code, 1)
	}
	return code
}

// Cluster returns the cluster, after [Require]. Bringing it up takes seconds, or
// minutes where nothing is built yet or another process holds the lab; 20 minutes at most.
func (s *Shared) Cluster(t testing.TB) *Cluster {
	t.Helper()
	Require(t)
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
		defer cancel()
		s.cluster, s.err = Up(ctx, s.Options)
	})
	if s.err != nil {
		t.Fatalf("bring up the lab: %v", s.err)
	}
	return s.cluster
}

// Down tears the cluster down if there is one.
func (s *Shared) Down() error {
	if s.cluster == nil {
		return nil
	}
	return s.cluster.Down()
}
