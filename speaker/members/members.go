// Package members knows which speakers are alive, by gossip over the LAN (SWIM, in the form of hashicorp/memberlist).
// It owns the gossip port. It knows nothing of Kubernetes, addresses or elections: where peers may be found is fed in,
// which nodes are alive comes out.
package members

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Config says who a member is.
type Config struct {
	// Node that the member runs on, and Instance, unique on the node for as long as the process lives: two members of one
	// node exist side by side during an upgrade.
	Node, Instance string
	// Address and port to gossip on; all members use the same port.
	Address netip.AddrPort
	// Secret is the content of the gossip Secret; empty when there is none yet.
	Secret []byte
	// Timing of the failure detection; what is zero is as in DefaultTiming.
	Timing Timing
	// Heartbeats find out sooner than gossip that a node is gone; nil: none.
	Heartbeats Heartbeats
	Log        *slog.Logger
}

// View is what a member knows of the others at one moment.
type View struct {
	// Nodes that are alive and ready to announce, sorted by name. One that counts as gone by its neighbours' heartbeats is
	// not among them, this one included: it has to be silent too. The own node is among them once SetReady was called.
	Nodes []string
	// Interfaces that these nodes can announce on, by node, each sorted. A node that is not in it does not tell, because its
	// speaker is of an earlier release or has too many of them.
	Interfaces map[string][]string
	// MACs are the hardware addresses of nodes, those of nodes included that are not ready or were there before and may come
	// back.
	MACs map[string][][6]byte
	// Untold: there are members that do not tell theirs, because they are of an earlier release or have too many.
	Untold bool
	// Delivers says whether what arrives at these nodes gets to endpoints, by node. One that is not in it does not tell.
	Delivers map[string]bool
	// Joined: another member is known, and all that should be there are known or have been tried; or there was none to talk to
	// for long enough. Before that a member knows nothing, or only a part, and must not act. It does not end.
	Joined bool
	// Sibling: another member on the own node is alive and ready.
	Sibling bool
	// Healed counts how often a node was heard again that had fallen silent without ending: meanwhile both sides may have
	// taken the other for dead, and acted on it.
	Healed int
}

const (
	// aloneUnknown is how long a member waits for the address of a peer before it believes itself alone.
	aloneUnknown = time.Second
	// aloneUnreachable is how long it tries to reach the peers that it knows of. After a power cut all of them may be
	// away, and somebody must own the addresses. A peer that accepts connections is there and is waited for, even if it
	// cannot be talked to.
	aloneUnreachable = 5 * time.Second
	// lookAround bounds how long a member that has met another one looks for the rest before it acts. What one member tells of the
	// others comes one by one, and without those that it suspects just then: whoever acts on a part of it takes the addresses of
	// all that it has not met yet for its own. An attempt to join a peer that is gone takes as long.
	lookAround = tcpTimeout
	// tcpTimeout bounds what is said to a peer over TCP, such as all that is known when it is joined.
	tcpTimeout = 2 * time.Second
	// joinEvery is the time between two attempts to join a peer that is missing.
	joinEvery = time.Second
	// look is how often to see whether something is due.
	look = 100 * time.Millisecond
	// joinAtOnce bounds the attempts that run together.
	joinAtOnce = 8
)

// Members is a member of the group.
type Members struct {
	config    Config
	name      string // node and instance
	transport *transport
	list      *memberlist.Memberlist
	ring      *memberlist.Keyring
	changed   chan struct{}
	noted     chan struct{} // size 1
	kick      chan struct{} // size 1: there is something for the loop to do
	stop      context.CancelFunc
	loop      sync.WaitGroup
	joins     sync.WaitGroup
	ending    sync.Mutex // Leave and Close
	closed    bool

	mu     sync.Mutex
	known  map[string]known  // alive members by name, this one included
	doubts map[string]*doubt // those of them that gossip has lost
	own    meta              // as it should be
	keys   keys
	peers  []target
	tried  map[target]attempt
	asked  time.Time // when SetPeers was first called
	met    time.Time // when another member that counts was known first; zero: not yet
	joined bool
	notes  []Note

	silence silence
}

// target is where a member may be found: any at an address, or one on the own node by name.
type target struct {
	address netip.Addr
	name    string
}

// attempt to join a target.
type attempt struct {
	running bool
	ended   time.Time
}

// known is what is kept of a member.
type known struct {
	node       string
	address    netip.Addr
	meta       meta
	interfaces []string // of meta
	macs       [][6]byte
}

