package product

import (
	"context"
	"strings"
)

// Everything names all objects of all kinds but events: cluster-wide ones as kind/name, others as namespace/kind/name.
func (p *Product) Everything(ctx context.Context) (names []string, err error) {
	kinds, err := p.Kubectl(ctx, "api-resources", "--verbs=list", "-o", "name")
	if err != nil {
		return nil, err
	}
	var listed []string
	for k := range strings.FieldsSeq(kinds) {
		if !strings.HasPrefix(k, "events") && !strings.HasPrefix(k, "componentstatuses") {
			listed = append(listed, k)
		}
	}
	out, err := p.Kubectl(ctx, "get", strings.Join(listed, ","), "-A", "-o", `jsonpath={range .items[*]}{.metadata.namespace}/{.kind}/{.metadata.name}{"\n"}{end}`)
	for name := range strings.FieldsSeq(out) {
		names = append(names, strings.TrimPrefix(name, "/"))
	}
	return names, err
}
