package node

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/obs"
)

// reading is what came of reading the configuration.
type reading struct {
	input    config.Input
	problems []config.Problem
	// unread are problems of reading, in words.
	unread []string
	// subnets of this node.
	subnets []netip.Prefix
}

// teller reports on the configuration and on the node's networks, in the log and in a ConfigurationState. It does so
// beside the loop, which never waits for it, and keeps trying while the API server is away.
type teller struct {
	*Node
	poke chan struct{} // size 1

	mu     sync.Mutex
	latest *reading
	seen   bool // the resource has been seen, as it is or that it is gone
	state  *v1beta1.ConfigurationState

	// Of the teller's loop alone.
	problems  configuration.Problems
	logged    []string
	gateways  []netip.Addr
	looked    time.Time // when the routes were read last
	took      time.Duration
	complaint string
}

const (
	// gatewaysEvery is the pause between two looks at the routes, soon that between two that something gives reason for.
	gatewaysEvery, soon = time.Minute, 5 * time.Second
	// share of the time that may be spent on reading routes: where the routing table is long, it is read less often.
	share = 100
)

func newTeller(n *Node) *teller { return &teller{Node: n, poke: make(chan struct{}, 1)} }

// tell takes what is to be told from now on.
func (t *teller) tell(r *reading) {
	t.mu.Lock()
	t.latest = r
	t.mu.Unlock()
	signal(t.poke)
}

// setState takes what a watch says the resource is; deleteState, that it is gone.
func (t *teller) setState(s *v1beta1.ConfigurationState) {
	t.mu.Lock()
	t.seen, t.state = true, s
	t.mu.Unlock()
	signal(t.poke)
}

func (t *teller) deleteState(*v1beta1.ConfigurationState) { t.setState(nil) }

// run tells until the context ends.
func (t *teller) run(ctx context.Context) {
	b := backOff{least: time.Second, most: 30 * time.Second}
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-t.poke:
		case <-wait.C:
		case <-ctx.Done():
			return
		}
		t.lookAtRoutes(time.Now())
		next, err := t.report(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			next = b.next()
			if text := err.Error(); text != t.complaint {
				t.complaint = text
				t.Log.Warn("cannot report on the configuration", "error", err)
			}
		} else {
			b.reset()
			t.complaint = ""
		}
		wait.Reset(next)
	}
}

// lookAtRoutes finds the default routers, unless it has just done so. They are part of the next configuration.
func (t *teller) lookAtRoutes(now time.Time) {
	if t.Gateways == nil || now.Sub(t.looked) < max(soon, share*t.took) {
		return
	}
	gateways, err := t.Gateways()
	t.looked, t.took = now, time.Since(now)
	if err != nil {
		t.Log.Warn("cannot read the default routes", "error", err)
		return
	}
	t.gateways = gateways
	t.inputs.setGateways(gateways)
}

// report brings the log and the resource up to date, and says when to do so again.
func (t *teller) report(ctx context.Context, now time.Time) (next time.Duration, err error) {
	t.mu.Lock()
	r, seen, state := t.latest, t.seen, t.state
	t.seen = false
	t.mu.Unlock()
	if r == nil {
		return gatewaysEvery, nil
	}
	for _, p := range t.problems.Update(r.input, r.problems, now) {
		t.Log.Warn("configuration problem", "severity", string(p.Severity), obs.KeyReason, p.Error())
	}
	for _, u := range r.unread {
		if !slices.Contains(t.logged, u) {
			t.Log.Warn("configuration problem", "severity", string(config.Error), obs.KeyReason, u)
		}
	}
	t.logged = r.unread
	t.Metrics.kubernetes.ConfigLoaded.Set(1)
	t.Metrics.kubernetes.SetStale(len(t.problems.Outcome().Errors)+len(r.unread) > 0)
	next = gatewaysEvery
	if due := t.problems.Next(now); due > 0 {
		next = min(next, due)
	}
	if t.State == nil {
		return next, nil
	}
	outcome := t.problems.Outcome()
	outcome.Errors = append(outcome.Errors, r.unread...)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if seen {
		if err := t.State.Seen(ctx, state); err != nil {
			return next, err
		}
	}
	return next, errors.Join(
		t.State.SetNetworks(ctx, r.subnets, t.gateways),
		t.State.Set(ctx, v1beta1.ConditionConfigurationValid, outcome),
	)
}
