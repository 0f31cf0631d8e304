package main

import (
	"fmt"
	"strings"
)

// parseEquivalents reads the mutants that cannot change what a package does. Each is a line with the mutant's name, and
// below it, indented, the reason. Lines that begin with # are comments.
func parseEquivalents(text string) (map[string]string, error) {
	out := map[string]string{}
	last := ""
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
		case line[0] != ' ' && line[0] != '\t':
			if last != "" && out[last] == "" {
				return nil, fmt.Errorf("line %d: no reason is given for %q", i, last)
			}
			last = strings.TrimSpace(line)
			if _, twice := out[last]; twice {
				return nil, fmt.Errorf("line %d: %q stands there twice", i+1, last)
			}
			out[last] = ""
		case last == "":
			return nil, fmt.Errorf("line %d: a reason without a mutant", i+1)
		default:
			out[last] = strings.TrimSpace(out[last] + " " + strings.TrimSpace(line))
		}
	}
	if last != "" && out[last] == "" {
		return nil, fmt.Errorf("no reason is given for %q", last)
	}
	return out, nil
}
