package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/iface"
	"metallb.io/operator/speaker/members"
)

// round brings what is announced in line with what is so now. An error means that it should be tried again.
func (n *Node) round(ctx context.Context) error {
	n.setBusy(time.Now())
	defer n.setBusy(time.Time{})

	peers := n.inputs.peers()
	n.Members.SetPeers(peers.addresses, peers.pods)
	network := n.Network.State()
	open, listenErr := n.ARP.Listen(network.Interfaces)
	configErr := n.readConfig(ctx, network.Subnets)
	if len(open) > 0 && n.cut {
		n.Members.Doubt()
	}
	n.cut = len(open) == 0
	view := n.Members.View()
	n.tellDelivery(view)
	// The others count on this node from here on, and it on itself once gossip says so.
	n.Members.SetReady(view.Joined && n.config != nil && len(open) > 0, open, macs(network))

	nodes, changed := n.inputs.gather()
	desired := n.planner.Plan(announce.Cluster{
		Node: n.Name, Config: n.config, Nodes: nodes, Members: claims(view), Joined: view.Joined, Interfaces: open,
		Addresses: network.Addresses, Parting: n.parting.may, IgnoreExcludeLabel: n.IgnoreExcludeLabel,
	}, changed)
	yields, unclaimed := n.yielding.since(n.planner.Yields(n.running), time.Now())
	if len(unclaimed) > 0 {
		n.Log.Warn("addresses that are another node's now have not been claimed by it", "addresses", len(unclaimed), "first", unclaimed[0].Address)
	}
	syncErr := n.sync(network.Interfaces, append(desired.Entries(), yields...), n.asked.of(desired.Checks)...)
	n.tellRouters(desired.BGP)
	if view.Healed != n.healed {
		n.healed = view.Healed
		n.ARP.Reclaim()
		n.NDP.Reclaim()
	}
	n.checks.set(desired, view, network)
	n.reporter.set(result{desired, n.running, view.Joined, view.Sibling, n.config != nil})

	n.setReady(readiness(view.Joined, len(network.Interfaces), len(open), listenErr, configErr))
	err := errors.Join(configErr, listenErr, syncErr)
	n.complain(err)
	return err
}

// sync has the responders answer for the entries, and keeps what of it runs.
func (n *Node) sync(interfaces []l2.Interface, entries []l2.Entry, also ...string) error {
	running, arpErr := n.ARP.Sync(entries)
	running6, ndpErr := n.NDP.Sync(interfaces, entries, also...)
	n.running = slices.Concat(running, running6)
	return errors.Join(arpErr, ndpErr)
}

// claims are the members with what they tell of themselves.
func claims(v members.View) []announce.Member {
	out := make([]announce.Member, len(v.Nodes))
	for i, name := range v.Nodes {
		out[i] = announce.Member{Node: name, Interfaces: v.Interfaces[name], Delivery: delivery(v, name)}
	}
	return out
}

// macs are the hardware addresses of the node.
func macs(network iface.State) (out [][6]byte) {
	for _, i := range network.Interfaces {
		out = append(out, i.MAC)
	}
	return out
}

// asked are the interfaces on which IPv6 addresses are checked, looked for where the checks are other ones.
type asked struct {
	checks []announce.Check
	names  []string
}

func (a *asked) of(checks []announce.Check) []string {
	if sameSlice(a.checks, checks) {
		return a.names
	}
	a.checks, a.names = checks, nil
	for _, x := range checks {
		if x.Address.Is6() {
			for _, name := range x.Interfaces {
				if !slices.Contains(a.names, name) {
					a.names = append(a.names, name)
				}
			}
		}
	}
	return a.names
}

// sameSlice reports whether two slices, of which no element is ever changed, are one.
func sameSlice[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func delivery(v members.View, node string) announce.Delivery {
	switch delivers, told := v.Delivers[node]; {
	case !told:
		return announce.Untold
	case delivers:
		return announce.Delivering
	default:
		return announce.NotDelivering
	}
}

// readConfig compiles the configuration if it has changed, or what it is compiled with. If it cannot be read, the last one
// stays.
func (n *Node) readConfig(ctx context.Context, subnets []netip.Prefix) error {
	if !n.inputs.takeConfigChanged() && slices.Equal(subnets, n.subnets) {
		return nil
	}
	in, err := configuration.Load(ctx, n.Cache, n.Namespace)
	if err != nil {
		n.inputs.retryConfig()
		return fmt.Errorf("cannot read the configuration: %w", err)
	}
	in.Node, in.Nodes = n.Name, n.inputs.configNodes(subnets)
	unread, complete := n.secrets.fill(&in)
	compiled, problems := config.Compile(in)
	n.config, n.subnets = compiled, subnets
	if complete { // else it is read again in a moment, and what is wrong now may be so only because a peer is left out
		n.teller.tell(&reading{input: in, problems: problems, unread: unread, subnets: subnets})
	}
	return nil
}

// complain logs an error, once for as long as it lasts.
func (n *Node) complain(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != n.complaint && text != "" {
		n.Log.Error("not everything can be announced", "error", err)
	}
	n.complaint = text
}

// readiness says what is missing for announcing; nil: nothing. An interface that does not work is no reason to be not
// ready as long as another does, and a node may well have none.
func readiness(joined bool, interfaces, open int, listenErr, configErr error) error {
	switch {
	case configErr != nil:
		return configErr
	case !joined:
		return errors.New("the other speakers have not been found yet")
	case interfaces > 0 && open == 0:
		return listenErr
	default:
		return nil
	}
}

func (n *Node) setBusy(since time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.busy = since
}

func (n *Node) setReady(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if (err == nil) != (n.ready == nil) {
		n.Log.Info("readiness has changed", "ready", err == nil, "error", err)
	}
	n.ready = err
}
