package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"path/filepath"
	"slices"
	"strings"
)

// Building a program takes longer than running the tests. So all mutants that can be are put into one program, in which a
// variable of the environment switches one of them on: an expression with mutants becomes a call of a function that
// returns what the variable asks for, a statement an if.

const (
	// variable of the environment with the number of the mutant.
	variable = "MUTANT"
	// chosen is the variable of the program with the same number.
	chosen = "mutantThatIsOn"
	// switchFile is added to the package.
	switchFile = "mutant_that_is_on.go"
)

// schema returns the package's files with the mutants in them, by their absolute paths. Mutants without a site are
// left out.
func (s *source) schema(root string, ms []mutant) (map[string][]byte, error) {
	out := map[string][]byte{}
	var trees []*ast.File
	for path, data := range s.files {
		var here []int
		for i, m := range ms {
			if m.file == path && m.site != (site{}) {
				here = append(here, i)
			}
		}
		out[path] = []byte(render(data, ms, nest(ms, here)))
	}
	out[filepath.Join(root, s.dir, switchFile)] = fmt.Appendf(nil, `package %s

import (
	"os"
	"strconv"
)

var %s, _ = strconv.Atoi(os.Getenv(%q))
`, s.pkg.Name(), chosen, variable)
	for path, data := range out {
		tree, err := parser.ParseFile(s.fset, path, data, parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, data)
		}
		trees = append(trees, tree)
	}
	return out, s.check(trees)
}

// place of mutants in a file, with those that are within it.
type spot struct {
	site
	mutants []int
	within  []*spot
}

// nest makes a tree of the sites of mutants; the root is the file.
func nest(ms []mutant, here []int) *spot {
	spots := map[site]*spot{}
	var order []*spot
	for _, i := range here {
		if spots[ms[i].site] == nil {
			spots[ms[i].site] = &spot{site: ms[i].site}
			order = append(order, spots[ms[i].site])
		}
		spots[ms[i].site].mutants = append(spots[ms[i].site].mutants, i)
	}
	// Of two that begin together the longer is around the other; an expression that is a statement is within it.
	slices.SortFunc(order, func(a, b *spot) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to), cmp.Compare(a.typ, b.typ))
	})
	root := &spot{site: site{0, 1 << 62, ""}}
	stack := []*spot{root}
	for _, sp := range order {
		for stack[len(stack)-1].to < sp.to {
			stack = stack[:len(stack)-1]
		}
		top := stack[len(stack)-1]
		top.within = append(top.within, sp)
		stack = append(stack, sp)
	}
	root.to = 0
	return root
}

// render writes a spot with all mutants in it that can be switched on. Mutant number i has number i+1 outside.
func render(data []byte, ms []mutant, sp *spot) string {
	from, to := sp.from, sp.to
	if len(sp.mutants) == 0 {
		from, to = 0, len(data)
	}
	var plain strings.Builder
	at := from
	for _, inner := range sp.within {
		plain.Write(data[at:inner.from])
		plain.WriteString(render(data, ms, inner))
		at = inner.to
	}
	plain.Write(data[at:to])
	if len(sp.mutants) == 0 {
		return plain.String()
	}
	var b strings.Builder
	if sp.typ != "" {
		fmt.Fprintf(&b, "func() %s { switch %s {", sp.typ, chosen)
		for _, i := range sp.mutants {
			fmt.Fprintf(&b, "\ncase %d: return %s", i+1, ms[i].within(data))
		}
		fmt.Fprintf(&b, "\n}; return %s }()", plain.String())
		return b.String()
	}
	for _, i := range sp.mutants {
		fmt.Fprintf(&b, "if %s == %d { %s } else ", chosen, i+1, ms[i].within(data))
	}
	fmt.Fprintf(&b, "{ %s }", plain.String())
	return b.String()
}

// within returns the text of the mutant's site with the change.
func (m mutant) within(data []byte) string {
	return string(data[m.site.from:m.offset]) + m.text + string(data[m.end:m.site.to])
}
