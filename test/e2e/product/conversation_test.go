package product

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

func TestConversed(t *testing.T) {
	for name, c := range map[string]struct {
		// backend answers the n-th line that it reads.
		backend func(w io.Writer, n int, line string) error
		fine    bool
	}{
		"all is answered, by one pod": {
			func(w io.Writer, _ int, line string) error { return say(w, "a", line) }, true},
		"an answer comes late, after one that was given twice": {
			func(w io.Writer, n int, line string) error {
				if n == 2 {
					return errors.Join(say(w, "a", "1"), say(w, "a", line))
				}
				return say(w, "a", line)
			}, true},
		"a message is not answered": {
			func(w io.Writer, n int, line string) error {
				if n == 1 {
					return nil
				}
				return say(w, "a", line)
			}, false},
		"another pod goes on": {
			func(w io.Writer, n int, line string) error { return say(w, fmt.Sprint("pod", n/2), line) }, false},
		"the connection breaks": {
			func(w io.Writer, n int, line string) error {
				if n == 1 {
					return io.EOF
				}
				return say(w, "a", line)
			}, false},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			ctx, stop := context.WithCancel(t.Context())
			go func() {
				defer theirs.Close()
				lines := bufio.NewScanner(theirs)
				for n := 0; lines.Scan(); n++ {
					if n == 4 {
						stop()
					}
					if err := c.backend(theirs, n, lines.Text()); err != nil {
						return
					}
				}
			}()
			got := converse(ctx, ours, time.Second)
			if err := errors.Join(got.Check(), ours.Close()); (err == nil) != c.fine {
				t.Errorf("%s: %v", got, err)
			}
			t.Log(got)
		})
	}
}

func say(w io.Writer, pod, line string) error {
	_, err := fmt.Fprintf(w, "tcp pod=%s node=n from=x to=y %q\n", pod, line)
	return err
}
