package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestVersionsAreThoseOfTheModules(t *testing.T) {
	for file, line := range map[string]string{
		"kubernetes/go.mod": "k8s.io/kubernetes v" + kubernetesVersion,
		"containerd/go.mod": "github.com/containerd/containerd/v2 v" + containerdVersion,
	} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), "\t"+line+" ") && !strings.Contains(string(b), "\t"+line+"\n") {
			t.Errorf("%s does not require %s", file, line)
		}
	}
}

func TestPartIsBuiltOnceForItsSources(t *testing.T) {
	from, cache := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example\n\ngo 1.26\n")
	write("main.go", "package main\n\nfunc main() { print(said) }\n\nvar said = \"nothing\"\n")
	p := part{name: "example", programs: []program{{name: "talk", pkg: ".", ldflags: " -X main.said=hello"}}, links: map[string]string{"say": "talk"}}
	key := func(p part) string {
		t.Helper()
		k, err := p.key(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	var progress []string
	logf := func(format string, args ...any) { progress = append(progress, fmt.Sprintf(format, args...)) }

	first := key(p)
	to := filepath.Join(cache, first)
	if err := p.build(t.Context(), logf, from, to); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(to, "say")).CombinedOutput()
	if err != nil || string(out) != "hello" {
		t.Errorf("the program by its other name: %q, %v", out, err)
	}
	if len(progress) < 2 || progress[0] != "building talk ..." {
		t.Errorf("progress: %q", progress)
	}
	if err := p.build(t.Context(), logf, from, to); err != nil {
		t.Errorf("another process was faster: %v", err)
	}

	write("main_test.go", "package main\n")
	if key(p) != first {
		t.Error("a test is no reason to build again")
	}
	flags := p
	flags.programs = []program{{name: "talk", pkg: ".", ldflags: " -X main.said=bye"}}
	if key(flags) == first {
		t.Error("other flags are a reason")
	}
	write("main.go", "package main\n\nfunc main() { broken }\n")
	if key(p) == first {
		t.Error("other sources are a reason")
	}
	to = filepath.Join(cache, key(p))
	if err := p.build(t.Context(), logf, from, to); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("the compiler's words are missing: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "*")); len(left) != 1 {
		t.Errorf("a build that failed is in the cache: %v", left)
	}
}

func TestUnusedPartsAreRemoved(t *testing.T) {
	cache := t.TempDir()
	for name, age := range map[string]time.Duration{"used": 24 * time.Hour, "unused": 15 * 24 * time.Hour} {
		dir := filepath.Join(cache, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, time.Now(), time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	removeUnused(cache)
	if left, _ := filepath.Glob(filepath.Join(cache, "*")); len(left) != 1 || filepath.Base(left[0]) != "used" {
		t.Errorf("left: %v", left)
	}
}

func TestSourcesAreFoundFromAnywhereInTheCheckout(t *testing.T) {
	want, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("../..")
	if got, err := sourceAbove(); err != nil || got != want {
		t.Errorf("from the root: %q, %v", got, err)
	}
	t.Chdir("test/lab/cmd")
	if got, err := sourceAbove(); err != nil || got != want {
		t.Errorf("from below: %q, %v", got, err)
	}
	t.Chdir("/")
	if _, err := sourceAbove(); err == nil || !strings.Contains(err.Error(), "run this in a checkout") {
		t.Errorf("from elsewhere: %v", err)
	}
}
