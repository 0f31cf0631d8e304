package configuration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
)

// ControllerState is the name of the controller's ConfigurationState.
const ControllerState = "controller"

// Components that report, as LabelComponentType says.
const (
	Controller = "controller"
	Speaker    = "speaker"
)

// SpeakerState is the name of the ConfigurationState of a node's speaker.
func SpeakerState(node string) string { return "speaker-" + node }

// Outcome is what came of a configuration: all that is wrong, and all that is odd.
type Outcome struct {
	Errors, Warnings []string
}

// State keeps one ConfigurationState right. Several reconcilers of a process share it, each with a condition of its own.
//
// What was written is remembered: nothing is read or written where nothing changes. Of two pods of a node, or two replicas
// of the controller, the one that spoke up last has the resource; the other is silent, until the resource is gone.
type State struct {
	// Client reads from the API server, not from a cache, and writes.
	Client    client.Client
	Namespace string
	Name      string
	// Component is Controller or Speaker.
	Component string
	// Node of the speaker; empty for the controller.
	Node string
	// Pod of this process, which owns the resource: it goes when the pod does. Empty, or not there: nobody owns it.
	Pod string

	mu       sync.Mutex
	outcomes map[string]Outcome // by condition
	subnets  []string
	gateways []string
	owner    types.UID // of Pod, once it is known
	begun    bool      // this process has written the resource, or found it right
	checked  bool      // there is what the resource is
	there    *v1beta1.ConfigurationState
	before   []metav1.Condition // as they were found, for the times of their last transition
}

// Set reports on one condition (v1beta1.ConditionConfigurationValid and others) and writes the resource if that changes
// anything. After an error the next call of any method tries again.
func (s *State) Set(ctx context.Context, condition string, o Outcome) error {
	return s.SetAll(ctx, map[string]Outcome{condition: o})
}

// SetAll is Set for several conditions in one write.
func (s *State) SetAll(ctx context.Context, outcomes map[string]Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outcomes == nil {
		s.outcomes = map[string]Outcome{}
	}
	maps.Copy(s.outcomes, outcomes)
	return s.write(ctx)
}

// Clear removes a condition, because there is nothing to say about it any more.
func (s *State) Clear(ctx context.Context, condition string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.outcomes[condition]; !ok && !s.begun {
		return nil // not worth a resource
	}
	delete(s.outcomes, condition)
	return s.write(ctx)
}

// SetNetworks reports the subnets and the default routers of the speaker's node. It is written with the first condition,
// and from then on at once.
func (s *State) SetNetworks(ctx context.Context, subnets []netip.Prefix, gateways []netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subnets, s.gateways = nil, nil
	for _, p := range subnets {
		s.subnets = append(s.subnets, p.String())
	}
	for _, g := range gateways {
		s.gateways = append(s.gateways, g.String())
	}
	if len(s.outcomes) == 0 && !s.begun {
		return nil
	}
	return s.write(ctx)
}

// Seen is to be called with what a watch says the resource is now, nil where it is gone, and puts right what somebody
// else made of it.
func (s *State) Seen(ctx context.Context, now *v1beta1.ConfigurationState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun {
		return nil // the first report finds it as it is
	}
	if now != nil && s.checked && s.there != nil && now.ResourceVersion == s.there.ResourceVersion {
		return nil // our own write
	}
	s.checked = false // a watch lags behind: it says that something has changed, not what is
	return s.write(ctx)
}

// rounds is how often a write is tried anew because the resource has changed meanwhile.
const rounds = 4

// write brings the resource in line with what is reported. The caller holds mu.
func (s *State) write(ctx context.Context) error {
	var err error
	for range rounds {
		err = s.attempt(ctx)
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			break
		}
		s.checked = false
	}
	if err != nil {
		s.checked = false
		return fmt.Errorf("writing ConfigurationState %s: %w", s.Name, err)
	}
	return nil
}

func (s *State) attempt(ctx context.Context) error {
	if !s.checked {
		if err := s.read(ctx); err != nil {
			return err
		}
	}
	if s.begun && s.there != nil && s.superseded() {
		return nil
	}
	if err := s.own(ctx); err != nil {
		return err
	}
	if want := s.metadata(); s.there == nil {
		created := &v1beta1.ConfigurationState{ObjectMeta: want}
		if err := s.Client.Create(ctx, created); err != nil {
			return err
		}
		s.there = created
	} else if !covers(&s.there.ObjectMeta, &want) {
		update := s.there.DeepCopy()
		update.OwnerReferences = want.OwnerReferences
		if update.Labels == nil {
			update.Labels = map[string]string{}
		}
		maps.Copy(update.Labels, want.Labels)
		if err := s.Client.Update(ctx, update); err != nil {
			return err
		}
		s.there = update
	}
	if want := s.status(time.Now()); !reflect.DeepEqual(normal(want), normal(s.there.Status)) {
		update := s.there.DeepCopy()
		update.Status = want
		if err := s.Client.Status().Update(ctx, update); err != nil {
			return err
		}
		s.there = update
	}
	s.before, s.begun = s.there.Status.Conditions, true
	return nil
}

// read finds the resource as it is.
func (s *State) read(ctx context.Context) error {
	var now v1beta1.ConfigurationState
	err := s.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: s.Name}, &now)
	switch {
	case apierrors.IsNotFound(err):
		s.there = nil
	case err != nil:
		return err
	default:
		s.there = &now
		if !s.begun {
			s.before = now.Status.Conditions
		}
	}
	s.checked = true
	return nil
}

// superseded says whether another pod has taken the resource over.
func (s *State) superseded() bool {
	return s.owner != "" && slices.ContainsFunc(s.there.OwnerReferences, func(r metav1.OwnerReference) bool {
		return r.Kind == "Pod" && r.UID != s.owner
	})
}

// own finds out who the pod is.
func (s *State) own(ctx context.Context) error {
	if s.owner != "" || s.Pod == "" {
		return nil
	}
	var pod corev1.Pod
	err := s.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: s.Pod}, &pod)
	if apierrors.IsNotFound(err) {
		return nil // a process outside of the cluster
	}
	if err != nil {
		return errors.Join(errors.New("cannot read the pod that is to own it"), err)
	}
	s.owner = pod.UID
	return nil
}

// metadata is what the resource's must hold.
func (s *State) metadata() metav1.ObjectMeta {
	out := metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, Labels: map[string]string{v1beta1.LabelComponentType: s.Component}}
	if s.Node != "" {
		out.Labels[v1beta1.LabelNodeName] = s.Node
	}
	if s.owner != "" {
		out.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: s.Pod, UID: s.owner}}
	}
	return out
}

// covers says whether the metadata is as wanted; labels that others added do no harm.
func covers(is, want *metav1.ObjectMeta) bool {
	for k, v := range want.Labels {
		if is.Labels[k] != v {
			return false
		}
	}
	return len(is.OwnerReferences) == 0 && len(want.OwnerReferences) == 0 || reflect.DeepEqual(is.OwnerReferences, want.OwnerReferences)
}
