package olm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// CatalogName is the name of the CatalogSource that [OLM.Publish] makes.
const CatalogName = "metallb"

// Catalog is a file-based catalog: its documents.
type Catalog []map[string]any

// ReadCatalog reads the catalog in a directory.
func ReadCatalog(dir string) (c Catalog, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	for _, file := range files {
		text, readErr := os.ReadFile(file)
		more, parseErr := parseCatalog(text)
		c, err = append(c, more...), errors.Join(err, readErr, parseErr)
	}
	if len(c) == 0 {
		err = errors.Join(err, fmt.Errorf("no catalog in %s: run `make catalog`", dir))
	}
	return c, err
}

func parseCatalog(text []byte) (c Catalog, err error) {
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		var document map[string]any
		if err := d.Decode(&document); errors.Is(err, io.EOF) {
			return c, nil
		} else if err != nil {
			return nil, err
		}
		if document != nil {
			c = append(c, document)
		}
	}
}

// document is the one of the schema and the name; an empty name is any.
func (c Catalog) document(schema, name string) map[string]any {
	for _, d := range c {
		if d["schema"] == schema && (name == "" || d["name"] == name) {
			return d
		}
	}
	return nil
}

// Head is the bundle that whoever subscribes now gets: the last entry of the catalog's one channel.
func (c Catalog) Head() (bundle string, err error) {
	entries, _ := c.document("olm.channel", "")["entries"].([]any)
	if len(entries) > 0 {
		last, _ := entries[len(entries)-1].(map[string]any)
		bundle, _ = last["name"].(string)
	}
	if bundle == "" {
		err = errors.New("the catalog's channel is empty")
	}
	return bundle, err
}

// SetImage says where the image of a bundle is.
func (c Catalog) SetImage(bundle, reference string) error {
	d := c.document("olm.bundle", bundle)
	if d == nil {
		return fmt.Errorf("the catalog has no bundle %s", bundle)
	}
	d["image"] = reference
	return nil
}

// Extend adds a bundle, a directory whose image is at the reference, to the end of the catalog's one channel.
func (o *OLM) Extend(ctx context.Context, c Catalog, dir, reference, replaces string) (Catalog, error) {
	text, err := o.opm(ctx, "render", "--output=json", "--migrate-level=bundle-object-to-csv-metadata", "--alpha-image-ref-template="+reference, dir)
	if err != nil {
		return nil, err
	}
	rendered, err := parseCatalog([]byte(text))
	if err != nil {
		return nil, err
	}
	bundle, channel := rendered.document("olm.bundle", ""), c.document("olm.channel", "")
	if bundle == nil || channel == nil {
		return nil, errors.New("no bundle to add, or no channel to add it to")
	}
	entries, _ := channel["entries"].([]any)
	channel["entries"] = append(entries, map[string]any{"name": bundle["name"], "replaces": replaces})
	return append(c, bundle), nil
}

// AddBundle makes the image of a bundle, a directory with manifests and metadata, loads it into the nodes and returns its
// reference.
func (o *OLM) AddBundle(ctx context.Context, dir string) (reference string, err error) {
	files, err := tree(dir, "")
	if err != nil {
		return "", err
	}
	return o.AddImage(ctx, lab.Image{Name: "lab.metallb.io/metallb-operator-bundle", Files: files})
}

// tree reads the files of a directory as an image has them below the path.
func tree(dir, below string) (files []lab.File, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		files = append(files, lab.File{Path: below + "/" + filepath.ToSlash(rel), Mode: 0o644, Content: content})
		return err
	})
	return files, err
}

// opm runs opm and returns what it printed.
func (o *OLM) opm(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, o.Programs.path("opm"), args...).Output()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		err = fmt.Errorf("opm %s: %w: %s", strings.Join(args, " "), err, failed.Stderr)
	}
	return string(out), err
}

// Publish makes an image of the catalog, has OLM serve it, and waits until OLM reads from it. A catalog that was
// published before is replaced.
func (o *OLM) Publish(ctx context.Context, c Catalog) error {
	dir, err := os.MkdirTemp("", "catalog-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var text bytes.Buffer
	for _, document := range c {
		if err := json.NewEncoder(&text).Encode(document); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "catalog.json"), text.Bytes(), 0o644); err != nil {
		return err
	}
	if _, err := o.opm(ctx, "validate", dir); err != nil {
		return err
	}
	files, err := tree(dir, "/configs/metallb-operator")
	if err != nil {
		return err
	}
	reference, err := o.AddImage(ctx, lab.Image{Name: "lab.metallb.io/metallb-operator-catalog", Files: files})
	if err != nil {
		return err
	}
	source := fmt.Sprintf(`apiVersion: operators.coreos.com/v1alpha1
kind: CatalogSource
metadata: {name: %s, namespace: %s}
spec:
  sourceType: grpc
  image: %s
  displayName: MetalLB
  grpcPodConfig: {securityContextConfig: restricted, extractContent: {catalogDir: /configs}}
`, CatalogName, Namespace, reference)
	if _, err := o.KubectlInput(ctx, source, "apply", "-f", "-"); err != nil {
		return err
	}
	return product.Until(ctx, "the catalog to be read", func() (bool, error) {
		c := Object("CatalogSource", Namespace, CatalogName)
		if err := o.Get(ctx, client.ObjectKeyFromObject(c), c); err != nil {
			return false, err
		}
		state, _, _ := unstructured.NestedString(c.Object, "status", "connectionState", "lastObservedState")
		return state == "READY", fmt.Errorf("its connection is %q", state)
	})
}

// Object names an object of OLM's API.
func Object(kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("operators.coreos.com/v1alpha1")
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}
