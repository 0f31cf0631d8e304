package tcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/bgp"
)

// Listener accepts connections that peers open, on all addresses of the node. It has sockets only for what there are peers
// for: a family, and a VRF. Another process of this node may listen beside it, so that one can follow the other; the kernel
// then gives each new connection to one of the two.
// It is safe for concurrent use.
type Listener struct {
	port   uint16
	accept func(peer string, c net.Conn)
	log    *slog.Logger

	mu      sync.Mutex
	sockets map[kind]*socket
	over    sync.WaitGroup
}

// kind of socket.
type kind struct {
	device string // a VRF, or none
	ipv6   bool
}

// socket that listens.
type socket struct {
	*net.TCPListener
	peers map[netip.Addr]string // names of the peers by address
	links map[string]string     // and of those that are found by an interface, by that
	keys  map[netip.Addr]bgp.Password
}

// New returns a Listener for a port that does not listen yet. What is accepted from a peer is given away by its name.
func New(port uint16, accept func(peer string, c net.Conn), log *slog.Logger) *Listener {
	return &Listener{port: port, accept: accept, log: log, sockets: map[kind]*socket{}}
}

// Sync says which peers may open connections. The error says which cannot; the next Sync tries again.
func (l *Listener) Sync(peers []bgp.Peer) error {
	wanted := map[kind][]bgp.Peer{}
	for _, p := range peers {
		if p.Interface != "" && p.Password != "" {
			continue // its address, by which the kernel finds the password, is not known: it is dialled
		}
		k := kind{p.Device, p.Interface != "" || p.Address.Is6()}
		wanted[k] = append(wanted[k], p)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, s := range l.sockets {
		if wanted[k] == nil {
			_ = s.Close()
			delete(l.sockets, k)
		}
	}
	var errs []error
	for k, peers := range wanted {
		s, err := l.socket(k)
		if err == nil {
			err = s.admit(peers)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("peers cannot open connections to port %d: %w", l.port, err))
		}
	}
	return errors.Join(errs...)
}

// socket returns the one of a kind; mu is held.
func (l *Listener) socket(k kind) (*socket, error) {
	if s, ok := l.sockets[k]; ok {
		return s, nil
	}
	config := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { err = shared(int(fd), k) }); e != nil {
			return e
		}
		return err
	}}
	network, address := "tcp4", "0.0.0.0"
	if k.ipv6 {
		network, address = "tcp6", "::"
	}
	listener, err := config.Listen(context.Background(), network, net.JoinHostPort(address, fmt.Sprint(l.port)))
	if err != nil {
		return nil, err
	}
	s := &socket{TCPListener: listener.(*net.TCPListener), keys: map[netip.Addr]bgp.Password{}}
	l.sockets[k] = s
	l.over.Go(func() { l.serve(s, k) })
	return s, nil
}

// shared sets what a socket needs before it listens.
func shared(fd int, k kind) error {
	// What answers a SYN is to pass a router that wants TTL 255 (RFC 5082); the session's own TTL is set once it is known whose it is.
	level, ttl := unix.IPPROTO_IP, unix.IP_TTL
	if k.ipv6 {
		level, ttl = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS
	}
	if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1), unix.SetsockoptInt(fd, level, ttl, 255)); err != nil {
		return err
	}
	if k.device == "" {
		return nil
	}
	if err := unix.BindToDevice(fd, k.device); err != nil {
		return fmt.Errorf("device %s: %w", k.device, err)
	}
	return nil
}

// admit says who may open connections; the Listener's mu is held.
func (s *socket) admit(peers []bgp.Peer) error {
	s.peers, s.links = map[netip.Addr]string{}, map[string]string{}
	keys := map[netip.Addr]bgp.Password{}
	for _, p := range peers {
		if p.Interface != "" {
			s.links[p.Interface] = p.Name
			continue
		}
		s.peers[p.Address] = p.Name
		if p.Password != "" {
			keys[p.Address] = p.Password
		}
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var errs []error
	if err := raw.Control(func(fd uintptr) { errs = s.sign(int(fd), keys) }); err != nil {
		return err
	}
	return errors.Join(errs...)
}

// sign has what comes from peers with a password signed, and from others not. A peer whose password cannot be used is nobody: better
// none than one that anybody could be.
func (s *socket) sign(fd int, keys map[netip.Addr]bgp.Password) (errs []error) {
	for a := range s.keys {
		if _, ok := keys[a]; !ok {
			errs = append(errs, Sign(fd, a, ""))
			delete(s.keys, a)
		}
	}
	for a, password := range keys {
		if s.keys[a] == password {
			continue
		}
		if err := Sign(fd, a, password); err != nil {
			delete(s.peers, a)
			errs = append(errs, fmt.Errorf("peer %s: %w", a, err))
			continue
		}
		s.keys[a] = password
	}
	return errs
}

// serve accepts until the socket is closed.
func (l *Listener) serve(s *socket, k kind) {
	for {
		c, err := s.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a connection that has gone again
		}
		from := sender(c)
		peer := l.whose(s, from)
		if peer == "" {
			l.log.Debug("a connection is refused: there is no such BGP peer", "address", from, "vrf", k.device)
			_ = c.SetLinger(0) // refused, and not ended
			_ = c.Close()
			continue
		}
		l.accept(peer, c)
	}
}

// sender is the address of the other end; a link-local one has its interface as it is called now, which package net remembers
// for a minute.
func sender(c *net.TCPConn) netip.Addr {
	a := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
	if !a.Is6() || !a.IsLinkLocalUnicast() {
		return a
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return a
	}
	_ = raw.Control(func(fd uintptr) {
		name, err := unix.Getpeername(int(fd))
		if in, ok := name.(*unix.SockaddrInet6); ok && err == nil {
			if ifi, err := net.InterfaceByIndex(int(in.ZoneId)); err == nil {
				a = a.WithZone(ifi.Name)
			}
		}
	})
	return a
}

func (l *Listener) whose(s *socket, a netip.Addr) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if name, ok := s.peers[a]; ok {
		return name
	}
	if a.IsLinkLocalUnicast() {
		return s.links[a.Zone()]
	}
	return ""
}

// Close closes all sockets.
func (l *Listener) Close() {
	l.mu.Lock()
	for k, s := range l.sockets {
		_ = s.Close()
		delete(l.sockets, k)
	}
	l.mu.Unlock()
	l.over.Wait()
}
