// Package olm puts the real Operator Lifecycle Manager on a lab cluster and the operator's bundle into a catalog of it.
// OLM and opm are built from source, OLM's manifests are those of its own Helm chart, bundle and catalog are images
// that OLM itself unpacks.
package olm

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

const (
	release    = "v0.46.0"
	module     = "github.com/operator-framework/operator-lifecycle-manager"
	opmPackage = "github.com/operator-framework/operator-registry/cmd/opm"
)

// Programs is a directory with OLM's programs, opm and what their images hold besides.
type Programs string

// path of one of the programs.
func (p Programs) path(name string) string { return filepath.Join(string(p), name) }

// Build builds what is not in the lab's cache yet, which takes some three minutes the first time. logf (nil: standard
// error) is told of the progress.
func Build(ctx context.Context, logf func(format string, args ...any)) (Programs, error) {
	dir, err := buildModule()
	if err != nil {
		return "", err
	}
	built, err := lab.BuildModule(ctx, lab.Module{
		Name: "olm", Dir: dir,
		Packages: []string{module + "/cmd/olm", module + "/cmd/catalog", module + "/cmd/copy-content", module + "/util/cpb", opmPackage,
			"./cp", "./grpc_health_probe", "./dns"},
		// Without it opm needs a C library for signatures that it does not verify here.
		Tags: "containers_image_openpgp",
	}, logf)
	return Programs(built), err
}

// buildModule is the directory of the module that pins what is built.
func buildModule() (string, error) {
	root, err := product.Root()
	return filepath.Join(root, "test/olm/build"), err
}

// chartDir is the directory of OLM's chart, in the sources of the release.
func chartDir(ctx context.Context) (string, error) {
	dir, err := buildModule()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module+"@"+release)
	cmd.Dir = dir
	out, err := cmd.Output()
	var sources struct{ Dir, Error string }
	if err == nil {
		err = json.Unmarshal(out, &sources)
	}
	if err != nil {
		return "", fmt.Errorf("find the sources of OLM: %w: %s", err, sources.Error)
	}
	return filepath.Join(sources.Dir, "deploy/chart"), nil
}
