// Package configuration reads the configuration resources of a namespace, and what the cluster around them is like, for
// internal/config to compile; and it tells in a ConfigurationState what came of it. Controller, speaker and admission
// share it.
package configuration

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/internal/config"
)

// Objects returns one object of each kind of configuration resource, for caches and watches.
func Objects() []client.Object {
	panic("not written yet")
}

// Load reads all configuration resources of a namespace. Secrets, Nodes and Node of the Input are the caller's to fill.
func Load(ctx context.Context, r client.Reader, namespace string) (config.Input, error) {
	panic("not written yet")
}

// Secrets reads the Secrets that the peers of the Input refer to, by name, in that namespace. One that does not exist is
// missing from the map, which is never nil.
func Secrets(ctx context.Context, r client.Reader, namespace string, in config.Input) (map[string]config.Secret, error) {
	panic("not written yet")
}

// Nodes reads the Nodes with their addresses; subnets and gateways are what the speakers reported in the
// ConfigurationStates of the namespace.
func Nodes(ctx context.Context, r client.Reader, namespace string) ([]config.Node, error) {
	panic("not written yet")
}

// Outcome is what came of a configuration: all that is wrong, and all that is odd.
type Outcome struct {
	Errors, Warnings []string
}

// State keeps one ConfigurationState right. Several reconcilers of a process share it, each with a condition of its own.
type State struct {
	// unexported and exported fields are the implementer's choice, apart from these:
	Client    client.Client
	Namespace string
	Name      string
}

// Set reports on one condition (v1beta1.ConditionConfigurationValid and others) and writes the resource if that changes
// anything.
func (s *State) Set(ctx context.Context, condition string, o Outcome) error {
	panic("not written yet")
}

// Clear removes a condition, because there is nothing to say about it any more.
func (s *State) Clear(ctx context.Context, condition string) error {
	panic("not written yet")
}
