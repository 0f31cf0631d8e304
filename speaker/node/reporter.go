package node

import (
	"context"
	"sync"
	"time"

	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/check"
)

// reporter tells users what comes of the rounds: metrics, events and the resources that report. It does so beside the loop, which
// never waits for it, and of rounds that follow closely upon one another it tells the last.
type reporter struct {
	*Node
	poke chan struct{} // size 1

	mu     sync.Mutex
	latest *result // of the last round; nil: there was none
	taken  bool    // it has been reported, or is being

	// Of the reporter's own loop alone.
	reported  news[line, struct{}]
	routes    routes
	warned    news[line, struct{}]
	conflicts news[conflict, check.Problem]
	stories   map[string]*story // of the sessions, by peer
	wake      *time.Timer       // for the next event about one
	excluded  string            // what keeps this node from announcing, as users know
}

// result is what a round has come to.
type result struct {
	desired announce.Desired
	running []l2.Entry
	// joined: the other speakers are known; sibling: there is another one on this node; configured: the configuration has been read.
	joined, sibling, configured bool
}

// reportSpacing is the least time between two reports: the first after a pause is made at once.
const reportSpacing = 50 * time.Millisecond

func newReporter(n *Node) *reporter {
	r := &reporter{Node: n, poke: make(chan struct{}, 1)}
	r.wake = time.AfterFunc(time.Hour, func() { signal(r.poke) })
	r.wake.Stop()
	return r
}

// set takes what a round has come to. What has not been reported yet of a time with a sibling is not new when that has gone.
func (r *reporter) set(x result) {
	r.mu.Lock()
	if r.latest != nil && !r.taken {
		x.sibling = x.sibling || r.latest.sibling
	}
	r.latest, r.taken = &x, false
	r.mu.Unlock()
	signal(r.poke)
}

// run reports until the context ends.
func (r *reporter) run(ctx context.Context) {
	defer r.wake.Stop()
	for {
		select {
		case <-r.poke:
		case <-r.BGP.Changed():
		case <-ctx.Done():
			return
		}
		r.mu.Lock()
		x := r.latest
		r.taken = true
		r.mu.Unlock()
		if x == nil {
			continue
		}
		r.report(x)
		r.warn(x)
		r.reportRouters(ctx, x)
		select {
		case <-time.After(reportSpacing):
		case <-ctx.Done():
			return
		}
	}
}
