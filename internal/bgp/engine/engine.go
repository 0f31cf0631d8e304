package engine

import (
	"cmp"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"sync"
	"time"

	"metallb.io/operator/internal/bgp"
)

// Engine keeps what is wanted running, each session in a process of its own: whatever a router does to one, the others
// never notice. One that falls over is started again at once, and has to wait, for longer each time, when it goes on like
// that.
type Engine struct {
	command func() *exec.Cmd
	log     *slog.Logger
	changed chan struct{}

	mu       sync.Mutex
	wanted   []bgp.Wanted
	children map[string]*child // by peer
	closed   bool
	running  sync.WaitGroup
}

// New returns an Engine without sessions. Command makes the child, whose standard input and output are the pipe.
func New(command func() *exec.Cmd, log *slog.Logger) *Engine {
	return &Engine{command: command, log: log, changed: make(chan struct{}, 1), children: map[string]*child{}}
}

// Sync says what is wanted. It waits for nothing: what comes of it Observed says. What it is given must not be changed any
// more.
func (e *Engine) Sync(wanted []bgp.Wanted) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || slices.EqualFunc(e.wanted, wanted, same) {
		return
	}
	e.wanted = wanted
	e.distribute()
}

// same reports whether two are the same, at the price of a glance: paths that are not the same slice count as different.
func same(a, b bgp.Wanted) bool {
	return a.Peer == b.Peer && len(a.Paths) == len(b.Paths) && (len(a.Paths) == 0 || &a.Paths[0] == &b.Paths[0])
}

// distribute gives each child its session; mu is held.
func (e *Engine) distribute() {
	there := map[string]bool{}
	for i := range e.wanted {
		w := &e.wanted[i]
		there[w.Name] = true
		if c := e.children[w.Name]; c != nil {
			c.want(w)
			continue
		}
		c := &child{engine: e, name: w.Name, poke: make(chan struct{}, 1), wanted: w} // one that wants nothing would end
		e.children[w.Name] = c
		e.running.Go(c.run)
	}
	for name, c := range e.children {
		if !there[name] {
			c.want(nil)
			delete(e.children, name)
		}
	}
}

// Observed says what runs, sorted by peer.
func (e *Engine) Observed() []bgp.Observed {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []bgp.Observed
	for _, c := range e.children {
		if o, ok := c.observed(); ok {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b bgp.Observed) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Changed signals that Observed has something new.
func (e *Engine) Changed() <-chan struct{} { return e.changed }

func (e *Engine) signal() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// Reset ends the session with a peer at once if it is Established. It does not wait.
func (e *Engine) Reset(peer string, why bgp.Notification) {
	e.mu.Lock()
	c := e.children[peer]
	e.mu.Unlock()
	if c != nil {
		c.reset(why)
	}
}

// Close ends all sessions, and waits until the children have parted from their peers.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closed, e.wanted = true, nil
	e.distribute()
	e.mu.Unlock()
	e.running.Wait()
}

const (
	// leastWait and longestWait bound the wait after a child died for the second, third, fourth time in a row.
	leastWait, longestWait = 250 * time.Millisecond, time.Minute
	// lasting is how long a child must live for its death to count as the first.
	lasting = time.Minute
	// again is the wait after something could not be done.
	again = time.Second
)

// child is the process of a session, for as long as that is wanted: when it dies there is another one.
type child struct {
	engine *Engine
	name   string        // of the peer
	poke   chan struct{} // size 1

	mu      sync.Mutex
	wanted  *bgp.Wanted // nil: nothing
	running bgp.Wanted
	session bgp.Session
	client  *client // nil: none
}

// want takes what is wanted; nil: the process is to end, and to come no more.
func (c *child) want(w *bgp.Wanted) {
	c.mu.Lock()
	c.wanted = w
	c.mu.Unlock()
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

func (c *child) share() []bgp.Wanted {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted == nil {
		return nil
	}
	return []bgp.Wanted{*c.wanted}
}

func (c *child) observed() (o bgp.Observed, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted == nil {
		return o, false
	}
	o = bgp.Observed{Wanted: c.running, Session: c.session}
	if o.Name == "" { // it does not run
		o.Peer = c.wanted.Peer
	}
	if o.Session.State == "" {
		o.Session.Peer, o.Session.State = c.name, bgp.Idle
	}
	return o, true
}

func (c *child) reset(why bgp.Notification) {
	c.mu.Lock()
	client := c.client
	c.mu.Unlock()
	if client != nil {
		_ = client.reset(c.name, why) // a dead one has no session
	}
}

// run keeps a process until nothing is wanted of it.
func (c *child) run() {
	var wait time.Duration
	for {
		began := time.Now()
		err := c.once()
		if err == nil {
			return
		}
		c.engine.log.Error("the BGP engine of a peer has ended; starting it again", "peer", c.name, "error", err)
		c.died(err)
		switch {
		case time.Since(began) >= lasting:
			wait = 0
		case wait == 0:
			wait = leastWait
		default:
			wait = min(2*wait, longestWait)
		}
		if !c.pause(wait) {
			return
		}
	}
}

// died notes that the session does not run.
func (c *child) died(err error) {
	c.mu.Lock()
	c.client, c.running = nil, bgp.Wanted{}
	c.session = bgp.Session{Peer: c.name, State: bgp.Idle, Since: time.Now(), Error: fmt.Sprintf("the BGP engine has ended (%v) and is started again", err)}
	c.mu.Unlock()
	c.engine.signal()
}

// pause waits, and returns false when nothing is wanted any more.
func (c *child) pause(d time.Duration) bool {
	end := time.After(d)
	for {
		if len(c.share()) == 0 {
			return false
		}
		select {
		case <-end:
			return true
		case <-c.poke:
		}
	}
}

// once runs a process. It returns nil when nothing is wanted of it any more.
func (c *child) once() error {
	if len(c.share()) == 0 {
		return nil
	}
	client, err := start(c.engine.command(), c.seen)
	if err != nil {
		return err
	}
	defer client.close()
	c.mu.Lock()
	c.client = client
	c.mu.Unlock()
	speaker := bgp.NewSpeaker(client)
	complaint := ""
	for {
		wanted := c.share()
		if len(wanted) == 0 {
			return nil
		}
		running, err := speaker.Sync(wanted)
		c.mu.Lock()
		if c.running = (bgp.Wanted{}); len(running) > 0 {
			c.running = running[0]
		} else if err != nil {
			c.session = bgp.Session{Peer: c.name, State: bgp.Idle, Error: err.Error()}
		}
		c.mu.Unlock()
		c.engine.signal()
		text := ""
		var retry <-chan time.Time
		if err != nil {
			text, retry = err.Error(), time.After(again)
		}
		if text != complaint && text != "" {
			c.engine.log.Warn("a BGP session is not as it should be; trying again", "peer", c.name, "error", text)
		}
		complaint = text
		select {
		case <-client.dead:
			return client.why
		case <-c.poke:
		case <-retry:
		}
	}
}

// seen takes what the process says of its session.
func (c *child) seen(sessions []bgp.Session) {
	c.mu.Lock()
	for _, s := range sessions {
		if s.Peer == c.name {
			c.session = s
		}
	}
	c.mu.Unlock()
	c.engine.signal()
}
