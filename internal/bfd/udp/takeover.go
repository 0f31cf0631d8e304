package udp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/bfd"
)

// place is what a process is among those of a node that want sessions.
type place int

const (
	// outside: two others are there already.
	outside place = iota
	// next: it has joined the ports, and takes over when the owner ends.
	next
	// owner: the sessions are this process's.
	owner
)

// table is what a successor needs to know. The owner sends it whenever it changes.
type table struct {
	Number   uint64
	Kinds    []kind
	Ports    []tablePort
	Sessions []tableSession
}

type tablePort struct {
	Sender sender
	Port   uint16
}

type tableSession struct {
	Key      Key
	Snapshot bfd.Snapshot
}

// take removes a session from the table.
func (t *table) take(k Key) (bfd.Snapshot, bool) {
	for i, s := range t.Sessions {
		if s.Key == k {
			t.Sessions[i] = t.Sessions[len(t.Sessions)-1]
			t.Sessions = t.Sessions[:len(t.Sessions)-1]
			return s.Snapshot, s.Snapshot.Valid()
		}
	}
	return bfd.Snapshot{}, false
}

func (t *table) port(k sender) uint16 {
	for _, p := range t.Ports {
		if p.Sender == k {
			return p.Port
		}
	}
	return 0
}

// table makes the table of what runs.
func (e *engine) table() table {
	var t table
	for k := range e.receivers {
		t.Kinds = append(t.Kinds, k)
	}
	for k, s := range e.senders {
		t.Ports = append(t.Ports, tablePort{k, s.port})
	}
	for k, s := range e.sessions {
		if s.machine == nil || s.leaving {
			continue
		}
		if snapshot, up := s.machine.Snapshot(); up {
			t.Sessions = append(t.Sessions, tableSession{k, snapshot})
		}
	}
	return t
}

// inherit makes this process the owner: sessions that are Up go on, others begin, and those that this process does not want
// end with a word.
func (e *engine) inherit(now time.Time) {
	e.place = owner
	for _, s := range e.sessions {
		e.begin(s, now)
	}
	for len(e.inherited.Sessions) > 0 {
		left := e.inherited.Sessions[0]
		w, err := canonical(Session{Key: left.Key, Settings: bfd.Settings{Transmit: time.Second, Receive: time.Second, Multiplier: 3, AdminDown: true}})
		if err != nil || e.sessions[w.Key] != nil {
			e.inherited.take(left.Key)
			continue
		}
		s := &session{want: w, position: -1, leaving: true}
		e.sessions[w.Key] = s
		if e.begin(s, now); s.machine == nil {
			e.inherited.take(left.Key)
		}
		e.leave(s, now)
	}
	e.inherited = table{}
	e.flush()
}

// successors are the processes that wait for this one's end.
type successors struct {
	listener *net.UnixListener
	current  func() (table, error)

	mu      sync.Mutex
	closed  bool
	number  uint64
	waiting map[*successor]struct{}
	running sync.WaitGroup
}

type successor struct {
	conn *net.UnixConn
	news chan struct{}

	mu   sync.Mutex
	sent uint64
}

// claim takes the place of the owner, if nobody has it.
func claim(name string) (*net.UnixListener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
}

// serve keeps successors informed until close.
func (w *successors) serve() {
	defer w.running.Done()
	for {
		conn, err := w.listener.AcceptUnix()
		if err != nil {
			return
		}
		if !ours(conn) {
			_ = conn.Close()
			continue
		}
		s := &successor{conn: conn, news: make(chan struct{}, 1)}
		s.news <- struct{}{}
		w.mu.Lock()
		if w.closed {
			w.mu.Unlock()
			_ = conn.Close()
			return
		}
		w.waiting[s] = struct{}{}
		w.running.Add(2)
		w.mu.Unlock()
		go w.inform(s)
		go w.watch(s)
	}
}

// watch sees the successor's end: it never says anything.
func (w *successors) watch(s *successor) {
	defer w.running.Done()
	_, _ = s.conn.Read(make([]byte, 1))
	w.mu.Lock()
	delete(w.waiting, s)
	w.mu.Unlock()
	_ = s.conn.Close()
	close(s.news) // only tell sends on it, under mu, to those that are in waiting
}

func (w *successors) inform(s *successor) {
	defer w.running.Done()
	for range s.news {
		if t, err := w.current(); err == nil {
			w.send(s, t)
		}
	}
}

// tell has all successors get a new table.
func (w *successors) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.waiting {
		select {
		case s.news <- struct{}{}:
		default:
		}
	}
}

// stamp gives a table its number. The caller is the loop, or nobody runs it any more.
func (w *successors) stamp(t table) table {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.number++
	t.Number = w.number
	return t
}

// send writes a table, unless a newer one was written.
func (w *successors) send(s *successor, t table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Number <= s.sent {
		return
	}
	s.sent = t.Number
	text, err := json.Marshal(t)
	if err == nil {
		_ = s.conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, err = s.conn.Write(append(text, '\n'))
	}
	if err != nil {
		_ = s.conn.Close()
	}
}

// there says whether somebody waits.
func (w *successors) there() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiting) > 0
}

// close gives the last table to those that wait, and then the place.
func (w *successors) close(last table) {
	w.mu.Lock()
	w.closed = true
	var waiting []*successor
	for s := range w.waiting {
		waiting = append(waiting, s)
	}
	w.mu.Unlock()
	for _, s := range waiting {
		w.send(s, last)
	}
	_ = w.listener.Close()
	for _, s := range waiting {
		_ = s.conn.Close()
	}
	w.running.Wait()
}

// ours says whether the other end of a connection is a process of this one's user: the names of the abstract namespace are
// anybody's.
func ours(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	if control := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); control != nil || err != nil {
		return false
	}
	return int(peer.Uid) == os.Geteuid()
}

var errForeign = errors.New("a process of another user has the name by which the processes of a node find each other")

// follow reads the owner's tables until the owner ends, and returns nil then. Where the name is a foreign process's it says
// so.
func follow(ctx context.Context, name string, took func(table)) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil // it ended just now
	}
	defer conn.Close()
	if !ours(conn) {
		return errForeign
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	in := json.NewDecoder(bufio.NewReader(conn))
	for {
		var t table
		if err := in.Decode(&t); err != nil {
			return nil
		}
		took(t)
	}
}
