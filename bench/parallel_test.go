package bench

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
)

func TestParallel(t *testing.T) {
	var at, most, sum atomic.Int64
	err := Parallel(t.Context(), 16, 100, func(_ context.Context, i int) error {
		for n := at.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		defer at.Add(-1)
		sum.Add(int64(i))
		return nil
	})
	if err != nil || sum.Load() != 4950 || most.Load() > 16 {
		t.Errorf("%v, sum %d, %d at a time", err, sum.Load(), most.Load())
	}
	broken := errors.New("broken")
	calls := atomic.Int64{}
	err = Parallel(t.Context(), 16, 1000000, func(_ context.Context, i int) error {
		if calls.Add(1); i == 20 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) || calls.Load() == 1000000 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}
