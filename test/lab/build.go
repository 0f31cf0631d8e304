package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Versions of what the lab runs. The module files in kubernetes/ and
// containerd/ must name the same.
const (
	kubernetesVersion = "1.36.3"
	containerdVersion = "2.3.4"
)

// part is a Go module that is built and cached as one.
type part struct {
	name string
	// dir is the module's directory, below the lab's own.
	dir      string
	programs []program
	// links are other names of a program, by name.
	links map[string]string
}

type program struct{ name, pkg, ldflags, tags string }

func parts() []part {
	var stamp strings.Builder
	minor := strings.Split(kubernetesVersion, ".")[1]
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, v := range []string{"gitVersion=v" + kubernetesVersion, "gitMajor=1", "gitMinor=" + minor,
			"gitCommit=none", "gitTreeState=clean", "buildDate=2026-01-01T00:00:00Z"} {
			fmt.Fprintf(&stamp, " -X %s.%s", pkg, v)
		}
	}
	const containerd = "github.com/containerd/containerd/v2/"
	containerdProgram := func(name string) program {
		return program{name, containerd + "cmd/" + name, " -X " + containerd + "version.Version=v" + containerdVersion, "no_btrfs,no_zfs,no_devmapper"}
	}
	return []part{
		{"kubernetes", "kubernetes", []program{
			{name: "kubebox", pkg: "./kubebox", ldflags: stamp.String()},
			{name: "etcd", pkg: "go.etcd.io/etcd/server/v3"},
		}, map[string]string{"kube-apiserver": "kubebox", "kube-controller-manager": "kubebox", "kube-scheduler": "kubebox",
			"kubelet": "kubebox", "kube-proxy": "kubebox", "kubectl": "kubebox"}},
		{"containerd", "containerd", []program{
			containerdProgram("containerd"), containerdProgram("containerd-shim-runc-v2"), containerdProgram("ctr"),
		}, nil},
		{"lab", ".", []program{{name: "lab", pkg: "./cmd/lab"}, {name: "echo", pkg: "./images/echo"}, {name: "pause", pkg: "./images/pause"}}, nil},
	}
}

// binaries are the directories of the built parts.
type binaries struct{ Kubernetes, Containerd, Lab string }

func (b binaries) dirs() []string { return []string{b.Kubernetes, b.Containerd, b.Lab} }

// path is where machines look for programs, in order.
func (b binaries) path() []string {
	return append(b.dirs(), "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
}

// lookPath finds a program as a machine does; what is not found is left as it is, for exec to report.
func (b binaries) lookPath(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	for _, dir := range b.path() {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return filepath.Join(dir, name)
		}
	}
	return name
}

// Build builds what is not in the cache yet: Kubernetes and etcd, containerd,
// the lab command and the helper images. It needs the Go module proxy and takes
// minutes the first time; logf (nil: standard error) is told of its progress.
//
// The cache is ${LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/metallb-lab}, one
// directory for each part and content of its sources; those unused for two weeks are removed.
func Build(ctx context.Context, logf func(format string, args ...any)) error {
	_, err := build(ctx, logOr(logf), "kubernetes", "containerd", "lab")
	return err
}

// Assets builds what is missing and returns a directory with kube-apiserver,
// etcd and kubectl, fit for KUBEBUILDER_ASSETS. It needs no root.
func Assets(ctx context.Context, logf func(format string, args ...any)) (string, error) {
	dirs, err := build(ctx, logOr(logf), "kubernetes")
	return dirs["kubernetes"], err
}

func logOr(logf func(string, ...any)) func(string, ...any) {
	if logf != nil {
		return logf
	}
	return func(format string, args ...any) { fmt.Fprintf(os.Stderr, "lab: "+format+"\n", args...) }
}

