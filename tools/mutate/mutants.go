package main

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// mutant is one change to one file of a package.
type mutant struct {
	// file, absolute, and where the change is in it: bytes from offset to end become text.
	file        string
	offset, end int
	text        string
	line        int
	// site is the expression or the statement that changes; see schema.
	site site
	// name says what changes in words that stay the same when lines move: file, function, change, and its number where a
	// function has the same change more than once.
	name string
}

// source is a package as it is.
type source struct {
	dir   string // relative to the root
	fset  *token.FileSet
	files map[string][]byte // by absolute path
	trees []*ast.File
	info  *types.Info
	pkg   *types.Package
	check func(trees []*ast.File) error
}

// site is where a mutant can be switched on in a program that holds many: the expression or the statement around the
// change. The zero site means that the mutant needs a program of its own.
type site struct {
	from, to int    // bytes of the file
	typ      string // of an expression; empty: a statement
}

// load reads the package in a directory below the root, without its tests. It may import the standard library only.
func load(root, dir string) (*source, error) {
	s := &source{dir: filepath.ToSlash(filepath.Clean(dir)), fset: token.NewFileSet(), files: map[string][]byte{}}
	paths, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		tree, err := parser.ParseFile(s.fset, path, data, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		s.files[path] = data
		s.trees = append(s.trees, tree)
	}
	if len(s.trees) == 0 {
		return nil, fmt.Errorf("%s: no Go files", dir)
	}
	std := importer.Default()
	s.info = &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	if s.pkg, err = (&types.Config{Importer: std}).Check(s.dir, s.fset, s.trees, s.info); err != nil {
		return nil, err
	}
	s.check = func(trees []*ast.File) error {
		_, err := (&types.Config{Importer: std}).Check(s.dir, s.fset, trees, nil)
		return err
	}
	return s, nil
}

// mutants lists the changes that compile, in the order in which they stand in the files.
func (s *source) mutants() ([]mutant, error) {
	var out []mutant
	for i, tree := range s.trees {
		path := s.fset.File(tree.FileStart).Name()
		w := &walker{source: s, path: path, data: s.files[path], alone: map[ast.Node]bool{}}
		for _, d := range tree.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				w.function = functionName(f)
				ast.Inspect(f.Body, w.visit)
			}
		}
		slices.SortStableFunc(w.found, func(a, b mutant) int { return a.offset - b.offset })
		for _, m := range w.found {
			changed, err := parser.ParseFile(s.fset, path, m.apply(w.data), parser.SkipObjectResolution)
			if err != nil {
				return nil, fmt.Errorf("%s: the mutant does not parse: %w", m.name, err)
			}
			trees := slices.Clone(s.trees)
			trees[i] = changed
			if s.check(trees) == nil {
				out = append(out, m)
			}
		}
	}
	number(out)
	return out, nil
}

// number tells mutants of the same name apart.
func number(ms []mutant) {
	seen := map[string]int{}
	for i := range ms {
		seen[ms[i].name]++
		if n := seen[ms[i].name]; n > 1 {
			ms[i].name += " #" + strconv.Itoa(n)
		}
	}
}

func (m mutant) apply(data []byte) []byte {
	return slices.Concat(data[:m.offset], []byte(m.text), data[m.end:])
}

func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return f.Name.Name
	}
	t := f.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name + "." + f.Name.Name
	}
	return f.Name.Name
}

// walker goes through the functions of a file.
type walker struct {
	*source
	path     string
	data     []byte
	function string
	found    []mutant
	constant ast.Expr          // the outermost constant expression around
	alone    map[ast.Node]bool // statements and declarations in whose place there can be no other
	nested   int               // how many of them are around
}

func (w *walker) text(n ast.Node) string {
	return string(w.data[w.fset.Position(n.Pos()).Offset:w.fset.Position(n.End()).Offset])
}

// change notes a mutant: the bytes from a position to another become text. What is shown is the node around it.
func (w *walker) change(from, to token.Pos, text string, shown ast.Node, after string) {
	w.describe(from, to, text, shown, w.text(shown), after)
}

// describe is change with other words for what is there before.
func (w *walker) describe(from, to token.Pos, text string, shown ast.Node, before, after string) {
	m := mutant{file: w.path, offset: w.fset.Position(from).Offset, end: w.fset.Position(to).Offset, text: text, line: w.fset.Position(from).Line}
	m.site = w.siteOf(shown)
	m.name = fmt.Sprintf("%s/%s %s: %s -> %s", w.dir, filepath.Base(w.path), w.function, oneLine(before), oneLine(after))
	w.found = append(w.found, m)
}

// siteOf returns where a change of a node can be switched on.
func (w *walker) siteOf(n ast.Node) site {
	if w.nested > 0 || w.alone[n] {
		return site{}
	}
	typ := ""
	if e, ok := n.(ast.Expr); ok {
		if w.constant != nil {
			e = w.constant // the parts of a constant must be constant
		}
		n = e
		typ = types.TypeString(types.Default(w.info.Types[e].Type), func(p *types.Package) string {
			if p == w.pkg {
				return ""
			}
			return p.Name()
		})
	}
	return site{w.fset.Position(n.Pos()).Offset, w.fset.Position(n.End()).Offset, typ}
}

// oneLine shortens what a name quotes to one line.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > 100 {
		text = string(r[:97]) + "..."
	}
	return text
}
