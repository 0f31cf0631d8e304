package legacy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"metallb.io/operator/internal/config"
)

// Problem is one thing that is wrong or odd about the text.
type Problem struct {
	Place
	// Severity Error: the text cannot be used as it is. Warning: it can, but not all of it means what it says.
	Severity config.Severity
	// Message says what is wrong and what to write instead. It never holds a password.
	Message string
}

// String begins with the place: "line 12: address-pools[1].addresses[0]: ...".
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	return b.String() + p.Message
}

// Problems are all that is wrong with a text, in its order.
type Problems []Problem

// Of returns the texts of those that have this severity.
func (ps Problems) Of(s config.Severity) []string {
	var out []string
	for _, p := range ps {
		if p.Severity == s {
			out = append(out, p.String())
		}
	}
	return out
}

// Failed says whether one of them is an Error.
func (ps Problems) Failed() bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return p.Severity == config.Error })
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
}

// parent of a key: without its last index or name.
func parent(key string) string {
	return key[:max(strings.LastIndexAny(key, ".["), 0)]
}

// within says whether a key is another or stands below it.
func within(key, above string) bool {
	rest, ok := strings.CutPrefix(key, above)
	return ok && (rest == "" || above == "" || rest[0] == '.' || rest[0] == '[')
}
