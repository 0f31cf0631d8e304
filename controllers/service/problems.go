package service

import (
	"cmp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/config"
)

// Reasons of events on configuration resources.
const (
	// InvalidConfiguration: something of the resource is wrong and not used.
	InvalidConfiguration = "InvalidConfiguration"
	// ConfigurationWarning: the resource is used, but probably does not do what was meant.
	ConfigurationWarning = "ConfigurationWarning"
)

// recheckSecrets is how long it takes to notice that a Secret that a peer lacks has come: there is no right to watch
// Secrets. Tests make it short.
var recheckSecrets = 30 * time.Second

// report tells of each problem of a configuration once: an event on its resource, and a line in the log. The caller holds
// loading.
func (r *Reconciler) report(in config.Input, problems []config.Problem, now time.Time) {
	log := ctrl.Log.WithName("configuration")
	for _, p := range r.problems.Update(in, problems, now) {
		reason := InvalidConfiguration
		if p.Severity == config.Warning {
			reason = ConfigurationWarning
		}
		text := p.Errors.ToAggregate().Error()
		r.Recorder.Event(configuration.Reference(in, p.Source), corev1.EventTypeWarning, reason, shortenText(text))
		log.Info("problem in the configuration", "severity", p.Severity, "kind", p.Source.Kind, "name", p.Source.Name, "problem", text)
	}
	kubernetes.SetStale(len(r.problems.Outcome().Errors) > 0)
}

// outcomes are the conditions of the ConfigurationState. The caller holds loading.
func (r *Reconciler) outcomes() map[string]configuration.Outcome {
	return map[string]configuration.Outcome{
		v1beta1.ConditionConfigurationValid: r.problems.Outcome(),
		v1beta1.ConditionPoolsValid:         r.problems.Outcome("IPAddressPool", "AddressPool"),
	}
}

// nextLook returns when to load again though nothing is known to have changed; 0: never. The caller holds loading.
func (r *Reconciler) nextLook(now time.Time) time.Duration {
	next := r.problems.Next(now)
	if expiry := r.nextExpiry(); !expiry.IsZero() {
		left := max(expiry.Sub(now), time.Millisecond)
		next = min(cmp.Or(next, left), left)
	}
	if r.lacksSecrets {
		return min(cmp.Or(next, recheckSecrets), recheckSecrets)
	}
	return next
}

// nextExpiry is when the next reservation no longer counts; zero: never.
func (r *Reconciler) nextExpiry() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.config.NextExpiry()
}

// lacksSecrets says whether a peer refers to a Secret that is not there, or not yet what it should be.
func lacksSecrets(in config.Input) bool {
	for _, name := range configuration.SecretNames(in) {
		if s := in.Secrets[name]; s.Type != string(corev1.SecretTypeBasicAuth) || s.Password == "" {
			return true
		}
	}
	return false
}

// shortenText cuts a text to what the API takes as the message of an event.
func shortenText(s string) string {
	const most = 1024
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-4], "") + " ..."
}
