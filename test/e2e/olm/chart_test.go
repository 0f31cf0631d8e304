package olm

import (
	"strings"
	"testing"
)

// The chart of the pinned release, with our settings: what OLM is made of, and no image from elsewhere.
func TestChart(t *testing.T) {
	dir, err := chartDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := chart(dir, settings(references{olm: "lab.metallb.io/olm:x", opm: "lab.metallb.io/opm@sha256:0"}))
	if err != nil {
		t.Fatal(err)
	}
	for want, count := range map[string]int{
		"kind: Deployment": 2, "kind: Namespace": 2, "kind: OperatorGroup": 2, "kind: OLMConfig": 1,
		"image: lab.metallb.io/olm:x\n": 2, "- --opmImage=lab.metallb.io/opm@sha256:0\n": 1, "imagePullPolicy: Never\n": 2,
		"quay.io": 0, "kind: CatalogSource": 0, "<no value>": 0,
	} {
		if got := strings.Count(out, want); got != count {
			t.Errorf("%q is there %d times, want %d", want, got, count)
		}
	}
	if _, err := chartValues(dir, map[string]any{"nothing.here": 1}); err == nil {
		t.Error("a setting that the chart does not have is taken")
	}
	if t.Failed() {
		t.Log(out)
	}
}
