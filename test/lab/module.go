package lab

import (
	"context"
	"path"
)

// Module is a Go module besides the lab's own whose programs tests need.
type Module struct {
	// Name begins the name of its directory in the cache.
	Name string
	// Dir is where its go.mod is.
	Dir string
	// Packages are those of its programs, by import path. A program is called as
	// the last element of its path.
	Packages []string
	// Tags are build tags, separated by commas.
	Tags string
}

// BuildModule builds a module's programs, static, unless they are in the cache
// of [Build], and returns their directory. logf (nil: standard error) is told of the progress.
func BuildModule(ctx context.Context, m Module, logf func(format string, args ...any)) (dir string, err error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	p := part{name: m.Name}
	for _, pkg := range m.Packages {
		p.programs = append(p.programs, program{name: path.Base(pkg), pkg: pkg, tags: m.Tags})
	}
	return p.cached(ctx, logOr(logf), m.Dir, cache)
}
