package v1beta1_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSamplesAreAccepted: what OLM's consoles offer to create is stored and used, without an error.
func TestSamplesAreAccepted(t *testing.T) {
	files, err := filepath.Glob("../../config/samples/metallb_*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	var all []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(data))
	}
	path := filepath.Join(t.TempDir(), "samples.yaml")
	if err := os.WriteFile(path, []byte(strings.Join(all, "\n---\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	got := apply(t, path)
	t.Log(got)
	for _, wrong := range []string{"Invalid", "Error", "Required", "NotFound", "error"} {
		if strings.Contains(got, wrong) {
			t.Errorf("%s in\n%s", wrong, got)
		}
	}
}
