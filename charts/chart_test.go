// Package charts holds the Helm chart, and tests of what it renders. It has no code.
package charts

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

var update = flag.Bool("update", false, "write golden files and the table in docs/helm.md")

// helm is the path of the pinned Helm, which `make helm` builds.
func helm(t *testing.T) string {
	t.Helper()
	path := os.Getenv("HELM")
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("the environment variable HELM does not name the Helm to use: make helm builds it")
		}
		t.Skip("the environment variable HELM does not name the Helm to use: make helm builds it")
	}
	return path
}

// run runs a command with an input and returns its output, or an error with what it said.
func run(path, input string, args ...string) (string, error) {
	var out, said bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", errors.New(said.String())
	}
	return out.String(), nil
}

// template renders the chart in a namespace, with values as YAML.
func template(t *testing.T, namespace, values string) (string, error) {
	t.Helper()
	return run(helm(t), values, "template", "metallb", "metallb", "--namespace", namespace, "--values", "-")
}

// rendered are the objects of a rendering, by kind and name.
type rendered map[string]*unstructured.Unstructured

func render(t *testing.T, namespace, values string) rendered {
	t.Helper()
	text, err := template(t, namespace, values)
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, text)
}

func objects(t *testing.T, text string) rendered {
	t.Helper()
	out := rendered{}
	for d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := d.Decode(&o.Object); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		if o.Object == nil {
			continue
		}
		key := o.GetKind() + " " + o.GetName()
		if out[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		out[key] = o
	}
}

// at returns what is at a path, in which numbers are indices.
func (r rendered) at(t *testing.T, object string, path ...any) any {
	t.Helper()
	o := r[object]
	if o == nil {
		t.Fatalf("there is no %s", object)
	}
	var v any = o.Object
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func TestLint(t *testing.T) {
	if out, err := run(helm(t), "", "lint", "--strict", "metallb"); err != nil || strings.Contains(out, "[WARNING]") {
		t.Errorf("%s%v", out, err)
	}
}

// Without values: all objects, what they are named and where, and when Helm makes and removes the hooks.
func TestSummary(t *testing.T) {
	var lines []string
	for key, o := range render(t, "default", "") {
		a := o.GetAnnotations()
		line := fmt.Sprintf("%s %q", key, o.GetNamespace())
		if a["helm.sh/hook"] != "" {
			line += fmt.Sprintf(" %s at %s, removed by %s", a["helm.sh/hook"], a["helm.sh/hook-weight"], a["helm.sh/hook-delete-policy"])
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	got := strings.Join(lines, "\n") + "\n"
	golden(t, "testdata/summary.txt", got)
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs, run with -update if this is right:\n%s", file, got)
	}
}

// What the chart installs besides its hooks is what kubectl installs of config/default, to the last field.
func TestTheSameAsTheManifests(t *testing.T) {
	kustomize := os.Getenv("KUSTOMIZE")
	if kustomize == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("the environment variable KUSTOMIZE does not name the kustomize to use")
		}
		t.Skip("the environment variable KUSTOMIZE does not name the kustomize to use")
	}
	text, err := run(kustomize, "", "build", "../config/default")
	if err != nil {
		t.Fatal(err)
	}
	manifests, chart := objects(t, text), render(t, "metallb-system", "")
	for key, o := range manifests {
		if kind := o.GetKind(); kind == "CustomResourceDefinition" || kind == "Namespace" || kind == "Lease" { // by a hook, by Helm, by nobody
			continue
		}
		if chart[key] == nil || !reflect.DeepEqual(chart[key].Object, o.Object) {
			t.Errorf("%s differs: run make chart\nchart:     %s\nmanifests: %s", key, asJSON(t, chart[key]), asJSON(t, o))
		}
	}
	for key, o := range chart {
		if manifests[key] == nil && o.GetAnnotations()["helm.sh/hook"] == "" {
			t.Errorf("%s is in the chart only", key)
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Every object is in the release's namespace or in none, and no other namespace is named anywhere.
func TestNamespace(t *testing.T) {
	text, err := template(t, "elsewhere", "")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, "metallb-system") {
		t.Error("metallb-system is named")
	}
	for key, o := range objects(t, text) {
		if ns := o.GetNamespace(); ns != "" && ns != "elsewhere" {
			t.Errorf("%s is in namespace %s", key, ns)
		}
	}
}

// The hook that installs the CRDs may touch exactly those that there are.
func TestCRDs(t *testing.T) {
	files, err := filepath.Glob("../config/crd/bases/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, f := range files {
		group, plural, _ := strings.Cut(strings.TrimSuffix(filepath.Base(f), ".yaml"), "_")
		want = append(want, plural+"."+group)
	}
	got, _, _ := unstructured.NestedStringSlice(render(t, "default", "")["ClusterRole metallb-crds"].Object["rules"].([]any)[0].(map[string]any), "resourceNames")
	slices.Sort(want)
	slices.Sort(got)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("it may touch %v, there are %v: run make chart", got, want)
	}
}
