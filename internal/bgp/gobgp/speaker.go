package gobgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	gobgp "github.com/osrg/gobgp/v4/pkg/server"

	"metallb.io/operator/internal/bgp"
)

// loopback is where the server finds its only neighbour, the relay.
const loopback = "127.0.0.1"

// speaker is a GoBGP server. What it announces stays from one connection to the next.
type speaker struct {
	peer   bgp.Peer
	server *gobgp.BgpServer
	at     netip.AddrPort // of the server
	stop   context.CancelFunc
	active chan struct{} // size 1: the server takes a connection

	mu          sync.Mutex
	port        int // of this end of the connection; 0: there is none
	established func(ipv4, ipv6 bool)
}

func newSpeaker(p bgp.Peer, log *slog.Logger) (*speaker, error) {
	server := gobgp.NewBgpServer(gobgp.LoggerOption(slog.New(newQuiet(log.Handler())), nil))
	ctx, stop := context.WithCancel(context.Background())
	v := &speaker{peer: p, server: server, stop: stop, active: make(chan struct{}, 1)}
	go server.Serve()
	if err := v.listen(ctx); err != nil {
		v.close()
		return nil, err
	}
	if err := server.WatchEvent(ctx, gobgp.WatchEventMessageCallbacks{OnPeerUpdate: v.seen}, gobgp.WatchPeer()); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// listen starts the server at a port that is free. Another process may take it in between, hence several attempts.
func (v *speaker) listen(ctx context.Context) (err error) {
	for range 5 {
		var l *net.TCPListener
		if l, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.MustParseAddrPort(loopback+":0"))); err != nil {
			break
		}
		v.at = l.Addr().(*net.TCPAddr).AddrPort()
		_ = l.Close()
		global := &api.Global{
			Asn: v.peer.LocalASN, RouterId: v.peer.RouterID.String(), ListenAddresses: []string{loopback}, ListenPort: int32(v.at.Port()),
		}
		if err = v.server.StartBgp(ctx, &api.StartBgpRequest{Global: global}); err == nil {
			return nil
		}
	}
	return fmt.Errorf("no connection within this process: %w", err)
}

// close ends the server.
func (v *speaker) close() {
	v.stop() // the watch first: GoBGP waits for it
	v.server.Stop()
}

// begin has the server await the relay. If it were to call by itself, it would wait for up to two seconds first.
func (v *speaker) begin() error {
	p := v.peer
	select {
	case <-v.active: // of the last connection
	default:
	}
	neighbour := &api.Peer{
		Conf: &api.PeerConf{NeighborAddress: loopback, PeerAsn: p.ASN, LocalAsn: p.LocalASN},
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime: seconds(p.HoldTime), KeepaliveInterval: seconds(p.KeepaliveTime), IdleHoldTimeAfterReset: 1,
		}},
		Transport: &api.Transport{LocalAddress: loopback, PassiveMode: true},
	}
	if p.GracefulRestart {
		// What is forwarded does not depend on this process, and the peer may have kept what the last session told it.
		neighbour.GracefulRestart = &api.GracefulRestart{
			Enabled: true, RestartTime: seconds32(bgp.RestartTime), DeferralTime: deferral, LocalRestarting: true,
		}
	}
	if p.IPv4 {
		neighbour.AfiSafis = append(neighbour.AfiSafis, family(api.Family_AFI_IP, p.GracefulRestart))
	}
	if p.IPv6 {
		neighbour.AfiSafis = append(neighbour.AfiSafis, family(api.Family_AFI_IP6, p.GracefulRestart))
	}
	return v.server.AddPeer(context.Background(), &api.AddPeerRequest{Peer: neighbour})
}

