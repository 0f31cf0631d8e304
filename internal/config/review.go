package config

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Verdict on a change of one resource.
type Verdict struct {
	// Errors refuse the change.
	Errors field.ErrorList
	// Warnings are told to whoever makes it.
	Warnings []string
}

// Review judges the change of one resource: before is the configuration without the change, after the one with it, and
// subject the resource that is created, updated or, being in before only, deleted.
func Review(before, after Input, subject Source) Verdict {
	panic("not written yet")
}
