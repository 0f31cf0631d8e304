package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// describe says of each owned resource what its CRD says: what it is, and what its fields are. Consoles make forms of it.
func describe(csv *v1alpha1.ClusterServiceVersion, manifests string) error {
	crds, err := readCRDs(manifests)
	if err != nil {
		return err
	}
	owned := csv.Spec.CustomResourceDefinitions.Owned
	for i := range owned {
		schema, err := schemaOf(crds[owned[i].Name], owned[i].Version)
		if err != nil {
			return fmt.Errorf("%s %s: %w", owned[i].Name, owned[i].Version, err)
		}
		if owned[i].DisplayName == "" || len(owned[i].Resources) == 0 {
			return fmt.Errorf("%s %s: give it a displayName and resources in the base", owned[i].Name, owned[i].Version)
		}
		owned[i].Description = oneLine(schema.Description)
		spec, status := schema.Properties["spec"].Properties, schema.Properties["status"].Properties
		for _, name := range slices.Sorted(maps.Keys(spec)) {
			owned[i].SpecDescriptors = append(owned[i].SpecDescriptors, v1alpha1.SpecDescriptor{
				Path: name, DisplayName: title(name), Description: oneLine(spec[name].Description), XDescriptors: widgets(spec[name]),
			})
		}
		for _, name := range slices.Sorted(maps.Keys(status)) {
			d := v1alpha1.StatusDescriptor{Path: name, DisplayName: title(name), Description: oneLine(status[name].Description)}
			if name == "conditions" {
				d.XDescriptors = []string{"urn:alm:descriptor:io.kubernetes.conditions"}
			}
			owned[i].StatusDescriptors = append(owned[i].StatusDescriptors, d)
		}
	}
	return nil
}

func schemaOf(crd *apiextensionsv1.CustomResourceDefinition, version string) (*apiextensionsv1.JSONSchemaProps, error) {
	if crd == nil {
		return nil, fmt.Errorf("its CRD is not in the bundle")
	}
	for _, v := range crd.Spec.Versions {
		if v.Name == version && v.Schema != nil && v.Schema.OpenAPIV3Schema != nil {
			return v.Schema.OpenAPIV3Schema, nil
		}
	}
	return nil, fmt.Errorf("its CRD has no schema for it")
}

// widgets are the form elements that fit the field; none: the console falls back to YAML.
func widgets(p apiextensionsv1.JSONSchemaProps) []string {
	const ui = "urn:alm:descriptor:com.tectonic.ui:"
	switch {
	case len(p.Enum) > 0:
		var all []string
		for _, v := range p.Enum {
			if word := strings.Trim(string(v.Raw), `"`); word != "" {
				all = append(all, ui+"select:"+word)
			}
		}
		return all
	case p.Type == "boolean":
		return []string{ui + "booleanSwitch"}
	case p.Type == "integer":
		return []string{ui + "number"}
	case p.Type == "string":
		return []string{ui + "text"}
	}
	return nil
}

var (
	hump = regexp.MustCompile(`([a-z0-9])([A-Z])`)
	// abbreviations are the words of field names that are not just capitalised.
	abbreviations = map[string]string{"asn": "ASN", "bfd": "BFD", "bgp": "BGP", "ebgp": "eBGP", "frrk8s": "FRR-K8s", "ip": "IP", "ttl": "TTL", "vrf": "VRF"}
)

// title makes a caption of the name of a field: myASN becomes My ASN.
func title(name string) string {
	words := strings.Fields(hump.ReplaceAllString(name, "$1 $2"))
	for i, w := range words {
		if whole, ok := abbreviations[strings.ToLower(w)]; ok {
			words[i] = whole
		} else {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, " ")
}

func oneLine(text string) string {
	return strings.Join(strings.Fields(text), " ")
}
