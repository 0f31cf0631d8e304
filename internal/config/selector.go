package config

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// selector compiles one selector; not ok is one that is invalid and matches nothing.
func (c *compiler) selector(source Source, at *field.Path, in *metav1.LabelSelector) (labels.Selector, bool) {
	errs := validation.ValidateLabelSelector(in, validation.LabelSelectorValidationOptions{}, at)
	if len(errs) == 0 {
		s, err := metav1.LabelSelectorAsSelector(in)
		if err == nil {
			return s, true
		}
		errs = field.ErrorList{field.Invalid(at, metav1.FormatLabelSelector(in), err.Error())}
	}
	c.errors(source, errs...)
	return labels.Nothing(), false
}

// Refuses says in words why the pool is not meant for a Service of that namespace and those labels; "" means that it
// is. A Service must pass the namespaces, by name or by label, and the Service selectors, where either is given.
func (a *Allocation) Refuses(namespace string, namespaceLabels, serviceLabels labels.Set) string {
	if a == nil {
		return ""
	}
	if len(a.Namespaces)+len(a.NamespaceSelectors) > 0 &&
		!slices.Contains(a.Namespaces, namespace) && !matchesAny(a.NamespaceSelectors, namespaceLabels) {
		var whom []string
		if len(a.Namespaces) > 0 {
			whom = append(whom, "namespaces "+strings.Join(a.Namespaces, ", "))
		}
		if len(a.NamespaceSelectors) > 0 {
			whom = append(whom, "namespaces with labels "+describe(a.NamespaceSelectors))
		}
		return "is for " + strings.Join(whom, " and ") + " only"
	}
	if len(a.ServiceSelectors) > 0 && !matchesAny(a.ServiceSelectors, serviceLabels) {
		return "is for Services with labels " + describe(a.ServiceSelectors) + " only"
	}
	return ""
}

func describe(selectors []labels.Selector) string {
	texts := make([]string, len(selectors))
	for i, s := range selectors {
		switch {
		case s.String() != "":
			texts[i] = s.String()
		case s.Empty():
			texts[i] = "of any kind"
		default:
			texts[i] = "of no kind (the selector is invalid)"
		}
	}
	return strings.Join(texts, " or ")
}

// NeedsNamespaces says whether the answer of Refuses depends on the labels of namespaces.
func (c *Config) NeedsNamespaces() bool {
	return slices.ContainsFunc(c.Pools, func(p Pool) bool {
		return p.Allocation != nil && len(p.Allocation.NamespaceSelectors) > 0
	})
}