// tune sets the failure detection of a LAN.
func tune(c *memberlist.Config, t Timing) {
	c.ProbeInterval, c.ProbeTimeout, c.SuspicionMult = t.ProbeInterval, t.ProbeTimeout, t.SuspicionMultiplier
	c.SuspicionMaxTimeoutMult = 2
	c.AwarenessMaxMultiplier = 4
	c.IndirectChecks = 3
	c.GossipInterval = 50 * time.Millisecond // nothing is sent when there is nothing to say
	c.GossipNodes = 3
	c.RetransmitMult = 4
	c.PushPullInterval = 15 * time.Second
	c.TCPTimeout = tcpTimeout
	c.GossipToTheDeadTime = 30 * time.Second
	c.EnableCompression = false // it costs more than it saves
	c.UDPBufferSize = 1200      // with our header and the encryption's overhead within 1472, an Ethernet frame's worth
}

// Start becomes a member. It returns at once; View says when others have been found.
func Start(c Config) (*Members, error) {
	name := memberName(c.Node, c.Instance)
	if c.Node == "" || c.Instance == "" || strings.ContainsAny(c.Node+c.Instance, "@/") || len(name) > 255 {
		return nil, fmt.Errorf("gossip needs the names of the node and the instance, without @ and / and at most 254 bytes together; got %q and %q",
			c.Node, c.Instance)
	}
	if !c.Address.IsValid() {
		return nil, errors.New("gossip needs the address and port to listen on, such as 192.0.2.1:7946")
	}
	t, err := listen(name, c.Address, c.Log)
	if err != nil {
		return nil, err
	}
	m := &Members{
		config: c, name: name, transport: t, changed: make(chan struct{}, 1), noted: make(chan struct{}, 1), kick: make(chan struct{}, 1),
		known: map[string]known{}, doubts: map[string]*doubt{}, tried: map[target]attempt{}, keys: newKeys(c.Secret),
		silence: silence{mine: map[string]time.Time{}, theirs: map[string]word{}, lost: map[string]absent{}},
	}
	m.keys.describe(&m.own)
	if m.ring, err = memberlist.NewKeyring(nil, m.keys.writing[:]); err == nil {
		mc := memberlist.DefaultLANConfig()
		tune(mc, c.Timing.withDefaults())
		mc.Name, mc.Transport, mc.Keyring = name, t, m.ring
		mc.Delegate, mc.Events = delegate{m}, delegate{m}
		mc.Logger = logger(c.Log)
		m.list, err = memberlist.Create(mc)
	}
	if err != nil {
		return nil, errors.Join(err, t.Shutdown())
	}
	if m.keys.writing == openKey {
		c.Log.Warn("no gossip key yet, gossip can be read and forged by others on the network; the controller makes the Secret")
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	told := told{text: m.own.encode(), at: time.Now()}
	m.loop.Go(func() { m.run(ctx, told) })
	return m, nil
}

// Changed signals that View has something new.
func (m *Members) Changed() <-chan struct{} { return m.changed }

// View returns what is known now.
func (m *Members) View() View {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := View{Joined: m.joined, Healed: m.silence.healed, Interfaces: map[string][]string{}, MACs: map[string][][6]byte{}, Delivers: map[string]bool{}}
	for node, a := range m.silence.lost {
		v.MACs[node] = a.macs
	}
	var untold []string
	for name, k := range m.known {
		v.MACs[k.node] = append(slices.Clip(v.MACs[k.node]), k.macs...)
		v.Untold = v.Untold || k.meta.MACs == ""
		if !k.meta.Ready {
			continue
		}
		if !m.silence.gone[k.node] {
			v.Nodes = append(v.Nodes, k.node)
		}
		v.Sibling = v.Sibling || k.node == m.config.Node && name != m.name
		if before, ok := v.Interfaces[k.node]; ok { // of a sibling: what either can do, the node can
			v.Interfaces[k.node] = slices.Compact(slices.Sorted(slices.Values(slices.Concat(before, k.interfaces))))
		} else if k.interfaces != nil {
			v.Interfaces[k.node] = k.interfaces
		}
		if k.meta.Delivers == nil {
			untold = append(untold, k.node)
		} else if before, ok := v.Delivers[k.node]; !ok || before { // of a sibling: the one that is pessimistic has seen more
			v.Delivers[k.node] = *k.meta.Delivers
		}
	}
	for _, n := range untold {
		delete(v.Delivers, n)
	}
	slices.Sort(v.Nodes)
	v.Nodes = slices.Compact(v.Nodes)
	return v
}

// SetPeers says where others may be found: the addresses of all nodes that should have a speaker, and the instances on
// the own node. The own address and instance, and members that are known already, are left out; the others are tried
// again and again.
func (m *Members) SetPeers(addresses []netip.Addr, instances []string) {
	var peers []target
	for _, a := range addresses {
		if a = a.Unmap(); a.IsValid() && a != m.config.Address.Addr().Unmap() {
			peers = append(peers, target{address: a})
		}
	}
	for _, i := range instances {
		if i != m.config.Instance {
			peers = append(peers, target{name: memberName(m.config.Node, i)})
		}
	}
	slices.SortFunc(peers, func(a, b target) int {
		return cmp.Or(a.address.Compare(b.address), strings.Compare(a.name, b.name))
	})
	peers = slices.Compact(peers)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asked.IsZero() {
		m.asked = time.Now()
	} else if slices.Equal(peers, m.peers) {
		return
	}
	m.peers = peers
	maps.DeleteFunc(m.tried, func(t target, _ attempt) bool { return !slices.Contains(peers, t) })
	signal(m.kick)
}

// SetSecret takes the content of the gossip Secret as it is now.
func (m *Members) SetSecret(secret []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys.learn(secret, time.Now()) {
		m.config.Log.Info("a new gossip key is known", "key", m.keys.newest().id())
		m.keys.describe(&m.own)
		signal(m.kick)
	}
}

// SetReady says whether this member can announce, by name on which network interfaces, and which hardware addresses the node
// has. Only ready members count as alive nodes, for the others and for itself.
func (m *Members) SetReady(ready bool, interfaces []string, macs [][6]byte) {
	packed, at := packNames(interfaces), packMACs(macs)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.own.Ready == ready && m.own.Interfaces == packed && m.own.MACs == at {
		return
	}
	m.own.Ready, m.own.Interfaces, m.own.MACs = ready, packed, at
	if packed != decodeMeta(m.own.encode()).Interfaces {
		m.config.Log.Warn("too many network interfaces to tell the other speakers of, which now count on any that is asked for; exclude those that are not for announcing",
			"interfaces", len(interfaces), "bytes", len(packed))
	} else if at != decodeMeta(m.own.encode()).MACs {
		m.config.Log.Warn("too many network interfaces to tell the other speakers their hardware addresses; a stranger with an address of a Service is not told from a node now",
			"interfaces", len(interfaces), "bytes", len(at))
	}
	signal(m.kick)
}

// SetDelivers says whether what arrives at this node gets to endpoints.
func (m *Members) SetDelivers(delivers bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.own.Delivers == nil || *m.own.Delivers != delivers {
		m.own.Delivers = &delivers
		signal(m.kick)
	}
}

// Doubt makes a member that knows of nobody else look for the others again before it acts, as at its start: it was cut off
// from the network, and whoever it believes dead may have been there all the time.
func (m *Members) Doubt() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.known {
		if k.node != m.config.Node {
			return
		}
	}
	if m.joined && len(m.peers) > 0 {
		m.config.Log.Info("the network is back; looking for the others before anything is announced")
		m.joined, m.met, m.asked = false, time.Time{}, time.Now()
		clear(m.tried)
		signal(m.kick)
		signal(m.changed)
	}
}

// Leave tells the others that this member goes, so that they take over at once, and waits until somebody has heard it or
// the time is over. Close must follow.
func (m *Members) Leave(timeout time.Duration) error {
	m.ending.Lock()
	defer m.ending.Unlock()
	if m.closed {
		return errors.New("not a member any more")
	}
	m.stop()
	m.loop.Wait()
	m.mu.Lock()
	text := m.silence.last(m.name, time.Now())
	m.mu.Unlock()
	m.tellAll(text)
	return m.list.Leave(timeout)
}

// Close ends the membership. Without Leave the others find out by themselves, as they would after a crash.
func (m *Members) Close() error {
	m.ending.Lock()
	defer m.ending.Unlock()
	m.closed = true
	m.stop()
	m.loop.Wait()
	err := m.list.Shutdown()
	m.joins.Wait()
	return err
}

// memberName is the name of a member, unique in the group.
func memberName(node, instance string) string { return instance + "@" + node }

// nodeOf is the inverse.
func nodeOf(member string) string {
	_, node, _ := strings.Cut(member, "@")
	return node
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
