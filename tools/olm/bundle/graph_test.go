package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/blang/semver/v4"
	"github.com/operator-framework/api/pkg/lib/version"
	"github.com/operator-framework/api/pkg/operators/v1alpha1"
)

func catalogOf(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestEachVersionReplacesTheOneBefore(t *testing.T) {
	dir := catalogOf(t, "package.yaml", "v0.10.0.yaml", "v0.9.1.yaml", "v0.9.0-rc.1.yaml")
	if err := writeChannel(dir); err != nil {
		t.Fatal(err)
	}
	var got channel
	if err := read(filepath.Join(dir, "channel.yaml"), &got); err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{Name: "metallb-operator.v0.9.0-rc.1", SkipRange: ">=0.0.0-0 <0.9.0-rc.1"},
		{Name: "metallb-operator.v0.9.1", Replaces: "metallb-operator.v0.9.0-rc.1", SkipRange: ">=0.0.0-0 <0.9.1"},
		{Name: "metallb-operator.v0.10.0", Replaces: "metallb-operator.v0.9.1", SkipRange: ">=0.0.0-0 <0.10.0"},
	}
	if got.Name != "stable" || got.Package != packageName || !reflect.DeepEqual(got.Entries, want) {
		t.Errorf("%+v", got)
	}
}

func TestTheBundleSaysTheSame(t *testing.T) {
	dir := catalogOf(t, "v0.9.1.yaml", "v0.10.0.yaml", "v0.11.0.yaml")
	for own, want := range map[string]string{"0.9.1": "", "0.10.0": "metallb-operator.v0.9.1", "0.12.0": "metallb-operator.v0.11.0"} {
		csv := &v1alpha1.ClusterServiceVersion{}
		csv.Annotations = map[string]string{}
		csv.Spec.Version = version.OperatorVersion{Version: semver.MustParse(own)}
		if err := setGraph(csv, dir); err != nil {
			t.Fatal(err)
		}
		if csv.Spec.Replaces != want || csv.Annotations["olm.skipRange"] != ">=0.0.0-0 <"+own {
			t.Errorf("%s replaces %q and skips %q, not %q", own, csv.Spec.Replaces, csv.Annotations["olm.skipRange"], want)
		}
	}
}

func TestAFileThatIsNoVersionIsRefused(t *testing.T) {
	if err := writeChannel(catalogOf(t, "vnext.yaml")); err == nil {
		t.Error("accepted")
	}
}

// The catalog that is committed is that of the bundle that is committed.
func TestTheCatalogEndsWithTheBundle(t *testing.T) {
	csv, c := theCSV(t), channel{}
	if err := read(filepath.Join(root, "catalog", packageName, "channel.yaml"), &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Entries) == 0 {
		t.Fatal("no versions")
	}
	want := entry{Name: csv.Name, Replaces: csv.Spec.Replaces, SkipRange: csv.Annotations["olm.skipRange"]}
	if head := c.Entries[len(c.Entries)-1]; head != want {
		t.Errorf("ends with %+v, the bundle is %+v", head, want)
	}
}
