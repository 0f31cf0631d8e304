package takeover

import (
	"slices"
	"testing"
)

func TestBlocksAreFoundByTheirMarkers(t *testing.T) {
	const text = "# A\n\n<!-- m -->\n\n    one\n      two\n\ntext\n\n    not this\n<!-- m -->\n\n    three\n"
	got, err := blocks(text, "<!-- m -->")
	if want := []string{"one\n  two\n", "three\n"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{"", "\n<!-- m -->\n\ntext\n"} {
		if got, err := blocks(bad, "<!-- m -->"); err == nil {
			t.Errorf("%q has the blocks %q", bad, got)
		}
	}
}
