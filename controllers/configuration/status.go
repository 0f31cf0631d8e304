package configuration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/api/v1beta1"
)

// Reasons of the conditions of a ConfigurationState.
const (
	// Reconciled: all of the configuration is in use.
	Reconciled = "Reconciled"
	// ConfigurationError: something is wrong and not used.
	ConfigurationError = "ConfigurationError"
)

const (
	// longestMessage is what the API takes as the message of a condition (metav1.Condition), in characters.
	longestMessage = 32768
	// longestSummary bounds status.errorSummary, longestWarning one of mostWarnings, in bytes: the resource must stay well
	// below what etcd takes (1.5 MiB).
	longestSummary = 4 * longestMessage
	longestWarning = 4096
	mostWarnings   = 100
)

// status is what the resource's must be. The caller holds mu.
func (s *State) status(now time.Time) v1beta1.ConfigurationStateStatus {
	out := v1beta1.ConfigurationStateStatus{Result: v1beta1.ConfigurationUnknown, Subnets: s.subnets, Gateways: s.gateways}
	var wrong, odd []string
	for _, name := range slices.Sorted(maps.Keys(s.outcomes)) {
		o := s.outcomes[name]
		out.Conditions = append(out.Conditions, conditionOf(name, o, s.before, now))
		wrong, odd = join(wrong, o.Errors), join(odd, o.Warnings)
	}
	switch {
	case len(wrong) > 0:
		out.Result = v1beta1.ConfigurationInvalid
	case len(s.outcomes) > 0:
		out.Result = v1beta1.ConfigurationValid
	}
	out.ErrorSummary = shorten(strings.Join(wrong, "\n"), longestSummary)
	if len(odd) > mostWarnings {
		odd = append(odd[:mostWarnings-1:mostWarnings-1], fmt.Sprintf("and %d more", len(odd)-mostWarnings+1))
	}
	for _, w := range odd {
		out.Warnings = append(out.Warnings, shorten(w, longestWarning))
	}
	return out
}

// conditionOf makes a condition of an outcome. The time of its last transition is the one found, while its status is.
func conditionOf(name string, o Outcome, before []metav1.Condition, now time.Time) metav1.Condition {
	c := metav1.Condition{Type: name, Status: metav1.ConditionTrue, Reason: Reconciled, Message: "All of it is in use."}
	if len(o.Errors) > 0 {
		c.Status, c.Reason = metav1.ConditionFalse, ConfigurationError
		c.Message = shorten("configuration error: "+strings.Join(o.Errors, "\n"), longestMessage)
	}
	c.LastTransitionTime = metav1.NewTime(now).Rfc3339Copy()
	for _, b := range before {
		if b.Type == c.Type && b.Status == c.Status && !b.LastTransitionTime.IsZero() {
			c.LastTransitionTime = b.LastTransitionTime
		}
	}
	return c
}

// join adds to a list what it does not have.
func join(to, from []string) []string {
	for _, s := range from {
		if !slices.Contains(to, s) {
			to = append(to, s)
		}
	}
	return to
}

// shorten cuts a text that is longer than most bytes, with an ellipsis at its end.
func shorten(text string, most int) string {
	const ellipsis = " …"
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len(ellipsis)], "") + ellipsis
}

// normal is a status in a form that can be compared: what the API server reads and writes back differs in the location
// of times and in empty lists.
func normal(s v1beta1.ConfigurationStateStatus) v1beta1.ConfigurationStateStatus {
	empty := func(list []string) []string {
		if len(list) == 0 {
			return nil
		}
		return list
	}
	s.Warnings, s.Subnets, s.Gateways = empty(s.Warnings), empty(s.Subnets), empty(s.Gateways)
	s.Conditions = slices.Clone(s.Conditions)
	for i := range s.Conditions {
		s.Conditions[i].LastTransitionTime = metav1.Unix(s.Conditions[i].LastTransitionTime.Unix(), 0)
	}
	slices.SortFunc(s.Conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
	if len(s.Conditions) == 0 {
		s.Conditions = nil
	}
	return s
}
