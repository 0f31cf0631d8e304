package node

import (
	"time"

	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/bgp"
)

// partingTime is how long routers are asked to use others (graceful shutdown, RFC 8326) before what they were told is withdrawn.
// One that has another path uses it when it has heard that, which takes milliseconds.
const partingTime = 500 * time.Millisecond

// parting is the time in which this node, which is to announce nothing any more, has its routers turn to others. The zero value
// is ready.
type parting struct {
	may   bool // there is something to part from, and time left for it
	timer *time.Timer
}

// follow takes what was planned.
func (p *parting) follow(d announce.BGP) {
	switch {
	case !d.Parting:
		p.may, p.timer = d.Tells(), nil
	case p.timer == nil:
		p.timer = time.NewTimer(partingTime)
	}
}

// over signals when the time is.
func (p *parting) over() <-chan time.Time {
	if p.timer == nil {
		return nil
	}
	return p.timer.C
}

func (p *parting) end() { p.may, p.timer = false, nil }

// part has routers turn to others before this speaker ends, and returns when they have had the time for it: that is now where
// none needs it.
func (n *Node) part() time.Time {
	n.BGP.Sync(n.sessions(n.planned.Ending()))
	for _, o := range n.BGP.Observed() {
		if o.Session.State == bgp.Established && !o.GracefulRestart && len(o.Paths) > 0 {
			n.Log.Info("asking routers to use other nodes")
			return time.Now().Add(partingTime)
		}
	}
	return time.Now()
}
