package node

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestNewsAreToldOnce(t *testing.T) {
	var n news[string, int]
	for i, tt := range []struct{ holds, begins, ended string }{
		{"", "", ""},
		{"a b a", "a b", ""},
		{"b a", "", ""},
		{"b c", "c", "a"},
		{"", "", "b c"},
		{"a", "a", ""},
	} {
		t.Run(fmt.Sprintf("round %d", i), func(t *testing.T) {
			var begins []string
			for _, k := range strings.Fields(tt.holds) {
				if n.note(k, i) {
					begins = append(begins, k)
				}
			}
			ended := slices.Sorted(maps.Keys(n.end()))
			if got := strings.Join(begins, " "); got != tt.begins {
				t.Errorf("%q begin, not %q", got, tt.begins)
			}
			if got := strings.Join(ended, " "); got != tt.ended {
				t.Errorf("%q end, not %q", got, tt.ended)
			}
			for _, k := range []string{"a", "b", "c"} {
				if want := strings.Contains(tt.holds, k); n.holds(k) != want {
					t.Errorf("%s holds: %t", k, !want)
				}
			}
		})
	}
}
