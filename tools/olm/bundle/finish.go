package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"

	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

const (
	packageName = "metallb-operator"
	// webhookService is the Service of config/webhook. OLM makes one of its own for the Deployment, and names it after that.
	webhookService = "metallb-webhook-service"
	deployment     = "metallb-operator-controller-manager"
)

// sources are the files that a bundle is completed from.
type sources struct {
	bundle, base, icon, catalog string
}

// manifest is the path of a manifest of the bundle.
func (s sources) manifest(name string) string {
	return filepath.Join(s.bundle, "manifests", name)
}

// finish completes the bundle in place.
func finish(s sources) error {
	path := s.manifest(packageName + ".clusterserviceversion.yaml")
	csv, base := &v1alpha1.ClusterServiceVersion{}, &v1alpha1.ClusterServiceVersion{}
	if err := read(path, csv); err != nil {
		return err
	}
	if err := read(s.base, base); err != nil {
		return err
	}
	if err := describe(csv, s.manifest("")); err != nil {
		return err
	}
	icon, err := os.ReadFile(s.icon)
	if err != nil {
		return err
	}
	csv.Spec.Icon = []v1alpha1.Icon{{Data: base64.StdEncoding.EncodeToString(icon), MediaType: "image/svg+xml"}}
	if err := setImages(csv); err != nil {
		return err
	}
	if err := setGraph(csv, s.catalog); err != nil {
		return err
	}
	// operator-sdk writes the time at which it ran, so that no two bundles would be the same.
	csv.Annotations["createdAt"] = base.Annotations["createdAt"]
	csv.Namespace = ""
	data, err := yaml.Marshal(csv)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o644); err != nil { //nolint:gosec // it is committed
		return err
	}
	return serveByOLM(s)
}

// setImages says which image the operator needs: its own, which is also that of everything it deploys. Who mirrors images
// reads it from there.
func setImages(csv *v1alpha1.ClusterServiceVersion) error {
	specs := csv.Spec.InstallStrategy.StrategySpec.DeploymentSpecs
	if len(specs) != 1 || specs[0].Name != deployment || len(specs[0].Spec.Template.Spec.Containers) != 1 {
		return fmt.Errorf("the bundle should have one Deployment, %s, with one container", deployment)
	}
	image := specs[0].Spec.Template.Spec.Containers[0].Image
	csv.Annotations["containerImage"] = image
	csv.Spec.RelatedImages = []v1alpha1.RelatedImage{{Name: "metallb", Image: image}}
	return nil
}

// serveByOLM removes the Service that operator-sdk needed to find the Deployment behind the webhooks, and names OLM's own where
// the CRD of BGPPeer says who converts. OLM completes that with namespace and authority as soon as the operator is up. Until
// then a conversion fails: with strategy None objects would be stored unconverted while OLM upgrades.
func serveByOLM(s sources) error {
	if err := os.Remove(s.manifest(webhookService + "_v1_service.yaml")); err != nil {
		return err
	}
	path := s.manifest("metallb.io_bgppeers.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before := []byte("name: " + webhookService + "\n")
	if n := bytes.Count(data, before); n != 1 {
		return fmt.Errorf("%s names the Service %s %d times, not once", path, webhookService, n)
	}
	return os.WriteFile(path, bytes.Replace(data, before, []byte("name: "+deployment+"-service\n"), 1), 0o644) //nolint:gosec // it is committed
}

// readCRDs reads the CRDs of a directory of manifests, by name.
func readCRDs(manifests string) (map[string]*apiextensionsv1.CustomResourceDefinition, error) {
	files, err := filepath.Glob(filepath.Join(manifests, "metallb.io_*.yaml"))
	if err != nil {
		return nil, err
	}
	all := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, file := range files {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := read(file, crd); err != nil {
			return nil, err
		}
		all[crd.Name] = crd
	}
	return all, nil
}

func read(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
