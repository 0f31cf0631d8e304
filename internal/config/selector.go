package config

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// selector compiles one selector; not ok is one that is invalid and matches nothing.
func (c *compiler) selector(source Source, at *field.Path, in *metav1.LabelSelector) (labels.Selector, bool) {
	errs := validation.ValidateLabelSelector(in, validation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, at)
	for i, e := range in.MatchExpressions {
		if !slices.Contains(operators, e.Operator) {
			errs = append(errs, field.NotSupported(at.Child("matchExpressions").Index(i).Child("operator"), e.Operator, operators))
		}
	}
	if len(errs) > 0 {
		// matchLabels is a map, whose errors come in any order.
		slices.SortFunc(errs, func(a, b *field.Error) int { return cmp.Compare(a.Error(), b.Error()) })
		c.errors(source, errs...)
		return labels.Nothing(), false
	}
	s, err := metav1.LabelSelectorAsSelector(in)
	if err != nil {
		c.errors(source, field.Invalid(at, metav1.FormatLabelSelector(in), err.Error()))
		return labels.Nothing(), false
	}
	c.repeated(source, at.Child("matchExpressions"), in.MatchExpressions)
	return s, true
}

var operators = []metav1.LabelSelectorOperator{
	metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist,
}

// repeated reports what a selector says twice. It changes nothing in what the selector matches.
func (c *compiler) repeated(source Source, at *field.Path, in []metav1.LabelSelectorRequirement) {
	var seen []string
	for i, e := range in {
		values := slices.Sorted(slices.Values(e.Values))
		for j, v := range e.Values {
			if slices.Contains(e.Values[:j], v) {
				c.errors(source, twice(at.Index(i).Child("values").Index(j), v))
			}
		}
		text := strings.TrimSpace(e.Key + " " + string(e.Operator) + " " + strings.Join(slices.Compact(values), ","))
		if slices.Contains(seen, text) {
			c.errors(source, twice(at.Index(i), text))
		}
		seen = append(seen, text)
	}
}

// selectors compiles a list of which one match is enough. In place of an invalid one stands one that matches nothing.
func (c *compiler) selectors(source Source, at *field.Path, in []metav1.LabelSelector) []labels.Selector {
	var out []labels.Selector
	for i := range in {
		s, ok := c.selector(source, at.Index(i), &in[i])
		if ok && slices.ContainsFunc(out, func(o labels.Selector) bool { return keyOf(o) == keyOf(s) }) {
			c.errors(source, twice(at.Index(i), metav1.FormatLabelSelector(&in[i])))
			continue
		}
		out = append(out, s)
	}
	return out
}

// selectorKey is equal for selectors that say the same.
type selectorKey struct {
	text    string
	invalid bool
}

func keyOf(s labels.Selector) selectorKey { return selectorKey{s.String(), invalid(s)} }

// invalid says whether s stands for an invalid selector: it matches nothing, whatever the labels.
func invalid(s labels.Selector) bool { return s.String() == "" && !s.Empty() }

func matchesAny(selectors []labels.Selector, set labels.Set) bool {
	return slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s.Matches(set) })
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
