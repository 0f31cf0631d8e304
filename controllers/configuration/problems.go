package configuration

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/config"
)

// Grace is how long a warning must last before it is told. Who applies a pool and then its advertisement is not to be
// warned in between.
const Grace = 3 * time.Second

// Problems keeps track of what is wrong with a configuration from one reading to the next, so that each problem is told
// once for as long as it stays the same, and a warning not before Grace. Its zero value knows of none.
type Problems struct {
	known map[problemKey]problemState
	order []problemKey
}

type problemKey struct {
	source   config.Source
	severity config.Severity
}

type problemState struct {
	problem config.Problem
	text    string
	since   time.Time
	told    bool
}

// Update takes in what is wrong now, with the configuration that it was found in, and returns what is to be told of it.
func (p *Problems) Update(in config.Input, problems []config.Problem, now time.Time) []config.Problem {
	before := p.known
	p.known, p.order = make(map[problemKey]problemState, len(problems)), make([]problemKey, 0, len(problems))
	var news []config.Problem
	for _, problem := range problems {
		key := problemKey{problem.Source, problem.Severity}
		state, ok := before[key]
		if text := problem.Errors.ToAggregate().Error(); !ok || state.text != text {
			state = problemState{text: text, since: now}
			if before == nil { // what is older than this process has had its time
				state.since = created(in, problem.Source, now)
			}
		}
		state.problem = problem
		if !state.told && (problem.Severity == config.Error || now.Sub(state.since) >= Grace) {
			state.told = true
			news = append(news, problem)
		}
		p.known[key] = state
		p.order = append(p.order, key)
	}
	return news
}

// Next returns the time until a warning that has not been told is due; 0: there is none.
func (p *Problems) Next(now time.Time) time.Duration {
	var next time.Duration
	for _, s := range p.known {
		if wait := max(s.since.Add(Grace).Sub(now), time.Millisecond); !s.told && (next == 0 || wait < next) {
			next = wait
		}
	}
	return next
}

// Outcome is all that has been told and still holds, about resources of these kinds; none given: of all kinds.
func (p *Problems) Outcome(kinds ...string) Outcome {
	var o Outcome
	for _, key := range p.order {
		s := p.known[key]
		if !s.told || len(kinds) > 0 && !slices.Contains(kinds, key.source.Kind) {
			continue
		}
		for _, e := range s.problem.Errors {
			line := key.source.Kind + " " + key.source.Name + ": " + e.Error()
			if key.severity == config.Error {
				o.Errors = append(o.Errors, line)
			} else {
				o.Warnings = append(o.Warnings, line)
			}
		}
	}
	return o
}

// Reference names a resource of the configuration for an event about it.
func Reference(in config.Input, s config.Source) *corev1.ObjectReference {
	ref := &corev1.ObjectReference{APIVersion: v1beta1.GroupVersion.String(), Kind: s.Kind, Name: s.Name}
	if s.Kind == "BGPPeer" {
		ref.APIVersion = v1beta2.GroupVersion.String()
	}
	if o := object(in, s); o != nil {
		ref.Namespace, ref.UID, ref.ResourceVersion = o.GetNamespace(), o.GetUID(), o.GetResourceVersion()
	}
	return ref
}

// created is when a resource was, or otherwise if that is not known.
func created(in config.Input, s config.Source, otherwise time.Time) time.Time {
	if o := object(in, s); o != nil {
		if t := o.GetCreationTimestamp(); !t.IsZero() {
			return t.Time
		}
	}
	return otherwise
}

// object finds a resource of the configuration; nil where it is not there.
func object(in config.Input, s config.Source) client.Object {
	switch s.Kind {
	case "IPAddressPool":
		return find(in.IPAddressPools, s.Name)
	case "AddressPool":
		return find(in.AddressPools, s.Name)
	case "L2Advertisement":
		return find(in.L2Advertisements, s.Name)
	case "BGPAdvertisement":
		return find(in.BGPAdvertisements, s.Name)
	case "BGPPeer":
		return find(in.BGPPeers, s.Name)
	case "BFDProfile":
		return find(in.BFDProfiles, s.Name)
	case "Community":
		return find(in.Communities, s.Name)
	default:
		return nil
	}
}

func find[T any, P interface {
	*T
	client.Object
}](list []T, name string) client.Object {
	for i := range list {
		if p := P(&list[i]); p.GetName() == name {
			return p
		}
	}
	return nil
}
