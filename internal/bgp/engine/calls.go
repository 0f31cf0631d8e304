package engine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Connections that routers open are accepted by the parent, which has the socket that listens, and given to the child with
// the session: each as a message with the name of the peer and the descriptor (unix(7), SCM_RIGHTS).

// CallsDescriptor is the file of the child by which it gets them.
const CallsDescriptor = 3

// longestName bounds the name of a peer, which is that of a Kubernetes object.
const longestName = 253

// callsPipe makes the two ends, the parent's and the child's.
func callsPipe() (*net.UnixConn, *os.File, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("no socket for accepted connections: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "calls")
	ours, err := unixConn(pair[0])
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// unixConn takes a descriptor over.
func unixConn(fd int) (*net.UnixConn, error) {
	file := os.NewFile(uintptr(fd), "calls")
	defer func() { _ = file.Close() }()
	c, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("not a unix socket"), c.Close())
	}
	return u, nil
}

// give gives a connection away. This process has no part in it any more, also where that fails.
func give(to *net.UnixConn, peer string, c net.Conn) error {
	defer func() { _ = c.Close() }()
	s, ok := c.(syscall.Conn)
	if !ok {
		return errors.New("not a connection of the kernel's")
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) {
		_, _, err = to.WriteMsgUnix([]byte(peer), syscall.UnixRights(int(fd)), nil)
	}); e != nil {
		return e
	}
	return err
}

// take waits for the next connection.
func take(from *net.UnixConn) (peer string, c net.Conn, err error) {
	name, rights := make([]byte, longestName), make([]byte, syscall.CmsgSpace(4))
	n, m, _, _, err := from.ReadMsgUnix(name, rights)
	if err != nil {
		return "", nil, err
	}
	messages, err := syscall.ParseSocketControlMessage(rights[:m])
	if err != nil || len(messages) != 1 {
		return "", nil, errors.Join(errors.New("a message without a connection"), err)
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return "", nil, errors.Join(errors.New("a message without a connection"), err)
	}
	file := os.NewFile(uintptr(fds[0]), "call")
	defer func() { _ = file.Close() }()
	c, err = net.FileConn(file)
	return string(name[:n]), c, err
}

// Acceptor takes connections that peers have opened.
type Acceptor interface {
	Accept(peer string, c net.Conn) error
}

// ServeCalls gives what arrives at CallsDescriptor to a Router until the parent has gone.
func ServeCalls(r Acceptor) error {
	from, err := unixConn(CallsDescriptor)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	for {
		peer, c, err := take(from)
		if err != nil {
			return err
		}
		if c != nil {
			_ = r.Accept(peer, c) // a peer that has gone meanwhile has none
		}
	}
}

// Accept gives a connection that a peer has opened to the process of its session. Where there is none, it is closed.
func (e *Engine) Accept(peer string, conn net.Conn) {
	e.mu.Lock()
	c := e.children[peer]
	e.mu.Unlock()
	var to *client
	if c != nil {
		c.mu.Lock()
		to = c.client
		c.mu.Unlock()
	}
	if to == nil {
		_ = conn.Close()
		return
	}
	if err := give(to.calls, peer, conn); err != nil {
		e.log.Debug("a connection of a BGP peer is lost", "peer", peer, "error", err)
	}
}
