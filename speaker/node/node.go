// Package node is the speaker of one node: it gathers what the API server, the other speakers and the kernel say, has
// internal/announce plan what this node announces, has the responders do it, and reports what really runs. It owns none
// of the decisions and none of the sockets; what was observed is part of the next snapshot.
//
// A change of a Service or its endpoints plans its addresses anew, one of the configuration, the nodes or the members all of
// them: 10 000 take some 50 ms in a cluster of 100 nodes. Only a change that a plan depends on gets that far: pods of other
// Services, heartbeats of nodes and the like are recognised and dropped.
//
// While the API server is away, the speaker keeps announcing what it knows, and still follows members and interfaces.
package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/iface"
	"metallb.io/operator/internal/lbservice"
	"metallb.io/operator/speaker/members"
)

// Members is the group of speakers, as package members has it.
type Members interface {
	View() members.View
	Changed() <-chan struct{}
	SetPeers(addresses []netip.Addr, instances []string)
	SetReady(ready bool, interfaces []string, macs [][6]byte)
	Tell(node string, text json.RawMessage) error
	Noted() <-chan struct{}
	Notes() []members.Note
	SetDelivers(bool)
	Doubt()
	Leave(timeout time.Duration) error
}

// Network is the node's network, as package iface has it.
type Network interface {
	State() iface.State
	Changed() <-chan struct{}
}

// KubeProxy is what is known of this node's, as package kubeproxy has it.
type KubeProxy interface {
	Delivers() (delivers bool, last string)
	Changed() <-chan struct{}
	Believe()
}

// ARP answers for IPv4 addresses on the LAN, as package arp does.
type ARP interface {
	Listen([]l2.Interface) (open []string, err error)
	Sync([]l2.Entry) ([]l2.Entry, error)
	responders
}

// NDP answers for IPv6 addresses on the LAN, as package ndp does.
type NDP interface {
	Sync(interfaces []l2.Interface, entries []l2.Entry, also ...string) ([]l2.Entry, error)
	responders
}

type responders interface {
	Running() []l2.Entry
	Failed() <-chan struct{}
	Reclaim()

	Sighted() <-chan struct{}
	Sightings() []l2.Sighting
	Ask(interfaceName string, a netip.Addr) error
	Defend(netip.Addr)
	Reopen(interfaceName string) bool
}

// Options are what a Node works with.
type Options struct {
	// Name of the node, and of this speaker's pod.
	Name, Pod string
	// Class of the Services to announce.
	Class lbservice.Class
	// Address of this node that the speakers gossip on; peers are looked for in the same family.
	Address netip.Addr
	// IgnoreExcludeLabel announces from nodes with the label announce.ExcludeLabel too.
	IgnoreExcludeLabel bool

	// Namespace of the configuration.
	Namespace string

	// Cache is made with CacheOptions. It is started by whoever made it.
	Cache cache.Cache
	// Live reads Secrets from the API server, by name, and writes ServiceL2Statuses. It is made with ClientOptions.
	Live client.Client
	// State is where what came of the configuration is reported; nil: in the log only.
	State *configuration.State
	// Gateways returns the node's default routers; nil: they are not known.
	Gateways  func() ([]netip.Addr, error)
	Members   Members
	Network   Network
	KubeProxy KubeProxy
	ARP       ARP
	NDP       NDP
	BGP       BGP
	Recorder  record.EventRecorder
	Metrics   *Metrics
	Log       *slog.Logger
	// Read is called once everything has been read from the API server; nil: nobody wants to know.
	Read func()
}

// Node announces for one node.
type Node struct {
	Options
	inputs   *inputs
	secrets  *secrets
	teller   *teller
	statuses *statuses[*v1beta1.ServiceL2Status, v1beta1.ServiceL2StatusStatus]
	checks   *checks
	reporter *reporter

	bgpStatuses   *statuses[*v1beta1.ServiceBGPStatus, v1beta1.ServiceBGPStatusStatus]
	sessionStates *statuses[*v1beta1.BGPSessionState, v1beta1.BGPSessionStateStatus]

	// Of the loop alone.
	planner   announce.Planner
	config    *config.Config
	subnets   []netip.Prefix // that the configuration was compiled with
	complaint string         // of the last round
	cut       bool           // in the last round there was no interface
	healed    int            // members.View.Healed of the last round
	running   []l2.Entry     // what the last round left running
	yielding  yielding
	planned   announce.BGP // in the last round
	parting   parting
	asked     asked
	broken    bool // kube-proxy delivers nothing, as users know

	mu    sync.Mutex
	busy  time.Time // since when a round has been running; zero: none
	ready error     // why the speaker is not ready
}

