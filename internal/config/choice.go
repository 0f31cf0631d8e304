package config

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// choose returns the pools of an advertisement, those it names and those it selects, sorted by name; without either all
// IPAddressPools. An AddressPool says itself how it is announced.
func (c *compiler) choose(source Source, inNames []string, inSelectors []metav1.LabelSelector) []*draft {
	spec := field.NewPath("spec")
	namesAt, selectorsAt := spec.Child("ipAddressPools"), spec.Child("ipAddressPoolSelectors")
	names := c.names(source, namesAt, inNames, "the name of a pool")
	selectors := c.selectors(source, selectorsAt, inSelectors)
	if len(inNames) == 0 && len(inSelectors) == 0 {
		if len(c.ipAddressPools) == 0 {
			c.warnings(source, field.Required(namesAt, "an IPAddressPool: there is none, so nothing is announced. Create one"))
		}
		return c.ipAddressPools
	}
	chosen := map[*draft]bool{}
	for _, s := range selectors {
		for _, d := range c.labelled(s) {
			chosen[d] = true
		}
	}
	if len(selectors) > 0 && len(chosen) == 0 && !slices.ContainsFunc(selectors, invalid) {
		c.warnings(source, field.Invalid(selectorsAt, describe(selectors), "no pool has such labels, so nothing is announced by this: write labels that pools have, or names in ipAddressPools"))
	}
	for _, name := range names {
		if d := c.poolsByName[name]; d != nil {
			chosen[d] = true
		}
	}
	for i, name := range inNames {
		if name != "" && c.poolsByName[name] == nil && !slices.Contains(inNames[:i], name) {
			c.warnings(source, missing(namesAt.Index(i), name, "there is no pool of this name, so nothing of it is announced", c.poolNames, "create the pool"))
		}
	}
	out := make([]*draft, 0, len(chosen))
	for d := range chosen {
		out = append(out, d)
	}
	slices.SortFunc(out, compareNames)
	return out
}

// labelled returns the pools that a selector matches.
func (c *compiler) labelled(s labels.Selector) []*draft {
	key := keyOf(s)
	out, ok := c.poolsBySelector[key]
	if !ok {
		for _, d := range c.pools {
			if s.Matches(d.labels) {
				out = append(out, d)
			}
		}
		c.poolsBySelector[key] = out
	}
	return out
}

// listed is the number of names that a hint has.
const listed = 10

// missing says that nothing has a name, what that leads to, and which names there are.
func missing(at *field.Path, name, consequence string, known []string, create string) *field.Error {
	e := field.NotFound(at, name)
	switch {
	case len(known) == 0:
		e.Detail = consequence + ": " + create
	case len(known) > listed:
		e.Detail = fmt.Sprintf("%s: write one of %s and %d more, or %s", consequence, strings.Join(known[:listed], ", "), len(known)-listed, create)
	default:
		e.Detail = fmt.Sprintf("%s: write one of %s, or %s", consequence, strings.Join(known, ", "), create)
	}
	return e
}
