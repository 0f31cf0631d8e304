package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a controller that runs.
type process struct {
	cmd   *exec.Cmd
	began time.Time
	log   string
	pprof string // address; empty: none
	ended chan struct{}
	err   error // how it ended, once ended is closed
}

// startController starts the binary as the controller of an installation, which logs to a file.
func startController(binary, kubeconfig, log string, profiled bool) (*process, error) {
	ports := make([]string, 3)
	for i := range ports {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		ports[i] = port
	}
	p := &process{log: log, ended: make(chan struct{})}
	args := []string{"controller", "--namespace", system, "--health-probe-port", ports[0], "--port", ports[1], "--metrics-bind-address", "127.0.0.1"}
	if profiled {
		p.pprof = net.JoinHostPort("127.0.0.1", ports[2])
		args = append(args, "--pprof-bind-address", p.pprof)
	}
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	p.cmd = exec.Command(binary, args...)
	p.cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// freePort returns a port of the loopback that was free a moment ago.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

// stop ends the controller as a kubelet does. One that does not end is an error, and is killed.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("the controller did not end within 20 s of SIGTERM")
	}
	if p.err != nil {
		return fmt.Errorf("the controller: %w; its log ends with:\n%s", p.err, tail(p.log))
	}
	return nil
}

func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}

// usage is what a process has used until now.
type usage struct {
	cpu time.Duration
	// rss now and at its highest, in MiB.
	rss, peak float64
}

func (p *process) usage() (usage, error) {
	dir := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return usage{}, fmt.Errorf("%w; the controller's log ends with:\n%s", err, tail(p.log))
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return usage{}, err
	}
	return parseUsage(stat, status)
}

// parseUsage reads the files stat and status of a process (proc(5)). Times are in hundredths of a second on every Linux.
func parseUsage(stat, status []byte) (u usage, err error) {
	// The name, in brackets, may hold anything. Behind it: state, and utime and stime 11 and 12 fields later.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return u, fmt.Errorf("stat of a process has %d fields behind the name", len(fields))
	}
	for _, f := range fields[11:13] {
		ticks, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	for name, to := range map[string]*float64{"VmRSS:": &u.rss, "VmHWM:": &u.peak} {
		_, rest, found := strings.Cut("\n"+string(status), "\n"+name)
		var kib float64
		if _, err := fmt.Sscanf(rest, "%f kB", &kib); !found || err != nil {
			return u, fmt.Errorf("status of a process has no %s", name)
		}
		*to = kib / 1024
	}
	return u, nil
}

// quiet waits until the controller has nothing to do: less than 2 % of a processor over a second, as far as the end of the
// context.
func (p *process) quiet(ctx context.Context) error {
	before, err := p.usage()
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the controller does not come to rest: %w", ctx.Err())
		case <-p.ended:
			return errors.Join(fmt.Errorf("the controller has ended; its log ends with:\n%s", tail(p.log)), p.err)
		case <-time.After(time.Second):
		}
		now, err := p.usage()
		if err != nil {
			return err
		}
		if now.cpu-before.cpu <= 20*time.Millisecond {
			return nil
		}
		before = now
	}
}

// fetch saves what the profiler serves under a path.
func (p *process) fetch(ctx context.Context, path, file string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.pprof+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, response.Status)
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, response.Body)
	return errors.Join(err, out.Close())
}

// profile saves a profile of the processor's time, once the profiler answers.
func (p *process) profile(base string, length time.Duration) {
	for range 100 {
		ctx, cancel := context.WithTimeout(context.Background(), length+10*time.Second)
		err := p.fetch(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(length.Seconds())), base+".cpu")
		cancel()
		if err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Fprintln(os.Stderr, "no profile of", base)
}
