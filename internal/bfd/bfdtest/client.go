package bfdtest

import (
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"metallb.io/operator/internal/bfd/udp"
)

// Client talks to Serve.
type Client struct {
	enc *json.Encoder

	mu      sync.Mutex
	changes []Reply
	replies chan Reply
}

// NewClient begins to read what the process says.
func NewClient(in io.Reader, out io.Writer) *Client {
	c := &Client{enc: json.NewEncoder(out), replies: make(chan Reply, 1)}
	go func() {
		defer close(c.replies)
		for dec := json.NewDecoder(in); ; {
			var r Reply
			if dec.Decode(&r) != nil {
				return
			}
			if r.Change == nil {
				c.replies <- r
				continue
			}
			c.mu.Lock()
			c.changes = append(c.changes, r)
			c.mu.Unlock()
		}
	}()
	return c
}

// Changes returns all changes so far.
func (c *Client) Changes() []Reply {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Reply(nil), c.changes...)
}

// Ask sends a request and returns its reply.
func (c *Client) Ask(r Request) (Reply, error) {
	if err := c.enc.Encode(r); err != nil {
		return Reply{}, err
	}
	select {
	case reply, ok := <-c.replies:
		if !ok {
			return Reply{}, errors.New("the process has ended")
		}
		if reply.Error != "" {
			return reply, errors.New(reply.Error)
		}
		return reply, nil
	case <-time.After(30 * time.Second):
		return Reply{}, errors.New("no reply within 30s")
	}
}

// Sync asks for sessions.
func (c *Client) Sync(sessions ...udp.Session) (Reply, error) {
	return c.Ask(Request{Op: "Sync", Sessions: sessions})
}

// Status asks for the status.
func (c *Client) Status() (Reply, error) { return c.Ask(Request{Op: "Status"}) }
