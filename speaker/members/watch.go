package members

import (
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

// Heartbeats watch the paths to other nodes and know within a fraction of a second that one has fallen silent. Gossip, which
// takes longer, remains the judge: a path that was never heard, since a firewall is in the way perhaps, proves nothing.
type Heartbeats interface {
	// Watch has the paths to these addresses watched, and no others.
	Watch([]netip.Addr)
	// Changed signals that Changes has something.
	Changed() <-chan struct{}
	// Changes says of the paths that have come or fallen silent since it was called last how they are now.
	Changes() map[netip.Addr]bool
	// There asks whether a node is there, with a speaker, although that may get no processor. It takes up to 0.2 s.
	There(context.Context, netip.Addr) bool
	// Ask is for the path to a node that another one does not hear any more. If it is not heard here either, as it has not been
	// yet, it is found out whether it has fallen silent. It does not wait.
	Ask(netip.Addr)
}

const (
	// repeatEvery is how often a member repeats whom it does not hear, and forgetAfter how long that counts.
	repeatEvery = time.Second
	forgetAfter = 3 * repeatEvery
	// repeatAtOnce is how often what is new is said, one look apart: a packet can be lost.
	repeatAtOnce = 3
	// gossipIsRight is how long a member is said to be silent whom gossip goes on hearing. Then it is not the member.
	gossipIsRight = 10 * time.Second
)

// silence is what a member knows of paths that have fallen silent, its own and those of others. Members.mu guards it.
type silence struct {
	// mine are the nodes that this member does not hear any more, and since when.
	mine map[string]time.Time
	// theirs are the words of other members, by member.
	theirs map[string]word
	// gone are the nodes that count as gone by all of that.
	gone map[string]bool
	// lost are the members that gossip has lost, by node. A heartbeat says first that one is back.
	lost   map[string]absent
	healed int // see View

	number uint64 // of the last word
	urgent int    // how often it is still to be said at once
	said   time.Time
}

// absent is a member that is not there.
type absent struct {
	member  string
	address netip.Addr
	macs    [][6]byte
}

// word is what a member says to all others: whom it does not hear. A later one takes the place of the one before.
type word struct {
	By     string   `json:"by"`
	Number uint64   `json:"number"`
	Silent []string `json:"silent"`
	// Leaving: it goes, and nobody need ask whether it is there.
	Leaving bool `json:"leaving,omitempty"`
	heard   time.Time
}

// watch has the neighbours watched, and tells the others whom this member does not hear.
func (m *Members) watch(now time.Time) {
	beats := m.config.Heartbeats
	if beats == nil {
		return
	}
	beats.Watch(m.neighbourAddresses())
	for address, alive := range beats.Changes() {
		m.beat(address, alive, now)
	}
	m.mu.Lock()
	for n, since := range m.silence.mine {
		if now.Sub(since) > gossipIsRight {
			m.config.Log.Warn("a node that is there by gossip is not heard by BFD; does something keep back UDP port 3784?", "node", n)
			m.silence.forgive(n)
		}
	}
	text := m.due(now)
	m.count(now)
	m.mu.Unlock()
	if text != nil {
		m.tellAll(text)
	}
}

// tellAll tells all others. A packet can be lost: what is to last is repeated, and a member that leaves is asked for until it has.
func (m *Members) tellAll(text []byte) {
	for _, to := range m.others("") {
		_ = m.list.SendToAddress(to, text)
	}
}

// others says where the other members of a node are; empty: of any. Memberlist's own list may not be read while it runs.
func (m *Members) others(node string) (out []memberlist.Address) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, k := range m.known {
		if name != m.name && (node == "" || k.node == node) {
			out = append(out, memberlist.Address{Addr: netip.AddrPortFrom(k.address, m.config.Address.Port()).String(), Name: name})
		}
	}
	return out
}

// neighbourAddresses are those of the nodes that this one watches: its neighbours among those that are there, and its
// neighbours if all that were lost came back.
func (m *Members) neighbourAddresses() []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := map[string]netip.Addr{m.config.Node: m.config.Address.Addr().Unmap()}
	for _, k := range m.known {
		at[k.node] = k.address
	}
	watched := neighbours(ring(slices.Collect(maps.Keys(at))), m.config.Node)
	for n, a := range m.silence.lost {
		switch {
		case at[n].IsValid() || !slices.ContainsFunc(m.peers, func(t target) bool { return t.address == a.address }):
			delete(m.silence.lost, n)
		default:
			at[n] = a.address
		}
	}
	watched = append(watched, neighbours(ring(slices.Collect(maps.Keys(at))), m.config.Node)...)
	slices.Sort(watched)
	var out []netip.Addr
	for _, n := range slices.Compact(watched) {
		out = append(out, at[n])
	}
	return out
}