// connect returns a connection to the server, which has begun.
func (v *speaker) connect(ctx context.Context) (net.Conn, error) {
	select {
	case <-v.active:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d := net.Dialer{KeepAlive: -1}
	c, err := d.DialContext(ctx, "tcp4", v.at.String())
	if err != nil {
		return nil, fmt.Errorf("no connection within this process: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.port = c.LocalAddr().(*net.TCPAddr).Port
	return c, nil
}

// deferral is how long, in seconds, to wait with what is announced for the end of what the peer announces (RFC 4724, section
// 4.1). Nothing of that counts here, so it is as short as can be.
const deferral = 1

func seconds(d time.Duration) uint64   { return uint64(d / time.Second) }
func seconds32(d time.Duration) uint32 { return uint32(d / time.Second) }

func family(afi api.Family_Afi, restart bool) *api.AfiSafi {
	f := &api.Family{Afi: afi, Safi: api.Family_SAFI_UNICAST}
	return &api.AfiSafi{
		Config:            &api.AfiSafiConfig{Family: f, Enabled: true},
		MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: restart}},
	}
}

// finish has the server forget the connection.
func (v *speaker) finish() {
	v.mu.Lock()
	v.port = 0
	v.mu.Unlock()
	_ = v.server.DeletePeer(context.Background(), &api.DeletePeerRequest{Address: loopback})
}

// onEstablished has f called when the session is established, with the families that it has.
func (v *speaker) onEstablished(f func(ipv4, ipv6 bool)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.established = f
}

// seen is called by the server, one event after the other.
func (v *speaker) seen(e *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
	switch e.Peer.State.SessionState {
	case packet.BGP_FSM_ACTIVE:
		select {
		case v.active <- struct{}{}:
		default:
		}
		return
	case packet.BGP_FSM_ESTABLISHED:
	default:
		return
	}
	v.mu.Lock()
	f := v.established
	ours := v.port != 0 && e.Peer.Transport.RemotePort == uint32(v.port) // else it is somebody else on this node, who is told nothing of the router
	v.mu.Unlock()
	if f == nil || !ours {
		return
	}
	ipv4, ipv6, said := false, false, false
	for _, c := range e.Peer.State.RemoteCap {
		if mp, ok := c.(*packet.CapMultiProtocol); ok {
			said = true
			ipv4, ipv6 = ipv4 || mp.CapValue == packet.RF_IPv4_UC, ipv6 || mp.CapValue == packet.RF_IPv6_UC
		}
	}
	ipv4 = ipv4 || !said // a router that knows of no families has this one (RFC 4760, section 8)
	f(ipv4 && v.peer.IPv4, ipv6 && v.peer.IPv6)
}

// batch is how many paths are handed over at a time, between which the server can do other things.
const batch = 500

// announce changes what the server announces. Prefixes of a family without a next hop are left out.
func (v *speaker) announce(advertise []bgp.Path, withdraw []netip.Prefix, p bgp.Peer, hops nextHops) error {
	var add, remove []*apiutil.Path
	for _, prefix := range withdraw {
		if p.Carries(prefix.Addr()) {
			remove = append(remove, withdrawal(prefix))
		}
	}
	for _, path := range advertise {
		switch hop := hops.of(path.Prefix); {
		case !p.Carries(path.Prefix.Addr()):
		case !hop.IsValid():
			remove = append(remove, withdrawal(path.Prefix))
		default:
			made, err := advertisement(path, hop, p)
			if err != nil {
				return fmt.Errorf("prefix %s: %w", path.Prefix, err)
			}
			add = append(add, made)
		}
	}
	var errs []error
	for len(remove) > 0 {
		n := min(len(remove), batch)
		errs = append(errs, v.server.DeletePath(apiutil.DeletePathRequest{Paths: remove[:n]}))
		remove = remove[n:]
	}
	for len(add) > 0 {
		n := min(len(add), batch)
		_, err := v.server.AddPath(apiutil.AddPathRequest{Paths: add[:n]})
		errs = append(errs, err)
		add = add[n:]
	}
	return errors.Join(errs...)
}

func withdrawal(prefix netip.Prefix) *apiutil.Path {
	nlri, _ := packet.NewIPAddrPrefix(prefix) // fails for prefixes that are not valid only
	return &apiutil.Path{Family: familyOf(prefix), Nlri: nlri, Withdrawal: true}
}

func familyOf(prefix netip.Prefix) packet.Family {
	if prefix.Addr().Is4() {
		return packet.RF_IPv4_UC
	}
	return packet.RF_IPv6_UC
}

func advertisement(p bgp.Path, hop netip.Addr, to bgp.Peer) (*apiutil.Path, error) {
	nlri, err := packet.NewIPAddrPrefix(p.Prefix)
	if err != nil {
		return nil, err
	}
	attributes := []packet.PathAttributeInterface{packet.NewPathAttributeOrigin(packet.BGP_ORIGIN_ATTR_TYPE_IGP)}
	if hop.Is4() {
		next, err := packet.NewPathAttributeNextHop(hop)
		if err != nil {
			return nil, err
		}
		attributes = append(attributes, next)
	} else {
		next, err := packet.NewPathAttributeMpReachNLRI(familyOf(p.Prefix), []packet.PathNLRI{{NLRI: nlri}}, hop)
		if err != nil {
			return nil, err
		}
		attributes = append(attributes, next)
	}
	attributes = append(attributes, preference(p, to)...)
	var small []uint32
	var large []*packet.LargeCommunity
	communities := p.Communities
	if p.Shutdown && !slices.Contains(communities, bgp.GracefulShutdown) {
		communities = append(slices.Clip(communities), bgp.GracefulShutdown)
	}
	for _, c := range communities {
		if c.Large {
			large = append(large, packet.NewLargeCommunity(c.Parts[0], c.Parts[1], c.Parts[2]))
		} else {
			small = append(small, c.Parts[0]<<16|c.Parts[1])
		}
	}
	if len(small) > 0 {
		attributes = append(attributes, packet.NewPathAttributeCommunities(small))
	}
	if len(large) > 0 {
		attributes = append(attributes, packet.NewPathAttributeLargeCommunities(large))
	}
	return &apiutil.Path{Family: familyOf(p.Prefix), Nlri: nlri, Attrs: attributes, Age: time.Now().Unix()}, nil
}

// preference is that of a path as a peer gets it. GoBGP puts the AS number that an eBGP peer gets in any case before it.
func preference(p bgp.Path, to bgp.Peer) (out []packet.PathAttributeInterface) {
	if p.MED.Set {
		out = append(out, packet.NewPathAttributeMultiExitDisc(p.MED.Value))
	}
	switch {
	case to.Internal() && p.Shutdown:
		out = append(out, packet.NewPathAttributeLocalPref(0))
	case to.Internal() && p.LocalPref != 0:
		out = append(out, packet.NewPathAttributeLocalPref(p.LocalPref))
	case !to.Internal() && p.Prepend > 0:
		again := slices.Repeat([]uint32{to.LocalASN}, p.Prepend)
		out = append(out, packet.NewPathAttributeAsPath([]packet.AsPathParamInterface{packet.NewAs4PathParam(packet.BGP_ASPATH_ATTR_TYPE_SEQ, again)}))
	}
	return out
}
