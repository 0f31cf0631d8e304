package node

import (
	"net/netip"
	"slices"
	"time"

	"metallb.io/operator/internal/l2"
)

const (
	// yieldTimeout is how long an address that is another node's is answered at most until that node claims it. It may be
	// late to hear of the change; it may die just then, which heartbeats say within 0.6 s, and the next one claims; and its
	// first frame may be lost, which the second makes up for after 0.1 s (l2.Claim).
	yieldTimeout = time.Second
	// leaveTimeout is how long to try to tell the others that this speaker goes. Both fit into the pod's termination grace
	// period.
	leaveTimeout = time.Second
)

// yielding is what this node goes on answering though it is another one's, each until a time. The zero value is ready.
type yielding struct {
	until map[netip.Addr]time.Time
	timer *time.Timer
}

// since takes all that is yielded and returns what still is, and what nobody has claimed within yieldTimeout.
func (y *yielding) since(yields []l2.Entry, now time.Time) (still, unclaimed []l2.Entry) {
	until := map[netip.Addr]time.Time{}
	var next time.Time
	for _, e := range yields {
		end, begun := y.until[e.Address]
		if !begun {
			end = now.Add(yieldTimeout)
		}
		until[e.Address] = end
		if !now.Before(end) {
			unclaimed = append(unclaimed, e)
			continue
		}
		still = append(still, e)
		if next.IsZero() || end.Before(next) {
			next = end
		}
	}
	y.until, y.timer = until, nil
	if len(still) > 0 {
		y.timer = time.NewTimer(next.Sub(now))
	}
	return still, unclaimed
}

// over signals when the next of the times is.
func (y *yielding) over() <-chan time.Time {
	if y.timer == nil {
		return nil
	}
	return y.timer.C
}

// handOver lets other nodes take over before this one falls silent: all that it answers is yielded, the others are told, and
// it ends when the last address is claimed, or time is up. Routers are asked to use other nodes meanwhile. Another speaker on this node keeps the addresses where they are.
func (n *Node) handOver() {
	view := n.Members.View()
	others := slices.ContainsFunc(view.Nodes, func(name string) bool { return name != n.Name })
	if others && !view.Sibling {
		parted := n.part()
		defer func() { time.Sleep(time.Until(parted)) }()
	}
	yielding := slices.Clone(n.running) // the reporter may be reading it
	for i := range yielding {
		yielding[i].Yielding = true
	}
	if err := n.sync(n.Network.State().Interfaces, yielding); err != nil {
		n.Log.Warn("not everything can be handed over", "error", err)
	}
	start := time.Now()
	if err := n.Members.Leave(leaveTimeout); err != nil {
		n.Log.Warn("the other speakers may not know that this one goes", "error", err)
	}
	n.Log.Info("handing over", "addresses", n.answers(), "others", others, "sibling", view.Sibling)
	if view.Sibling || !others {
		return
	}
	for end := time.Now().Add(yieldTimeout); time.Now().Before(end) && n.answers() > 0; {
		time.Sleep(10 * time.Millisecond)
	}
	n.Log.Info("handed over", "unclaimed", n.answers(), "took", time.Since(start).String())
}

// answers is how many addresses are answered.
func (n *Node) answers() int { return len(n.ARP.Running()) + len(n.NDP.Running()) }
