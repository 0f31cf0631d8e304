package engine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"time"

	"metallb.io/operator/internal/bgp"
)

const (
	// patience is how long the child may take for one request; one that takes longer is stuck, and ended.
	patience = 15 * time.Second
	// chunk is how many paths one request has.
	chunk = 500
	// parting is how long the child may take to part from its peers.
	parting = 2 * time.Second
)

// client is the parent's end of a child: a bgp.Router over a pipe.
type client struct {
	cmd     *exec.Cmd
	calls   *net.UnixConn
	in      io.WriteCloser
	replies chan reply
	dead    chan struct{} // closed when the child has ended
	why     error         // once dead

	mu sync.Mutex // of in
}

// start starts a child. Its reports go to seen.
func start(cmd *exec.Cmd, seen func([]bgp.Session)) (*client, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	calls, theirs, err := callsPipe()
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{theirs}
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return nil, errors.Join(err, calls.Close())
	}
	c := &client{cmd: cmd, calls: calls, in: in, replies: make(chan reply, 1), dead: make(chan struct{})}
	go c.listen(out, seen)
	return c, nil
}

// listen takes the child's reports until it ends.
func (c *client) listen(out io.Reader, seen func([]bgp.Session)) {
	err := c.take(out, seen)
	_ = c.cmd.Process.Kill()
	ended := c.cmd.Wait()
	switch {
	case ended != nil:
		c.why = ended
	case errors.Is(err, io.EOF):
		c.why = errors.New("it ended by itself")
	default:
		c.why = err
	}
	_ = c.in.Close()
	_ = c.calls.Close()
	close(c.dead)
}

func (c *client) take(out io.Reader, seen func([]bgp.Session)) error {
	for {
		var r report
		if err := read(out, &r); err != nil {
			return err
		}
		if r.Sessions != nil {
			seen(r.Sessions)
		}
		if r.Reply == nil {
			continue
		}
		select {
		case c.replies <- *r.Reply:
		default:
			return errors.New("a reply that nobody waits for")
		}
	}
}

// call has one request carried out. It has one caller at a time.
func (c *client) call(q request) error {
	if err := c.send(q); err != nil {
		return err
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case r := <-c.replies:
		if r.Error != "" {
			return errors.New(r.Error)
		}
		return nil
	case <-c.dead:
		return fmt.Errorf("the BGP engine has ended: %w", c.why)
	case <-late.C:
		_ = c.cmd.Process.Kill()
		return fmt.Errorf("the BGP engine does not answer for %v", patience)
	}
}

func (c *client) send(q request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return write(c.in, q)
}

// Set implements bgp.Router.
func (c *client) Set(p bgp.Peer) error {
	return c.call(request{Set: &peer{Peer: p, Secret: p.Password.Reveal()}})
}

// Remove implements bgp.Router.
func (c *client) Remove(name string) error { return c.call(request{Remove: name}) }

// Announce implements bgp.Router.
func (c *client) Announce(name string, advertise []bgp.Path, withdraw []netip.Prefix) error {
	for len(advertise)+len(withdraw) > 0 {
		a, w := min(len(advertise), chunk), min(len(withdraw), chunk)
		if err := c.call(request{Announce: &announce{name, advertise[:a], withdraw[:w]}}); err != nil {
			return err
		}
		advertise, withdraw = advertise[a:], withdraw[w:]
	}
	return nil
}

// reset does not wait for what is under way.
func (c *client) reset(name string, why bgp.Notification) error {
	return c.send(request{Reset: &reset{name, why}})
}

// close lets the child part from its peers.
func (c *client) close() {
	c.mu.Lock()
	_ = c.in.Close()
	c.mu.Unlock()
	select {
	case <-c.dead:
	case <-time.After(parting):
		_ = c.cmd.Process.Kill()
		<-c.dead
	}
}
