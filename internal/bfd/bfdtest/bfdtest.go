// Package bfdtest runs BFD sessions in a process that a test talks to, one line of JSON a message: so a test has a peer in
// another network namespace, or a process to kill. It decides nothing.
package bfdtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"metallb.io/operator/internal/bfd/udp"
)

// Request is what the process is told: Sync with the sessions, Status, or Close, which also ends it.
type Request struct {
	Op       string
	Sessions []udp.Session `json:",omitempty"`
	// Within bounds Close.
	Within time.Duration `json:",omitempty"`
}

// Reply is what it answers, and, with Change set, what it says by itself as soon as it knows.
type Reply struct {
	Change *udp.Change `json:",omitempty"`
	// At is when the program that relies on the session would know of the change.
	At     time.Time
	Status []udp.Status `json:",omitempty"`
	// Errors are those of Status, in its order; Error is that of the request.
	Errors  []string `json:",omitempty"`
	Error   string   `json:",omitempty"`
	Dropped []uint64 `json:",omitempty"`
}

// Serve does what the lines say until there are no more or one says Close. Without Close it ends as a process does that is
// killed: nobody is told.
func Serve(in io.Reader, out io.Writer, log *slog.Logger) error {
	s := udp.New(udp.Options{Log: log})
	return NewFront(s).Talk(in, out)
}

// Front is a Server as tests see it.
type Front struct {
	*udp.Server

	mu      sync.Mutex
	outputs map[*json.Encoder]struct{}
	done    chan struct{}
}

// NewFront begins to pass the changes of a Server on.
func NewFront(s *udp.Server) *Front {
	f := &Front{Server: s, outputs: map[*json.Encoder]struct{}{}, done: make(chan struct{})}
	go func() {
		for {
			select {
			case <-f.done:
				return
			case <-s.Changed():
			}
			now := time.Now()
			for _, c := range s.Changes() {
				f.mu.Lock()
				for o := range f.outputs {
					_ = o.Encode(Reply{Change: &c, At: now})
				}
				f.mu.Unlock()
			}
		}
	}()
	return f
}

// Talk serves one who asks, until it has no more to ask or says Close.
func (f *Front) Talk(in io.Reader, out io.Writer) error {
	enc := json.NewEncoder(out)
	f.mu.Lock()
	f.outputs[enc] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.outputs, enc)
		f.mu.Unlock()
	}()
	for dec := json.NewDecoder(bufio.NewReader(in)); ; {
		var r Request
		if err := dec.Decode(&r); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		reply, end := f.do(r)
		f.mu.Lock()
		err := enc.Encode(reply)
		f.mu.Unlock()
		if err != nil || end {
			return err
		}
	}
}

func (f *Front) do(r Request) (reply Reply, end bool) {
	var err error
	switch r.Op {
	case "Sync":
		reply.Status, err = f.Sync(r.Sessions)
	case "Status":
		reply.Status = f.Status()
		dropped := f.Dropped()
		reply.Dropped = dropped[:]
	case "Close":
		ctx, cancel := context.WithTimeout(context.Background(), max(r.Within, time.Second))
		defer cancel()
		close(f.done)
		err, end = f.Close(ctx), true
	default:
		err = fmt.Errorf("no request %q", r.Op)
	}
	if err != nil {
		reply.Error = err.Error()
	}
	for i := range reply.Status {
		text := ""
		if err := reply.Status[i].Err; err != nil {
			text = err.Error()
		}
		reply.Errors = append(reply.Errors, text)
		reply.Status[i].Err = nil // an error has no form in JSON
	}
	reply.At = time.Now()
	return reply, end
}
