package product

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"metallb.io/operator/test/lab"
)

// Flaw is what is wrong with an image that is made to be upgraded to: one role of it does not come up, the others are
// the product's own program.
type Flaw struct {
	// Role is "operator", "controller" or "speaker"; empty: nothing is wrong.
	Role string
	// How it fails: "exits" at once, or runs and is "unready", which the probes hear.
	How string
}

// AddVersion builds the product as of another version, with a flaw, loads its image into the nodes, and returns its
// reference, which names it by digest.
func (p *Product) AddVersion(ctx context.Context, version string, flaw Flaw) (reference string, err error) {
	dir, err := os.MkdirTemp("", "metallb-version-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	program, err := build(ctx, filepath.Join(dir, "metallb"), p.root, "-X main.version="+version)
	if err != nil {
		return "", err
	}
	bgp, err := build(ctx, filepath.Join(dir, "metallb-bgp"), filepath.Join(p.root, "cmd/metallb-bgp"), "")
	if err != nil {
		return "", err
	}
	image := lab.Image{
		Name: "lab.metallb.io/metallb", Path: "/metallb", Program: program, User: "65534:65534",
		Files: []lab.File{{Path: "/metallb-bgp", Mode: 0o755, Content: bgp}},
	}
	if flaw != (Flaw{}) {
		front, err := build(ctx, filepath.Join(dir, "flawed"), filepath.Join(p.root, "test/e2e/cmd/flawed"), "-X main.role="+flaw.Role+" -X main.how="+flaw.How)
		if err != nil {
			return "", err
		}
		image.Program = front
		image.Files = append(image.Files, lab.File{Path: "/whole", Mode: 0o755, Content: program})
	}
	return p.AddImage(ctx, image)
}

// build compiles a package into a file without libraries and returns what is in it.
func build(ctx context.Context, to, pkg, variables string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w "+variables, "-o", to, ".")
	cmd.Dir, cmd.Env = pkg, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s: %w: %s", pkg, err, out)
	}
	return os.ReadFile(to)
}
