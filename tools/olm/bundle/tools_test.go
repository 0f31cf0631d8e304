package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
)

// root is the top of the project, seen from this package.
const root = "../../.."

// tool gives the path of a program of OLM's that `make olm-tools` builds.
func tool(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("OLM_TOOLS")
	if dir == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("OLM_TOOLS is not set: run make bundle-validate")
		}
		t.Skip("OLM_TOOLS is not set: run make bundle-validate")
	}
	return filepath.Join(dir, name)
}

// suites of operator-sdk's validators, by the arguments that choose them.
var suites = map[string][]string{
	"default":           nil,
	"operatorframework": {"--select-optional", "suite=operatorframework"},
}

// validate gives what operator-sdk has to say about the bundle, warnings included.
func validate(t *testing.T, dir string, suite []string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, "operator-sdk"), append([]string{"bundle", "validate", dir, "-o", "json-alpha1"}, suite...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var result struct {
		Passed  bool
		Outputs []struct{ Type, Message string }
	}
	if err := json.Unmarshal(out, &result); err != nil {
		t.Fatalf("%v: %s%s", err, out, stderr.String())
	}
	var all []string
	for _, o := range result.Outputs {
		all = append(all, o.Type+": "+o.Message)
	}
	if (!result.Passed || err != nil) && len(all) == 0 {
		t.Fatalf("not passed, and no reason: %s%s", out, stderr.String())
	}
	return all
}

func TestOperatorSDKHasNothingToSay(t *testing.T) {
	for name, suite := range suites {
		t.Run(name, func(t *testing.T) {
			for _, line := range validate(t, filepath.Join(root, "bundle"), suite) {
				t.Error(line)
			}
		})
	}
}

// scorecardTests are all that the image of scorecard's own tests has.
var scorecardTests = []string{
	"basic-check-spec", "olm-bundle-validation", "olm-crds-have-validation", "olm-crds-have-resources",
	"olm-spec-descriptors", "olm-status-descriptors",
}

// scorecard runs a test on a bundle as its pod does: the bundle is at /bundle. Suggestions are for whoever reads the log.
func scorecard(t *testing.T, dir, test string) error {
	t.Helper()
	jail := t.TempDir()
	copyInto(t, tool(t, "scorecard-test"), filepath.Join(jail, "scorecard-test"))
	if err := os.CopyFS(filepath.Join(jail, "bundle"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/scorecard-test", test)
	cmd.Dir, cmd.Env = "/", []string{"HOME=/"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: jail}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: gid, Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var result struct {
		Results []struct {
			Name, State         string
			Errors, Suggestions []string
		}
	}
	if start := bytes.IndexByte(out, '{'); start < 0 || json.Unmarshal(out[start:], &result) != nil || len(result.Results) != 1 {
		t.Fatalf("not the report of one test: %s", out)
	}
	r := result.Results[0]
	for _, s := range r.Suggestions {
		t.Log(s)
	}
	if r.Name != test || r.State != "pass" {
		return fmt.Errorf("%s: %s: %q", r.Name, r.State, r.Errors)
	}
	return nil
}

func TestScorecardPasses(t *testing.T) {
	for _, test := range scorecardTests {
		t.Run(test, func(t *testing.T) {
			if err := scorecard(t, filepath.Join(root, "bundle"), test); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTheBundleCarriesEveryTestOfScorecard(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "bundle/tests/scorecard/config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`- scorecard-test\n\s+- (\S+)`).FindAllSubmatch(data, -1) {
		names = append(names, string(m[1]))
	}
	slices.Sort(names)
	if want := slices.Sorted(slices.Values(scorecardTests)); !slices.Equal(names, want) {
		t.Errorf("has %q, not %q", names, want)
	}
}

func TestOpmAcceptsTheCatalog(t *testing.T) {
	if out, err := exec.CommandContext(t.Context(), tool(t, "opm"), "validate", filepath.Join(root, "catalog")).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A check that never fails shows nothing: each of these damages must be found.
func TestDamageIsFound(t *testing.T) {
	csv := filepath.Join("manifests", packageName+".clusterserviceversion.yaml")
	for name, c := range map[string]struct {
		pattern, with string
		found         func(t *testing.T, dir string) bool
	}{
		"without an icon the suite warns": {`(?s)  icon:\n.*?\n  install:`, "  install:", func(t *testing.T, dir string) bool {
			return len(validate(t, dir, suites["operatorframework"])) > 0
		}},
		"a CRD that is not there fails the default suite": {`kind: Community\n`, "kind: Commune\n", func(t *testing.T, dir string) bool {
			return len(validate(t, dir, nil)) > 0
		}},
		"a field without a descriptor fails scorecard": {`path: logLevel`, "path: other", func(t *testing.T, dir string) bool {
			return scorecard(t, dir, "olm-spec-descriptors") != nil
		}},
		"a resource without resources fails scorecard": {`(?s)(kind: Community\n.*?)      resources:\n.*?      specD`, "${1}      specD", func(t *testing.T, dir string) bool {
			return scorecard(t, dir, "olm-crds-have-resources") != nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "bundle"))); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, csv)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			after := regexp.MustCompile(c.pattern).ReplaceAll(before, []byte(c.with))
			if bytes.Equal(before, after) {
				t.Fatalf("nothing matches %s", c.pattern)
			}
			if err := os.WriteFile(path, after, 0o600); err != nil {
				t.Fatal(err)
			}
			if !c.found(t, dir) {
				t.Error("nobody noticed")
			}
		})
	}
}

func copyInto(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o755) //nolint:gosec // a program
	}
	if err != nil {
		t.Fatal(err)
	}
}