// beat takes a change of the path to an address.
func (m *Members) beat(address netip.Addr, alive bool, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.known {
		if k.address != address || k.node == m.config.Node {
			continue
		}
		if alive {
			if _, silent := m.silence.mine[k.node]; silent {
				m.heal(k.node)
			}
			m.silence.forgive(k.node)
		} else {
			m.config.Log.Info("a node has fallen silent", "node", k.node)
			m.silence.accuse(k.node, now)
		}
		return
	}
	if alive {
		delete(m.tried, target{address: address}) // so that it is joined now
	}
}

// heal notes that a node is back that never ended. The caller holds mu.
func (m *Members) heal(node string) {
	m.config.Log.Info("a node is heard again that was there all the time", "node", node)
	m.silence.healed++
	signal(m.changed)
}

func (s *silence) accuse(node string, now time.Time) {
	if _, ok := s.mine[node]; !ok {
		s.mine[node] = now
		s.urgent = repeatAtOnce
	}
}

func (s *silence) forgive(node string) {
	if _, ok := s.mine[node]; ok {
		delete(s.mine, node)
		s.urgent = repeatAtOnce
	}
}

// due returns the word to say now; nil: none. The caller holds mu.
func (m *Members) due(now time.Time) []byte {
	s := &m.silence
	switch {
	case s.urgent > 0:
		if s.urgent == repeatAtOnce {
			s.renumber(now)
		}
		s.urgent--
	case len(s.mine) == 0 || now.Sub(s.said) < repeatEvery:
		return nil
	}
	s.said = now
	return s.text(m.name, false)
}

// last is the word of a member that leaves. The caller holds mu.
func (s *silence) last(by string, now time.Time) []byte {
	s.renumber(now)
	return s.text(by, true)
}

// renumber is for a word that says something new.
func (s *silence) renumber(now time.Time) {
	s.number = max(s.number+1, uint64(now.UnixNano())) //nolint:gosec // not before 1970
}

func (s *silence) text(by string, leaving bool) []byte {
	text, err := json.Marshal(word{By: by, Number: s.number, Silent: slices.Sorted(maps.Keys(s.mine)), Leaving: leaving})
	if err != nil {
		panic(err) // strings and a number have an encoding
	}
	return text
}

// listenTo takes another member's word.
func (m *Members) listenTo(text []byte, now time.Time) {
	var w word
	if json.Unmarshal(text, &w) != nil {
		return // of a later release perhaps
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.known[w.By]; !ok || w.By == m.name || w.Number < m.silence.theirs[w.By].Number {
		return
	}
	w.heard = now
	m.silence.theirs[w.By] = w
	if w.Leaving && m.doubts[w.By] != nil {
		m.drop(w.By) // gossip's word of it came before its own: memberlist takes what has arrived together from the end
		signal(m.changed)
	}
	m.ask(w.Silent)
	m.count(now)
}

// ask finds out about nodes that another member does not hear and that this one should. The caller holds mu.
func (m *Members) ask(silent []string) {
	if m.config.Heartbeats == nil || len(silent) == 0 {
		return
	}
	at := map[string]netip.Addr{}
	for _, k := range m.known {
		at[k.node] = k.address
	}
	for _, n := range neighbours(ring(slices.Collect(maps.Keys(at))), m.config.Node) {
		if _, known := m.silence.mine[n]; !known && slices.Contains(silent, n) {
			m.config.Heartbeats.Ask(at[n])
		}
	}
}

// count says anew who is gone. The caller holds mu.
func (m *Members) count(now time.Time) {
	maps.DeleteFunc(m.silence.theirs, func(_ string, w word) bool { return now.Sub(w.heard) > forgetAfter })
	silent := map[string][]string{}
	if len(m.silence.mine) > 0 {
		silent[m.config.Node] = slices.Collect(maps.Keys(m.silence.mine))
	}
	var nodes []string
	for name, k := range m.known {
		nodes = append(nodes, k.node)
		if of := m.silence.theirs[name].Silent; len(of) > 0 {
			silent[k.node] = append(silent[k.node], of...)
		}
	}
	if is := gone(nodes, silent); !maps.Equal(is, m.silence.gone) {
		m.config.Log.Info("by heartbeats these nodes are gone now", "nodes", slices.Sorted(maps.Keys(is)), "before", slices.Sorted(maps.Keys(m.silence.gone)))
		m.silence.gone = is
		signal(m.changed)
	}
}