// build returns the directories of the named parts, by name.
func build(ctx context.Context, logf func(string, ...any), names ...string) (map[string]string, error) {
	source, err := sourceDir()
	if err != nil {
		return nil, err
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{}
	for _, p := range parts() {
		if !slices.Contains(names, p.name) {
			continue
		}
		if dirs[p.name], err = p.cached(ctx, logf, filepath.Join(source, p.dir), cache); err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

// cached returns the part's directory in the cache, after building what is not there yet.
func (p part) cached(ctx context.Context, logf func(string, ...any), from, cache string) (string, error) {
	key, err := p.key(ctx, from)
	if err != nil {
		return "", err
	}
	to := filepath.Join(cache, p.name+"-"+key)
	if _, err := os.Stat(to); errors.Is(err, fs.ErrNotExist) {
		if err := p.build(ctx, logf, from, to); err != nil {
			return "", err
		}
		removeUnused(cache)
	} else if err != nil {
		return "", err
	}
	now := time.Now()
	_ = os.Chtimes(to, now, now) // marks it as used; not worth failing
	return to, nil
}

// key is a hash of all that makes the programs: sources, versions, flags, Go.
func (p part) key(ctx context.Context, from string) (string, error) {
	h := sha256.New()
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOARCH", "GOAMD64")
	cmd.Dir, cmd.Env = from, goEnv()
	version, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask go for its version: %w", err)
	}
	fmt.Fprintf(h, "%s%+v", version, p)
	err = filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := e.Name()
		if e.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != from {
				return filepath.SkipDir // another module
			}
			return nil
		}
		if name != "go.mod" && name != "go.sum" && (!strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go")) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		fmt.Fprintf(h, "%s %d\n", rel, len(b))
		h.Write(b)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:16], err
}

// build builds into a directory beside the final one and renames it: what is in the cache is whole.
func (p part) build(ctx context.Context, logf func(string, ...any), from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(to), ".building-"+p.name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	for _, prog := range p.programs {
		if err := prog.build(ctx, logf, from, temp); err != nil {
			return fmt.Errorf("build %s: %w", prog.name, err)
		}
	}
	for name, target := range p.links {
		if err := os.Symlink(target, filepath.Join(temp, name)); err != nil {
			return err
		}
	}
	err = os.Rename(temp, to)
	if err != nil && errors.Is(err, fs.ErrExist) {
		return nil // another process built the same meanwhile
	}
	return err
}

func (prog program) build(ctx context.Context, logf func(string, ...any), from, to string) error {
	start := time.Now()
	seconds := func() int { return int(time.Since(start).Seconds()) }
	var output bytes.Buffer
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w" + prog.ldflags, "-o", filepath.Join(to, prog.name)}
	if prog.tags != "" {
		args = append(args, "-tags="+prog.tags)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, prog.pkg)...)
	cmd.Dir, cmd.Env = from, goEnv()
	cmd.Stdout, cmd.Stderr = &output, &output
	killGroup(cmd)
	logf("building %s ...", prog.name)
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("%w%s", err, detail(output.String()))
			}
			logf("built %s in %d s", prog.name, seconds())
			return nil
		case <-time.After(15 * time.Second):
			logf("building %s ... %d s", prog.name, seconds())
		}
	}
}

func goEnv() []string { return append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off") }

func cacheDir() (string, error) {
	if dir := os.Getenv("LAB_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir() // XDG_CACHE_HOME or $HOME/.cache
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w; set LAB_CACHE", err)
	}
	return filepath.Join(dir, "metallb-lab"), nil
}

func removeUnused(cache string) {
	entries, _ := os.ReadDir(cache)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.IsDir() && time.Since(info.ModTime()) > 14*24*time.Hour {
			_ = os.RemoveAll(filepath.Join(cache, e.Name())) // some space stays taken, no more
		}
	}
}

// sourceDir finds this module's sources: where the compiler saw them, else in
// the working directory or one above it.
func sourceDir() (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok && isSource(filepath.Dir(file)) {
		return filepath.Dir(file), nil
	}
	return sourceAbove()
}

func sourceAbove() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		for _, d := range []string{dir, filepath.Join(dir, "test", "lab")} {
			if isSource(d) {
				return d, nil
			}
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no sources of the lab (test/lab) in %s or above it: run this in a checkout of the project", start)
		}
	}
}

func isSource(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && bytes.HasPrefix(b, []byte("module metallb.io/operator/test/lab\n"))
}
