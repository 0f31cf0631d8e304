package members

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"time"
)

// told is what the others were told about this member last, and when.
type told struct {
	text     []byte
	at       time.Time
	repeated bool
}

// run joins peers, tells the others what is new about this member and moves keys on. What the others have been told
// already is given.
func (m *Members) run(ctx context.Context, told told) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	slots := make(chan struct{}, joinAtOnce)
	var beats <-chan struct{}
	if m.config.Heartbeats != nil {
		beats = m.config.Heartbeats.Changed()
	}
	for {
		m.watch(time.Now())
		m.settleDoubts(ctx)
		m.settleKeys()
		told = m.tell(told)
		for _, p := range m.missing() {
			m.joins.Go(func() { m.join(ctx, p, slots) })
		}
		m.checkJoined()
		select {
		case <-beats:
		case <-tick.C:
		case <-m.kick:
		case <-ctx.Done():
			return
		}
	}
}

// missing returns the peers that no member is known at beyond doubt and that are due to be tried; they are now.
func (m *Members) missing() []target {
	m.mu.Lock()
	defer m.mu.Unlock()
	there := m.there()
	var out []target
	for _, p := range m.peers {
		if last := m.tried[p]; !there[p] && !last.running && time.Since(last.ended) >= joinEvery {
			m.tried[p] = attempt{running: true, ended: last.ended}
			out = append(out, p)
		}
	}
	return out
}

// there says at which targets a member is known beyond doubt. The caller holds mu.
func (m *Members) there() map[target]bool {
	out := map[target]bool{}
	for name, k := range m.known {
		if m.doubts[name] == nil {
			out[target{address: k.address}] = true
			out[target{name: name}] = true
		}
	}
	return out
}

// join exchanges all that is known with a peer.
func (m *Members) join(ctx context.Context, p target, slots chan struct{}) {
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() {
		<-slots
		m.mu.Lock()
		defer m.mu.Unlock()
		m.tried[p] = attempt{ended: time.Now()}
		signal(m.kick)
	}()
	at := netip.AddrPortFrom(p.address, m.config.Address.Port()).String()
	if p.name != "" {
		at = p.name + "/" + m.transport.loopback(p.name).String() // memberlist's way to say a name
	}
	if _, err := m.list.Join([]string{at}); err != nil {
		m.config.Log.Debug("cannot join a peer", "peer", at, "error", err)
	}
}

// checkJoined notices that a member of another node is known, and those around, or that there is nobody to know. A sibling on
// this node will do if it is ready, because it has joined then.
func (m *Members) checkJoined() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.joined {
		return
	}
	for name, k := range m.known {
		if k.node != m.config.Node || name != m.name && k.meta.Ready {
			if m.met.IsZero() {
				m.met = time.Now()
			}
			if m.lookedAround() {
				m.joined = true
				m.config.Log.Info("joined the group of speakers", "member", name)
			}
			break
		}
	}
	wait, since := aloneUnknown, m.asked
	if len(m.peers) > 0 {
		wait = aloneUnreachable
		if reached := time.Unix(0, m.transport.lastReached.Load()); reached.After(since) {
			since = reached
		}
	}
	if !m.joined && !m.asked.IsZero() && time.Since(since) >= wait {
		m.joined = true
		m.config.Log.Info("no other speaker can be reached, going on alone", "peers", len(m.peers))
	}
	if m.joined {
		signal(m.changed)
	}
}

// lookedAround reports whether each peer is known, or has been tried, or was looked for long enough. The caller holds mu.
func (m *Members) lookedAround() bool {
	if time.Since(m.met) >= lookAround {
		return true
	}
	there := m.there()
	return !m.asked.IsZero() && !slices.ContainsFunc(m.peers, func(p target) bool { return !there[p] && m.tried[p].ended.IsZero() })
}

// settleKeys moves a change of keys on.
func (m *Members) settleKeys() {
	m.mu.Lock()
	defer m.mu.Unlock()
	var others []meta
	for name, k := range m.known {
		if name != m.name {
			others = append(others, k.meta)
		}
	}
	if m.keys.advance(others, time.Now()) {
		m.config.Log.Info("gossip keys have moved on", "writes", m.keys.writing.id(), "reads", len(m.keys.readable))
	}
	if err := m.keys.apply(m.ring); err != nil {
		m.config.Log.Error("cannot set the gossip keys", "error", err)
	}
	m.keys.describe(&m.own)
}

// tell gossips this member's data if it differs from what was told last, and repeats it once: of what is said while others are met
// memberlist can lose something, which they then hear 15 s later. It returns what has been told.
func (m *Members) tell(last told) told {
	m.mu.Lock()
	now := m.own.encode()
	m.mu.Unlock()
	switch {
	case !bytes.Equal(now, last.text):
		last = told{text: now, at: time.Now()}
	case !last.repeated && time.Since(last.at) >= repeatEvery:
		last.repeated = true
	default:
		return last
	}
	_ = m.list.UpdateNode(time.Millisecond) // an error says only that nobody has confirmed it that soon
	return last
}
