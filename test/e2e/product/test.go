package product

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// Must ends the test if there is an error.
func Must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// Within is for what must not take longer than that, and ends with the test.
func Within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// Dump logs what kubectl says to each of the commands, also when the test's time is over.
func (p *Product) Dump(t testing.TB, commands ...[]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, args := range commands {
		out, err := p.Kubectl(ctx, args...)
		t.Logf("kubectl %s\n%s", strings.Join(args, " "), out)
		if err != nil {
			t.Log(err)
		}
	}
}
