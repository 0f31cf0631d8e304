package operand

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"metallb.io/operator/bench"
)

// Process is an operand that runs.
type Process struct {
	Began  time.Time
	Log    string // file
	Health string // URL that /healthz and /readyz are below

	name  string
	cmd   *exec.Cmd
	pprof string // address; empty: none
	ended chan struct{}
	err   error // how it ended, once ended is closed
}

// Options are what a process is started with.
type Options struct {
	Binary string
	// Args of the command: the operand's name first.
	Args       []string
	Kubeconfig string
	Log        string // file
	Profiled   bool
}

// StartProcess starts the binary as an operand of an installation, on ports that are free.
func StartProcess(o Options) (*Process, error) {
	ports := make([]string, 3)
	for i := range ports {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		ports[i] = port
	}
	p := &Process{name: o.Args[0], Log: o.Log, Health: "http://" + net.JoinHostPort("127.0.0.1", ports[0]), ended: make(chan struct{})}
	args := append(o.Args, "--health-probe-port", ports[0], "--port", ports[1], "--metrics-bind-address", "127.0.0.1")
	if o.Profiled {
		p.pprof = net.JoinHostPort("127.0.0.1", ports[2])
		args = append(args, "--pprof-bind-address", p.pprof)
	}
	file, err := os.Create(o.Log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	p.cmd = exec.Command(o.Binary, args...)
	p.cmd.Env = append(os.Environ(), "KUBECONFIG="+o.Kubeconfig)
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.Began = time.Now()
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

// Stop ends the process as a kubelet does. One that does not end is an error, and is killed.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("the %s did not end within 20 s of SIGTERM", p.name)
	}
	if p.err != nil {
		return fmt.Errorf("the %s: %w; its log ends with:\n%s", p.name, p.err, p.Tail())
	}
	return nil
}

// Tail is the end of the log.
func (p *Process) Tail() string {
	data, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}

// Usage is what a process and those that it has started have used until now, together.
type Usage struct {
	CPU time.Duration
	// RSS now and, of each at its own highest, in MiB.
	RSS, Peak float64
}

// Usage says what the process has used, and its children.
func (p *Process) Usage() (u Usage, err error) {
	family, err := bench.Children(p.cmd.Process.Pid)
	for _, pid := range append(family, p.cmd.Process.Pid) {
		cpu, cpuErr := bench.ProcessCPU(pid)
		rss, peak, memoryErr := bench.Memory(pid)
		u.CPU, u.RSS, u.Peak, err = u.CPU+cpu, u.RSS+rss, u.Peak+peak, errors.Join(err, cpuErr, memoryErr)
	}
	if err != nil {
		err = fmt.Errorf("%w; the %s's log ends with:\n%s", err, p.name, p.Tail())
	}
	return u, err
}

// Quiet waits until the process has nothing to do: less than 2 % of a processor over a second, as far as the end of the
// context.
func (p *Process) Quiet(ctx context.Context) error {
	before, err := p.Usage()
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the %s does not come to rest: %w", p.name, ctx.Err())
		case <-p.ended:
			return errors.Join(fmt.Errorf("the %s has ended; its log ends with:\n%s", p.name, p.Tail()), p.err)
		case <-time.After(time.Second):
		}
		now, err := p.Usage()
		if err != nil {
			return err
		}
		if now.CPU-before.CPU <= 20*time.Millisecond {
			return nil
		}
		before = now
	}
}

// Fetch saves what the profiler serves under a path.
func (p *Process) Fetch(ctx context.Context, path, file string) error {
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

// Profile saves a profile of the processor's time, once the profiler answers.
func (p *Process) Profile(base string, length time.Duration) {
	for range 100 {
		ctx, cancel := context.WithTimeout(context.Background(), length+10*time.Second)
		err := p.Fetch(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(length.Seconds())), base+".cpu")
		cancel()
		if err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Fprintln(os.Stderr, "no profile of", base)
}
