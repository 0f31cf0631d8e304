package product

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// saidEvery is the time between two messages of a conversation, if they are answered in it.
	saidEvery = 20 * time.Millisecond
	// tcpTry is how long a message over TCP waits for its answer: what is lost is sent again, after ever longer pauses.
	tcpTry = 10 * time.Second
)

// Conversation is one TCP connection, or one UDP socket, on which a message is sent all the while, the next one when the one
// before was answered.
type Conversation struct {
	stop context.CancelFunc
	done chan Conversed
}

// Conversed is what became of a conversation.
type Conversed struct {
	// Sent messages, and how many of them were not answered in time.
	Sent, Unanswered int
	// Pods that answered: more than one where it was not one connection to the end.
	Pods []string
	// Longest time from a message to its answer.
	Longest time.Duration
	// Err is why it ended before it was stopped.
	Err error
}

// Converse opens a connection over "tcp" or "udp" from the machine, and sends up to fifty messages a second on it until it is
// stopped or ctx ends.
func (p *Product) Converse(ctx context.Context, machine, network string, to netip.AddrPort) (*Conversation, error) {
	conn, err := p.Dial(ctx, machine, network, to.String())
	if err != nil {
		return nil, err
	}
	patience := try
	if network == "tcp" {
		patience = tcpTry
	}
	ctx, stop := context.WithCancel(ctx)
	c := &Conversation{stop: stop, done: make(chan Conversed, 1)}
	go func() {
		defer conn.Close()
		c.done <- converse(ctx, conn, patience)
	}()
	return c, nil
}

// Stop ends the conversation and tells how it went.
func (c *Conversation) Stop() Conversed {
	c.stop()
	return <-c.done
}

// Check returns an error if not all was answered, by one and the same pod.
func (c Conversed) Check() error {
	if c.Err != nil || c.Unanswered > 0 || c.Sent == 0 || len(c.Pods) != 1 {
		return errors.Join(fmt.Errorf("a conversation did not live on: %s", c), c.Err)
	}
	return nil
}

// String says it in words.
func (c Conversed) String() string {
	return fmt.Sprintf("%d messages on one connection, %d not answered, the longest wait for an answer %s, answers from %s",
		c.Sent, c.Unanswered, c.Longest.Round(time.Millisecond), strings.Join(c.Pods, " and "))
}

func converse(ctx context.Context, conn net.Conn, patience time.Duration) (c Conversed) {
	tick := time.NewTicker(saidEvery)
	defer tick.Stop()
	r := bufio.NewReader(conn) // an answer over UDP is a line in a packet of its own, which fits
	for ctx.Err() == nil {
		sent := time.Now()
		if _, c.Err = fmt.Fprintln(conn, c.Sent); c.Err != nil {
			return c
		}
		pod, err := hear(conn, r, c.Sent, sent.Add(patience))
		c.Sent++
		var slow net.Error
		switch {
		case err == nil:
			c.Longest = max(c.Longest, time.Since(sent))
			if !slices.Contains(c.Pods, pod) {
				c.Pods = append(c.Pods, pod)
			}
		case errors.As(err, &slow) && slow.Timeout():
			c.Unanswered++
		default:
			c.Err = err
			return c
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return c
}

// hear waits for the answer to message n, past late ones to those before it, and returns the pod that it is from.
func hear(conn net.Conn, r *bufio.Reader, n int, deadline time.Time) (pod string, err error) {
	if err := conn.SetReadDeadline(deadline); err != nil {
		return "", err
	}
	// What was sent stands at the end, quoted, over UDP with its newline.
	want := []string{fmt.Sprintf("%q", fmt.Sprint(n)), fmt.Sprintf("%q", fmt.Sprintln(n))}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if fields := strings.Fields(line); len(fields) > 2 && slices.Contains(want, fields[len(fields)-1]) {
			return strings.TrimPrefix(fields[1], "pod="), nil
		}
	}
}
