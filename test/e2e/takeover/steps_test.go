package takeover

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"metallb.io/operator/test/e2e/product"
)

// page is what is documented and tested here.
const page = "docs/coming-from-metallb.md"

// steps returns the commands of the page after each of its comments "takeover: <name>", a script for each block. So what
// is tested is what users read.
func steps(name string) ([]string, error) {
	root, err := product.Root()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		return nil, err
	}
	return blocks(string(text), "<!-- takeover: "+name+" -->")
}

// blocks returns the indented block after each of the markers.
func blocks(text, marker string) ([]string, error) {
	parts := strings.Split(text, "\n"+marker+"\n\n")
	var found []string
	for _, part := range parts[1:] {
		var block strings.Builder
		for line := range strings.Lines(part) {
			command, indented := strings.CutPrefix(line, "    ")
			if !indented {
				break
			}
			block.WriteString(command)
		}
		if block.Len() == 0 {
			return nil, fmt.Errorf("%s: no commands after %s", page, marker)
		}
		found = append(found, block.String())
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no %s", page, marker)
	}
	return found, nil
}
