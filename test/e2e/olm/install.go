package olm

import (
	"context"
	_ "embed" // for the manifests of the DNS server
	"errors"
	"os"
	"path/filepath"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// Namespace is where OLM runs, and its catalogs.
const Namespace = "olm"

//go:embed testdata/dns.yaml
var dns string

// ClusterOptions are those of a lab cluster that OLM can run on: its Pods must find Services by name.
func ClusterOptions() lab.Options {
	return lab.Options{KubeletConfig: "clusterDNS: [10.96.0.10]\n"} // the address in testdata/dns.yaml
}

// OLM is OLM on a cluster.
type OLM struct {
	*product.Product
	Programs Programs
}

// Install puts OLM and what it needs on the cluster and waits until it is ready.
func Install(ctx context.Context, p *product.Product, programs Programs) (*OLM, error) {
	dir, err := chartDir(ctx)
	if err != nil {
		return nil, err
	}
	images, err := addImages(ctx, p, programs)
	if err != nil {
		return nil, err
	}
	manifests, err := chart(dir, settings(images))
	if err != nil {
		return nil, err
	}
	o := &OLM{p, programs}
	if err := o.steps(ctx, []step{
		{"", []string{"create", "-f", filepath.Join(dir, "crds")}},
		{dns, []string{"create", "-f", "-"}},
		{"", []string{"wait", "--for=condition=Established", "--timeout=30s", "-f", filepath.Join(dir, "crds")}},
		{manifests, []string{"create", "-f", "-"}},
	}); err != nil {
		return nil, err
	}
	return o, errors.Join(p.WaitRollout(ctx, "kube-system", "dns"),
		p.WaitRollout(ctx, Namespace, "olm-operator"), p.WaitRollout(ctx, Namespace, "catalog-operator"))
}

// settings of OLM's chart.
func settings(images references) map[string]any {
	return map[string]any{
		"namespace": Namespace, "catalog_namespace": Namespace, "operator_namespace": "operators",
		"installType":              "", // upstream would add a catalog that is on a public registry
		"olm.image.ref":            images.olm,
		"olm.image.pullPolicy":     "Never",
		"catalog.image.ref":        images.olm,
		"catalog.image.pullPolicy": "Never",
		"catalog.commandArgs":      "", // names the image of a kind of catalog that is not used
		"catalog.opmImageArgs":     "--opmImage=" + images.opm,
	}
}

// step is a kubectl with its standard input.
type step struct {
	input string
	args  []string
}

func (o *OLM) steps(ctx context.Context, steps []step) error {
	for _, s := range steps {
		if _, err := o.KubectlInput(ctx, s.input, s.args...); err != nil {
			return err
		}
	}
	return nil
}

// references of the images that are made of the programs.
type references struct{ olm, opm string }

// addImages makes images of the programs, and loads them and the product's own into the nodes.
func addImages(ctx context.Context, p *product.Product, programs Programs) (made references, err error) {
	files := func(names ...string) (all []lab.File) {
		for _, name := range names {
			content, readErr := os.ReadFile(programs.path(name))
			err = errors.Join(err, readErr)
			all = append(all, lab.File{Path: "/bin/" + name, Mode: 0o755, Content: content})
		}
		return all
	}
	add := func(i lab.Image) (reference string) {
		if err == nil {
			reference, err = p.AddImage(ctx, i)
		}
		return reference
	}
	// Users are numeric: so the kubelet sees that they are not root.
	add(lab.Image{Name: "lab.metallb.io/dns:1", User: "1001", Path: "/bin/dns", Program: files("dns")[0].Content})
	made.olm = add(lab.Image{Name: "lab.metallb.io/olm:" + release, User: "1001", Files: files("olm", "catalog", "copy-content", "cpb", "cp")})
	// An image that OLM runs for a catalog is pulled always, unless it is named by its digest.
	made.opm = add(lab.Image{Name: "lab.metallb.io/opm", User: "1001", Files: files("opm", "grpc_health_probe")})
	return made, errors.Join(err, p.LoadImage(ctx, p.Image()))
}
