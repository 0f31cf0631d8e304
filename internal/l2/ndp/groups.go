package ndp

import (
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2"
)

// member is a socket that joins multicast groups on one interface.
type member interface {
	join(group netip.Addr) error
	leave(group netip.Addr) error
	close() error
}

// groups are the multicast groups joined on an interface. Joining makes the network card let the group's frames in, and
// makes the kernel tell switches that look at MLD (RFC 3810) to send them here. A socket has room for some hundred groups
// (net.core.optmem_max), so there are as many as it takes. The zero value but for open is ready. It is not safe for
// concurrent use.
type groups struct {
	open    func() (member, error)
	sockets []*groupSocket
	joined  map[netip.Addr]*groupSocket
}

type groupSocket struct {
	member
	groups int
	full   bool
}

// join joins a group unless that was done before.
func (g *groups) join(group netip.Addr) error {
	if g.joined[group] != nil {
		return nil
	}
	for _, s := range g.sockets {
		if s.full {
			continue
		}
		err := s.join(group)
		if err == nil {
			g.hold(group, s)
			return nil
		}
		if !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
		s.full = true
	}
	m, err := g.open()
	if err != nil {
		return err
	}
	if err := m.join(group); err != nil {
		return errors.Join(err, m.close())
	}
	s := &groupSocket{member: m}
	g.sockets = append(g.sockets, s)
	g.hold(group, s)
	return nil
}

func (g *groups) hold(group netip.Addr, s *groupSocket) {
	if g.joined == nil {
		g.joined = map[netip.Addr]*groupSocket{}
	}
	g.joined[group] = s
	s.groups++
}

// set joins these groups and leaves all others. It returns how many could not be joined, and why the last of them could
// not. That a group cannot be left happens where the interface is gone, and the membership with it.
func (g *groups) set(wanted map[netip.Addr]bool) (missing int, err error) {
	for group, s := range g.joined {
		if wanted[group] {
			continue
		}
		_ = s.leave(group)
		delete(g.joined, group)
		s.groups--
		s.full = false
	}
	g.sockets = slices.DeleteFunc(g.sockets, func(s *groupSocket) bool {
		if s.groups == 0 {
			_ = s.close()
		}
		return s.groups == 0
	})
	for group := range wanted {
		if joinErr := g.join(group); joinErr != nil {
			missing, err = missing+1, joinErr
		}
	}
	return missing, err
}

// close leaves all groups.
func (g *groups) close() {
	for _, s := range g.sockets {
		_ = s.close()
	}
	g.sockets, g.joined = nil, nil
}

// socket is a member by the kernel. Nothing is ever read from it.
type socket struct {
	fd    int
	index int
}

func newMember(ifi l2.Interface) (member, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &socket{fd: fd, index: ifi.Index}, nil
}

func (s *socket) join(group netip.Addr) error  { return s.set(unix.IPV6_JOIN_GROUP, group) }
func (s *socket) leave(group netip.Addr) error { return s.set(unix.IPV6_LEAVE_GROUP, group) }
func (s *socket) close() error                 { return unix.Close(s.fd) }

func (s *socket) set(option int, group netip.Addr) error {
	return unix.SetsockoptIPv6Mreq(s.fd, unix.IPPROTO_IPV6, option, &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(s.index)})
}
