package service

import (
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/config"
)

// Reasons of events on configuration resources.
const (
	// InvalidConfiguration: something of the resource is wrong and not used.
	InvalidConfiguration = "InvalidConfiguration"
	// ConfigurationWarning: the resource is used, but probably does not do what was meant.
	ConfigurationWarning = "ConfigurationWarning"
)

// grace is how long a warning must last before it is told. Who applies a pool and then its advertisement is not to be
// warned in between.
const grace = 3 * time.Second

// resources of the configuration, as read.
type resources struct {
	config.Input
	pools  v1beta1.IPAddressPoolList
	legacy v1beta1.AddressPoolList
	l2     v1beta1.L2AdvertisementList
}

// reference names a resource for an event about it.
func (in *resources) reference(s config.Source) *corev1.ObjectReference {
	ref := &corev1.ObjectReference{APIVersion: v1beta1.GroupVersion.String(), Kind: s.Kind, Name: s.Name}
	note := func(m *metav1.ObjectMeta) {
		if m.Name == s.Name {
			ref.Namespace, ref.UID, ref.ResourceVersion = m.Namespace, m.UID, m.ResourceVersion
		}
	}
	switch s.Kind {
	case "IPAddressPool":
		for i := range in.IPAddressPools {
			note(&in.IPAddressPools[i].ObjectMeta)
		}
	case "AddressPool":
		for i := range in.AddressPools {
			note(&in.AddressPools[i].ObjectMeta)
		}
	case "L2Advertisement":
		for i := range in.L2Advertisements {
			note(&in.L2Advertisements[i].ObjectMeta)
		}
	}
	return ref
}

// problemReport tells of each problem once, for as long as it stays the same.
type problemReport struct {
	known map[problemKey]problemState
}

type problemKey struct {
	source   config.Source
	severity config.Severity
}

type problemState struct {
	text  string
	since time.Time
	told  bool
}

// report tells of what is new. The caller makes sure that only one report runs at a time.
func (p *problemReport) report(recorder record.EventRecorder, log logr.Logger, problems []config.Problem, in *resources, now time.Time) {
	before := p.known
	p.known = make(map[problemKey]problemState, len(problems))
	stale := 0.0
	for _, problem := range problems {
		key := problemKey{problem.Source, problem.Severity}
		state, ok := before[key]
		if text := problem.Errors.ToAggregate().Error(); !ok || state.text != text {
			state = problemState{text: text, since: now}
		}
		reason := InvalidConfiguration
		if problem.Severity == config.Warning {
			reason = ConfigurationWarning
		} else {
			stale = 1
		}
		if !state.told && (problem.Severity == config.Error || now.Sub(state.since) >= grace) {
			state.told = true
			recorder.Event(in.reference(problem.Source), corev1.EventTypeWarning, reason, shortenText(state.text))
			log.Info("problem in the configuration", "severity", problem.Severity, "kind", problem.Source.Kind, "name", problem.Source.Name, "problem", state.text)
		}
		p.known[key] = state
	}
	configStale.Set(stale)
}

// nextLook returns the time until a warning that has not been told is due; 0: there is none.
func (p *problemReport) nextLook(now time.Time) time.Duration {
	var next time.Duration
	for _, s := range p.known {
		if wait := max(s.since.Add(grace).Sub(now), time.Millisecond); !s.told && (next == 0 || wait < next) {
			next = wait
		}
	}
	return next
}

// shortenText cuts a text to what the API takes as the message of an event.
func shortenText(s string) string {
	const most = 1024
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-4], "") + " ..."
}