// spacing is the least time between two rounds: the first change after a pause is served at once, a burst together.
const spacing = 5 * time.Millisecond

// hung is how long a round may take before the process counts as stuck.
const hung = 30 * time.Second

// New returns a Node that does nothing yet.
func New(o Options) *Node {
	n := &Node{
		Options: o, inputs: newInputs(o.Class, o.Name, o.Pod, o.Address),
		ready: errors.New("the configuration has not been read from the API server yet"),
	}
	n.secrets = newSecrets(o.Live, o.Namespace, n.inputs.changeConfig)
	n.teller, n.statuses, n.checks = newTeller(n), newStatuses(n, serviceL2Status), newChecks(n)
	n.bgpStatuses, n.sessionStates = newStatuses(n, serviceBGPStatus), newStatuses(n, bgpSessionState)
	n.reporter = newReporter(n)
	o.Metrics.bgp.follow(o.BGP)
	return n
}

// Run announces until the context ends, and then hands over to other nodes.
func (n *Node) Run(ctx context.Context) error {
	defer n.statuses.queue.ShutDown()
	defer n.bgpStatuses.queue.ShutDown()
	defer n.sessionStates.queue.ShutDown()
	err := n.watch(ctx)
	if err == nil {
		n.Log.Info("the configuration has been read")
		if n.Read != nil {
			n.Read()
		}
		var beside sync.WaitGroup
		beside.Go(func() { n.secrets.follow(ctx) })
		beside.Go(func() { n.teller.run(ctx) })
		beside.Go(func() { n.statuses.run(ctx) })
		beside.Go(func() { n.checks.run(ctx) })
		beside.Go(func() { n.reporter.run(ctx) })
		beside.Go(func() { n.bgpStatuses.run(ctx) })
		beside.Go(func() { n.sessionStates.run(ctx) })
		n.loop(ctx)
		defer beside.Wait()
	}
	n.handOver()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (n *Node) loop(ctx context.Context) {
	b := backOff{least: 100 * time.Millisecond, most: 5 * time.Second}
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-retry.C:
		case <-n.yielding.over():
		case <-n.parting.over():
			n.parting.end()
		case <-n.inputs.changed:
		case <-n.Members.Changed():
		case <-n.Network.Changed():
		case <-n.KubeProxy.Changed():
		case <-n.ARP.Failed():
		case <-n.NDP.Failed():
		case <-ctx.Done():
			return
		}
		if err := n.round(ctx); err != nil {
			retry.Reset(b.next())
		} else {
			b.reset()
		}
		select {
		case <-time.After(spacing):
		case <-ctx.Done():
			return
		}
	}
}

// Healthy returns an error when a round does not come to an end.
func (n *Node) Healthy() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := time.Since(n.busy); !n.busy.IsZero() && d > hung {
		return fmt.Errorf("a round has been running for %v", d.Round(time.Second))
	}
	return nil
}

// Ready returns an error that says what this node's speaker still lacks for announcing.
//
// Two pods of one specification on one node (`kubectl rollout restart`) answer the same probe, whichever the kernel
// chooses. So the older one is as ready as the newer one is, of which it knows that it exists from the API server and that
// it is ready by gossip. In an upgrade each has an address of its own, and the older one stays ready: Kubernetes would
// remove it otherwise.
func (n *Node) Ready() error {
	n.mu.Lock()
	err := n.ready
	n.mu.Unlock()
	if err == nil && n.inputs.hasSuccessor() && !n.Members.View().Sibling {
		return errors.New("a newer speaker has been started on this node and is not ready")
	}
	return err
}

// backOff is the wait after one, two, three errors in a row.
type backOff struct{ least, most, now time.Duration }

func (b *backOff) next() time.Duration {
	b.now = min(max(2*b.now, b.least), b.most)
	return b.now
}

func (b *backOff) reset() { b.now = 0 }
