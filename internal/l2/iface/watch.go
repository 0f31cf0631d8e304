package iface

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Watcher follows the node's interfaces and addresses. An event only says that something has changed: the state is then
// read anew as a whole, so that a lost event costs nothing.
type Watcher struct {
	exclude exclusion
	log     *slog.Logger
	changed chan struct{}
	poke    chan struct{}
	closing chan struct{}
	loops   sync.WaitGroup

	mu     sync.Mutex
	state  State
	socket *nl.NetlinkSocket
}

// spacing keeps a storm of events from being a storm of listings; the first event after a pause is served at once.
const spacing = 5 * time.Millisecond

// retry is how long to wait after netlink has failed.
const retry = time.Second

// Watch begins to watch. Interfaces whose names match one of the expressions are never used, and what addresses they have
// are not the node's. Those that match one of unused are the node's, and not used either.
func Watch(exclude []string, log *slog.Logger, unused ...string) (*Watcher, error) {
	n, err := compileExclusion(exclude, unused)
	if err != nil {
		return nil, err
	}
	w := &Watcher{
		exclude: n, log: log,
		changed: make(chan struct{}, 1), poke: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	if w.socket, err = subscribe(); err != nil {
		return nil, err
	}
	if w.state, err = list(n, log); err != nil { // after subscribing, so that nothing falls between the two
		w.socket.Close()
		return nil, err
	}
	w.loops.Go(w.listen)
	w.loops.Go(w.follow)
	return w, nil
}

// State returns how things are now.
func (w *Watcher) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// Changed signals that State has something new.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Close ends the watch.
func (w *Watcher) Close() {
	w.mu.Lock()
	close(w.closing)
	w.socket.Close()
	w.mu.Unlock()
	w.loops.Wait()
}

func subscribe() (*nl.NetlinkSocket, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return nil, fmt.Errorf("cannot subscribe to network events: %w", err)
	}
	return s, nil
}

// listen turns events into pokes. After an overrun (ENOBUFS) events were lost, so it pokes too; after any other error it
// subscribes anew.
func (w *Watcher) listen() {
	for {
		messages, _, err := w.socket.Receive()
		select {
		case <-w.closing:
			return
		default:
		}
		switch {
		case err == nil:
			if w.relevant(messages) {
				signal(w.poke)
			}
		case errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR):
			signal(w.poke)
		default:
			w.log.Warn("network events failed, subscribing again", "error", err)
			if !w.resubscribe() {
				return
			}
			signal(w.poke)
		}
	}
}

// resubscribe replaces the socket; false means that the Watcher was closed meanwhile.
func (w *Watcher) resubscribe() bool {
	for {
		s, err := subscribe()
		w.mu.Lock()
		select {
		case <-w.closing:
			w.mu.Unlock()
			if err == nil {
				s.Close()
			}
			return false
		default:
		}
		if err == nil {
			w.socket.Close()
			w.socket = s
			w.mu.Unlock()
			return true
		}
		w.mu.Unlock()
		w.log.Warn("cannot subscribe to network events, trying again", "error", err)
		if !w.sleep(retry) {
			return false
		}
	}
}

// relevant leaves out the events of links that are excluded by name: the pods that come and go on a busy node.
func (w *Watcher) relevant(messages []syscall.NetlinkMessage) bool {
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK || !w.excluded(m.Data) {
			return true
		}
	}
	return false
}

func (w *Watcher) excluded(linkMessage []byte) bool {
	if len(linkMessage) < unix.SizeofIfInfomsg {
		return false
	}
	attributes, err := nl.ParseRouteAttr(linkMessage[unix.SizeofIfInfomsg:])
	if err != nil {
		return false
	}
	for _, a := range attributes {
		if a.Attr.Type == unix.IFLA_IFNAME {
			return w.exclude.foreign.MatchString(unix.ByteSliceToString(a.Value))
		}
	}
	return false
}

// follow reads the state when poked and signals what is new.
func (w *Watcher) follow() {
	for {
		select {
		case <-w.poke:
		case <-w.closing:
			return
		}
		pause := spacing
		if s, err := list(w.exclude, w.log); err != nil {
			w.log.Warn("cannot read the network's state, trying again", "error", err)
			signal(w.poke)
			pause = retry
		} else if w.store(s) {
			signal(w.changed)
		}
		if !w.sleep(pause) {
			return
		}
	}
}

func (w *Watcher) store(s State) (isNew bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	isNew = !s.Equal(w.state)
	w.state = s
	return isNew
}

// sleep reports false when the Watcher is closed before the time is over.
func (w *Watcher) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-w.closing:
		return false
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
