package ndp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/linklocal"
)

// linkLocal is where a responder speaks from on an interface.
func linkLocal(ifi l2.Interface) (netip.Addr, error) { return linklocal.Of(ifi.Index) }

// watch tells of changes of link-local addresses.
type watch interface {
	// only names the interfaces that matter.
	only([]l2.Interface)
	// alive is false once nothing more will be told, or something was missed.
	alive() bool
	close()
}

// addressWatch is a watch by rtnetlink.
type addressWatch struct {
	file    *os.File
	changed func()
	loop    sync.WaitGroup

	mu      sync.Mutex
	indexes map[uint32]bool
	dead    bool
}

func newWatch(changed func()) (watch, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_IPV6_IFADDR}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	w := &addressWatch{file: os.NewFile(uintptr(fd), "rtnetlink"), changed: changed}
	w.loop.Go(w.read)
	return w, nil
}

func (w *addressWatch) only(interfaces []l2.Interface) {
	indexes := map[uint32]bool{}
	for _, ifi := range interfaces {
		indexes[uint32(ifi.Index)] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.indexes = indexes
}

func (w *addressWatch) alive() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.dead
}

func (w *addressWatch) close() {
	_ = w.file.Close() // nothing to do about it
	w.loop.Wait()
}

// read ends with the first error, which may be that messages were lost (ENOBUFS): all is to be looked at again then.
func (w *addressWatch) read() {
	buf := make([]byte, 16<<10)
	for {
		n, err := w.file.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			w.mu.Lock()
			w.dead = true
			w.mu.Unlock()
			w.changed()
			return
		}
		if w.concerns(buf[:n]) {
			w.changed()
		}
	}
}

// concerns reports whether there is a link-local address of an interface that matters among rtnetlink messages.
func (w *addressWatch) concerns(b []byte) bool {
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return true // not understood, so it may
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range messages {
		// A struct ifaddrmsg: family, prefix length, flags and scope, an octet each, and the interface's index.
		if len(m.Data) >= unix.SizeofIfAddrmsg && m.Data[3] == unix.RT_SCOPE_LINK && w.indexes[binary.NativeEndian.Uint32(m.Data[4:])] {
			return true
		}
	}
	return false
}
