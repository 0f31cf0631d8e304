package product

import (
	"os"
	"testing"
)

// Helm is the path of the Helm to use, that of the environment variable HELM. Without it the test is skipped, or fails if the
// environment variable CI is true.
func Helm(t testing.TB) string {
	t.Helper()
	helm := os.Getenv("HELM")
	if helm == "" {
		const reason = "the environment variable HELM does not name the Helm to use: make helm builds it"
		if os.Getenv("CI") == "true" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	return helm
}
