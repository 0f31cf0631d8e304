package setup

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"metallb.io/operator/config/crd"
)

// InstallCRDs applies the CustomResourceDefinitions and waits until they can be used. They have no conversion in them, so
// that what a running operator applied there stays. What another installer wrote and these do not have goes.
func InstallCRDs(ctx context.Context, c client.Client, log *slog.Logger) error {
	crds, err := definitions()
	if err != nil {
		return err
	}
	for _, o := range crds {
		name := o.GetName()
		before, after := "", ""
		if err := until(ctx, "CustomResourceDefinition "+name+" to be applied", func() (bool, error) {
			live := &apiextensionsv1.CustomResourceDefinition{}
			if err := client.IgnoreNotFound(c.Get(ctx, client.ObjectKey{Name: name}, live)); err != nil {
				return false, err
			}
			before = live.ResourceVersion
			applied := o.DeepCopy()
			err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), crdOwner, client.ForceOwnership)
			after = applied.GetResourceVersion()
			return err == nil, err
		}); err != nil {
			return err
		}
		log.Info("applied a CustomResourceDefinition", "name", name, "new", before == "", "changed", before != after)
	}
	for _, o := range crds {
		if err := until(ctx, "CustomResourceDefinition "+o.GetName()+" to be established", func() (bool, error) {
			live := &apiextensionsv1.CustomResourceDefinition{}
			if err := c.Get(ctx, client.ObjectKeyFromObject(o), live); err != nil {
				return false, err
			}
			return established(live)
		}); err != nil {
			return err
		}
	}
	return nil
}

// established tells whether the API server serves it, and else why not.
func established(crd *apiextensionsv1.CustomResourceDefinition) (bool, error) {
	said := "no conditions yet"
	for _, c := range crd.Status.Conditions {
		switch {
		case c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue:
			return true, nil
		case c.Status == apiextensionsv1.ConditionFalse:
			said = string(c.Type) + " is False: " + c.Message
		}
	}
	return false, fmt.Errorf("its status: %s", said)
}

// definitions returns the embedded CustomResourceDefinitions in order of their file names.
func definitions() ([]*unstructured.Unstructured, error) {
	files, err := fs.Glob(crd.Bases, "bases/*.yaml")
	if err != nil {
		return nil, err
	}
	out := make([]*unstructured.Unstructured, 0, len(files))
	for _, f := range files {
		text, err := crd.Bases.ReadFile(f)
		if err != nil {
			return nil, err
		}
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &o.Object); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		out = append(out, o)
	}
	return out, nil
}
