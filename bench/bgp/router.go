package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"metallb.io/operator/bench/operand"
)

// router is BIRD on the other machine. What it logs, with its own clock, is what is measured.
type router struct {
	cmd  *exec.Cmd
	log  *os.File
	rest string // that has been read and not understood yet

	routes map[netip.Prefix]bool
	heard  heard
}

// configuration of BIRD. It takes calls only: whoever calls first, the speaker measured is the one that decides when.
const configuration = `log %q all;
timeformat log "%%Y-%%m-%%d %%H:%%M:%%S.%%f";
router id ` + operand.Neighbour + `;
protocol device {}
protocol bgp speaker {
	debug { events, routes };
	local ` + operand.Neighbour + ` as 64513;
	neighbor ` + operand.NodeAddress + ` as 64512;
	passive on;
	ipv4 { import all; export none; };
}
`

// startRouter starts BIRD in the network namespace of a machine.
func startRouter(machine int, dir string) (*router, error) {
	log, file := filepath.Join(dir, "bird.log"), filepath.Join(dir, "bird.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, configuration, log), 0o644); err != nil {
		return nil, err
	}
	r := &router{routes: map[netip.Prefix]bool{}}
	var err error
	if r.log, err = os.Create(log); err != nil { // before BIRD does
		return nil, err
	}
	r.cmd = exec.Command("nsenter", "-t", strconv.Itoa(machine), "-n", "bird", "-f", "-c", file, "-s", filepath.Join(dir, "bird.ctl"))
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		return nil, errors.Join(err, r.log.Close())
	}
	return r, nil
}

func (r *router) stop() error {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	return r.log.Close()
}

// happening is what a line of the log tells.
type happening int

const (
	other happening = iota
	established
	added
	removed
)

// event is a line of the log. BIRD looks at its clock once before it reads what has arrived, so a route has its time of
// arrival.
type event struct {
	at     time.Time
	what   happening
	prefix netip.Prefix
}

// parse reads a line.
func parse(line string) (e event, err error) {
	const layout = "2006-01-02 15:04:05.000000"
	if len(line) < len(layout) {
		return e, fmt.Errorf("a line of BIRD's log is too short: %q", line)
	}
	if e.at, err = time.ParseInLocation(layout, line[:len(layout)], time.Local); err != nil {
		return e, err
	}
	_, text, _ := strings.Cut(line[len(layout):], "> ")
	change, isRoute := strings.CutPrefix(text, "speaker.ipv4 > ")
	switch {
	case text == "speaker: BGP session established":
		e.what = established
	case isRoute:
		words := strings.Fields(change) // added [best] 10.64.1.1/32 ...
		if len(words) < 3 {
			return e, fmt.Errorf("cannot read of a route: %q", line)
		}
		switch words[0] {
		case "added":
			e.what = added
		case "removed":
			e.what = removed
		}
		e.prefix, err = netip.ParsePrefix(words[2])
	}
	return e, err
}

// heard is what BIRD has been told since the session was established, the last time that it was.
type heard struct {
	established time.Time
	last        time.Time // change of a route
}

// has waits until there are so many routes.
func (r *router) has(ctx context.Context, routes int) (heard, error) {
	for buf := make([]byte, 1<<16); ; {
		for len(r.routes) != routes {
			line, rest, found := strings.Cut(r.rest, "\n")
			if !found {
				break
			}
			r.rest = rest
			if err := r.hear(line); err != nil {
				return r.heard, err
			}
		}
		if len(r.routes) == routes {
			return r.heard, nil
		}
		n, err := r.log.Read(buf)
		r.rest += string(buf[:n])
		if err != nil && !errors.Is(err, io.EOF) {
			return r.heard, err
		}
		if n > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return r.heard, fmt.Errorf("BIRD has %d routes and not %d: %w", len(r.routes), routes, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// hear takes what a line tells.
func (r *router) hear(line string) error {
	e, err := parse(line)
	switch e.what {
	case established:
		r.heard = heard{established: e.at}
	case added:
		r.routes[e.prefix], r.heard.last = true, e.at
	case removed:
		delete(r.routes, e.prefix)
		r.heard.last = e.at
	}
	return err
}
