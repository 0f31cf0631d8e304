package node

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/config"
)

const (
	// secretsEvery is how long it may take to notice that a Secret has changed. There are speakers on all nodes, which is
	// why none may list or watch Secrets: each gets by name those that peers refer to, and looks again.
	secretsEvery = time.Minute
	// secretsRetry is the pause after one could not be read.
	secretsRetry = 5 * time.Second
	// patience bounds a request that nobody waits for.
	patience = 15 * time.Second
)

// secrets are the Secrets that peers refer to. They are read beside the loop, which never waits for them.
type secrets struct {
	reader    client.Reader
	namespace string
	changed   func()
	poke      chan struct{} // size 1

	mu     sync.Mutex
	wanted []string
	known  map[string]secret
}

// secret is what came of looking for one.
type secret struct {
	config.Secret
	exists bool
	err    string // why it could not be read, and never has been
}

func newSecrets(reader client.Reader, namespace string, changed func()) *secrets {
	return &secrets{reader: reader, namespace: namespace, changed: changed, poke: make(chan struct{}, 1), known: map[string]secret{}}
}

// fill puts what is known into an Input. A peer whose Secret has not been looked up is left out for now: without its
// password its session could only fail. What could not be looked up is said; complete is false where that is still going
// on.
func (s *secrets) fill(in *config.Input) (problems []string, complete bool) {
	names := configuration.SecretNames(*in)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = names
	in.Secrets = map[string]config.Secret{}
	unknown := map[string]bool{}
	complete = true
	for _, name := range names {
		switch found, ok := s.known[name]; {
		case !ok:
			unknown[name], complete = true, false
			signal(s.poke)
		case found.err != "":
			unknown[name] = true
			problems = append(problems, "BGPPeers with passwordSecret "+name+" are not used: "+found.err)
		case found.exists:
			in.Secrets[name] = found.Secret
		}
	}
	if len(unknown) > 0 {
		peers := slices.Clone(in.BGPPeers)
		in.BGPPeers = peers[:0]
		for i := range peers {
			if !unknown[peers[i].Spec.PasswordSecret.Name] {
				in.BGPPeers = append(in.BGPPeers, peers[i])
			}
		}
	}
	return problems, complete
}

// follow looks Secrets up until the context ends.
func (s *secrets) follow(ctx context.Context) {
	pause := time.NewTimer(secretsEvery)
	defer pause.Stop()
	for {
		select {
		case <-s.poke:
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		if s.look(ctx) {
			pause.Reset(secretsEvery)
		} else {
			pause.Reset(secretsRetry)
		}
	}
}

// look looks up what is wanted, and reports whether all of it could be.
func (s *secrets) look(ctx context.Context) (ok bool) {
	s.mu.Lock()
	names, before := s.wanted, s.known
	s.mu.Unlock()
	ok = true
	now := map[string]secret{}
	for _, name := range names {
		limited, cancel := context.WithTimeout(ctx, patience)
		found, exists, err := configuration.Secret(limited, s.reader, s.namespace, name)
		cancel()
		switch last, known := before[name]; {
		case ctx.Err() != nil:
			return false
		case err == nil:
			now[name] = secret{Secret: found, exists: exists}
		case known && last.err == "":
			now[name], ok = last, false // while the API server is away, what was so stays
		default:
			now[name], ok = secret{err: err.Error()}, false
		}
	}
	s.mu.Lock()
	s.known = now
	s.mu.Unlock()
	if !maps.Equal(before, now) {
		s.changed()
	}
	return ok
}
