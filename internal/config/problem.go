package config

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Severity of a Problem.
type Severity string

// The severities.
const (
	// Error: what is wrong has been dropped from the Config.
	Error Severity = "Error"
	// Warning: probably not what was meant, or it waits for another resource that is not there yet.
	Warning Severity = "Warning"
)

// Problem is all that is wrong with one resource, of one severity.
type Problem struct {
	Source   Source
	Severity Severity
	// Errors name the field, the value, what is wrong and what to write instead.
	Errors field.ErrorList
}

// Error names the resource and everything that is wrong with it.
func (p Problem) Error() string {
	return fmt.Sprintf("%s %s: %v", p.Source.Kind, p.Source.Name, p.Errors.ToAggregate())
}
