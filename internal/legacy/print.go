package legacy

import (
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// WriteYAML writes the resources as YAML documents for kubectl apply, in an order in which each finds what it refers
// to. It is the one place that shows passwords, in Secrets, as text.
func (r *Resources) WriteYAML(w io.Writer) error {
	for _, o := range r.Objects() {
		if secret, ok := o.(*corev1.Secret); ok {
			secret = secret.DeepCopy()
			secret.StringData, secret.Data = map[string]string{}, nil
			for k, v := range o.(*corev1.Secret).Data {
				secret.StringData[k] = string(v)
			}
			o = secret
		}
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return err
		}
		delete(content, "status")
		text, err := yaml.Marshal(content)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "---\n%s", text); err != nil {
			return err
		}
	}
	return nil
}
