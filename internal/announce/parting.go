package announce

import "slices"

// Tells reports whether a peer is to be told of a path.
func (b BGP) Tells() bool {
	return slices.ContainsFunc(b.Peers, func(p BGPPeer) bool { return len(p.Paths) > 0 })
}

// Ending is what a speaker that ends tells its routers for a moment: to use other paths before it withdraws its own. Those that
// keep what they have heard until the next speaker comes (graceful restart) are told nothing new.
func (b BGP) Ending() BGP {
	b.Peers = slices.Clone(b.Peers)
	for i := range b.Peers {
		p := &b.Peers[i]
		if p.GracefulRestart {
			continue
		}
		p.Paths = slices.Clone(p.Paths)
		for j := range p.Paths {
			p.Paths[j].Shutdown = true
		}
	}
	return b
}
