// Command flawed stands in front of the product's program in an image that a test upgrades to: it fails in one role and
// is the program in all others.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Set by the linker.
var role, how string

// whole is where the product's own program is.
const whole = "/whole"

func main() {
	err := run(os.Args)
	fmt.Fprintln(os.Stderr, "flawed:", err)
	os.Exit(1)
}

// run does not return unless something is wrong.
func run(args []string) error {
	if len(args) < 2 || args[1] != role {
		return unix.Exec(whole, args, os.Environ())
	}
	if how != "unready" {
		return fmt.Errorf("this %s is made to end", role)
	}
	address := net.JoinHostPort(value(args, "health-probe-address"), value(args, "health-probe-port"))
	fmt.Fprintln(os.Stderr, "flawed: never ready, at", address)
	return unready(address)
}

// value is that of a flag given as --name=value.
func value(args []string, name string) string {
	i := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "--"+name+"=") })
	if i < 0 {
		return ""
	}
	_, v, _ := strings.Cut(args[i], "=")
	return v
}

// unready lives, and answers probes of its readiness with no, on a port that it shares as the product's program does.
func unready(address string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	}}
	l, err := shared.Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			http.Error(w, "made never to be ready", http.StatusServiceUnavailable)
		}
	}))
}
