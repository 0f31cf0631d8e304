package members

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"
)

const (
	// askEvery is the time between two questions to the kernel of a node whose speaker gossip has lost.
	askEvery = 300 * time.Millisecond
	// starved is how long a speaker may get no processor, on a node whose kernel answers, until it counts as hanging.
	starved = 10 * time.Second
)

// doubt is whether a member that gossip has lost is gone. A speaker that gets no processor does not answer in time, and does not
// hear in time what others answer, so that it loses them, too; addresses that then move do so for nothing, on the busiest nodes, and
// two nodes answer for them. So gossip alone is not believed while the node's kernel says that its speaker is there.
type doubt struct {
	since, asked time.Time
	asking       bool
}

// mayBeThere says whether a member that gossip has lost may be there all the same: one that said that it leaves is not, and where
// there is another one on its node the kernel's word would be of that. The caller holds mu.
func (m *Members) mayBeThere(name string) bool {
	k, known := m.known[name]
	if m.config.Heartbeats == nil || !known || k.node == m.config.Node || m.silence.theirs[name].Leaving {
		return false
	}
	for other, o := range m.known {
		if other != name && o.node == k.node && m.doubts[other] == nil {
			return false
		}
	}
	return true
}

// drop takes a member for gone. The caller holds mu.
func (m *Members) drop(name string) {
	k := m.known[name]
	delete(m.known, name)
	delete(m.doubts, name)
	delete(m.silence.theirs, name)
	if !slices.ContainsFunc(slices.Collect(maps.Values(m.known)), func(other known) bool { return other.node == k.node }) {
		m.silence.forgive(k.node) // there is nobody to speak of
		m.silence.lost[k.node] = absent{name, k.address, k.macs}
	}
	m.config.Log.Info("member gone", "member", name)
}

// settleDoubts asks for those that gossip has lost.
func (m *Members) settleDoubts(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, d := range m.doubts {
		if !d.asking && time.Since(d.asked) >= askEvery {
			d.asking = true
			address := m.known[name].address
			m.joins.Go(func() { m.settle(ctx, name, address, d) })
		}
	}
}

// settle asks for one.
func (m *Members) settle(ctx context.Context, name string, address netip.Addr, d *doubt) {
	there := m.config.Heartbeats.There(ctx, address)
	m.mu.Lock()
	defer m.mu.Unlock()
	d.asking, d.asked = false, time.Now()
	if m.doubts[name] != d || ctx.Err() != nil || there && time.Since(d.since) < starved {
		return
	}
	m.drop(name)
	signal(m.changed)
}
