package product

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/arp"

	"metallb.io/operator/test/lab"
)

// try is how long one request waits for its answer.
const try = time.Second

// Ask makes one request from the machine over "tcp" or "udp" and returns the line that the backend answers.
func (p *Product) Ask(ctx context.Context, machine, network string, to netip.AddrPort) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, try)
	defer cancel()
	c, err := p.Dial(ctx, machine, network, to.String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	if _, err := fmt.Fprintln(c, "hello"); err != nil {
		return "", err
	}
	b := make([]byte, 1500)
	n, err := c.Read(b)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(b[:n]), "\n")
	return line, nil
}

// Answer repeats a request until it is answered, for ten seconds: kube-proxy writes its rules about a second after an
// address or an endpoint has come, and what arrives earlier is lost.
func (p *Product) Answer(ctx context.Context, machine, network string, to netip.AddrPort) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var answer string
	err := Until(ctx, "an answer over "+network+" from "+to.String(), func() (bool, error) {
		var err error
		answer, err = p.Ask(ctx, machine, network, to)
		return err == nil, err
	})
	return answer, err
}

// Answerers sends ARP requests for the address from the LAN client, the first at once and then five a second, and
// returns the MAC addresses that answered within the time, each once, in the order in which they were heard.
func (p *Product) Answerers(address netip.Addr, within time.Duration) ([]string, error) {
	var macs []string
	err := p.InNamespace(lab.Client, func() error {
		nic, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		c, err := arp.Dial(nic)
		if err != nil {
			return err
		}
		defer c.Close()
		end := time.Now().Add(within)
		for next := time.Now(); time.Now().Before(end); {
			if !time.Now().Before(next) {
				if err := c.Request(address); err != nil {
					return err
				}
				next = next.Add(200 * time.Millisecond)
			}
			if err := c.SetReadDeadline(earlier(next, end)); err != nil {
				return err
			}
			reply, _, err := c.Read()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				continue
			}
			if err != nil {
				return err
			}
			if mac := reply.SenderHardwareAddr.String(); reply.Operation == arp.OperationReply && reply.SenderIP == address && !slices.Contains(macs, mac) {
				macs = append(macs, mac)
			}
		}
		return nil
	})
	return macs, err
}

// Reply is an answer to an ARP request.
type Reply struct {
	At      time.Time
	Address netip.Addr
	MAC     string
}

// AskByARP asks for each of the addresses from the LAN client, each interval, until ctx ends. It returns the replies in
// the order in which they came.
func (p *Product) AskByARP(ctx context.Context, interval time.Duration, addresses ...netip.Addr) (replies []Reply, err error) {
	err = p.HearByARP(ctx, interval, func(r Reply) { replies = append(replies, r) }, addresses...)
	return replies, err
}

// HearByARP is AskByARP for a long time: it keeps no reply, but calls heard with each.
func (p *Product) HearByARP(ctx context.Context, interval time.Duration, heard func(Reply), addresses ...netip.Addr) error {
	var c *arp.Client
	err := p.InNamespace(lab.Client, func() error {
		nic, err := net.InterfaceByName("eth0")
		if err == nil {
			c, err = arp.Dial(nic)
		}
		return err
	})
	if err != nil {
		return err
	}
	asked := make(chan error, 1)
	go func() {
		defer c.Close() // ends the reader too
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			for _, a := range addresses {
				if err := c.Request(a); err != nil {
					asked <- err
					return
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				asked <- nil
				return
			}
		}
	}()
	for {
		reply, _, err := c.Read()
		if err != nil {
			return <-asked
		}
		if reply.Operation == arp.OperationReply && slices.Contains(addresses, reply.SenderIP) {
			heard(Reply{time.Now(), reply.SenderIP, reply.SenderHardwareAddr.String()})
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Announcer waits until exactly one node answers ARP requests for the address, and returns it and its MAC address.
func (p *Product) Announcer(ctx context.Context, address netip.Addr) (node, mac string, err error) {
	err = Until(ctx, "one node to answer for "+address.String(), func() (bool, error) {
		macs, err := p.Answerers(address, 300*time.Millisecond)
		if err != nil {
			return false, err
		}
		if len(macs) != 1 {
			return false, fmt.Errorf("answers from %v", macs)
		}
		mac = macs[0]
		node = p.nodeOf(mac)
		return node != "", fmt.Errorf("%s is no node's", mac)
	})
	return node, mac, err
}

func (p *Product) nodeOf(mac string) string {
	for _, n := range p.Nodes() {
		if p.Machine(n).NICs[lab.LAN].MAC.String() == mac {
			return n
		}
	}
	return ""
}

// A Request is one of a Stream's.
type Request struct {
	Sent   time.Time
	Answer string // empty: none
	// Err is why there is no answer.
	Err error
}

// connected says whether the request reached somebody: over UDP that is not known before the answer.
func (r Request) connected() bool {
	var failed *net.OpError
	return !errors.As(r.Err, &failed) || failed.Op != "dial"
}

// Stream sends one request over "tcp" or "udp" from the machine each interval, each from a port of its own and waiting
// up to a second for its answer, until ctx ends. It returns all of them in the order in which they were sent.
func (p *Product) Stream(ctx context.Context, machine, network string, to netip.AddrPort, interval time.Duration) []Request {
	results := make(chan Request)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var all []Request
	sent := 0
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case r := <-results:
			all = append(all, r)
		case <-tick.C:
			sent++
			go func() {
				r := Request{Sent: time.Now()}
				r.Answer, r.Err = p.Ask(context.WithoutCancel(ctx), machine, network, to)
				results <- r
			}()
		}
	}
	for len(all) < sent {
		all = append(all, <-results)
	}
	slices.SortFunc(all, func(a, b Request) int { return a.Sent.Compare(b.Sent) })
	return all
}

// Traffic is several streams at once, each with a name of its own.
type Traffic struct {
	streams map[string]chan []Request
	stop    context.CancelFunc
}

// Users send fifty requests a second over TCP to the address and port from the LAN's client, and as many from the
// machine behind the router, until the traffic is stopped or ctx ends.
func (p *Product) Users(ctx context.Context, to netip.AddrPort) *Traffic {
	ctx, stop := context.WithCancel(ctx)
	t := &Traffic{streams: map[string]chan []Request{}, stop: stop}
	for _, machine := range []string{lab.Client, lab.Remote} {
		stream := make(chan []Request, 1)
		t.streams[machine] = stream
		go func() { stream <- p.Stream(ctx, machine, "tcp", to, 20*time.Millisecond) }()
	}
	return t
}

// Stop ends the traffic and returns how each of its streams fared.
func (t *Traffic) Stop() map[string]Fared {
	t.stop()
	all := map[string]Fared{}
	for name, stream := range t.streams {
		all[name] = How(<-stream)
	}
	return all
}

// Fared is how a stream of requests fared.
type Fared struct {
	// Sent requests; how many of them could not connect, and how many were connected and not answered.
	Sent, Unconnected, Unanswered int
	// Outage is the longest time from an answered request to the next, or to the end.
	Outage time.Duration
	// Failed are the requests without an answer.
	Failed []Request
}

// Lost is the number of requests without an answer.
func (f Fared) Lost() int { return f.Unconnected + f.Unanswered }

// Bearable is what may be lost of a stream while nothing is to be lost at all. A machine on which everything runs at once
// answers a request late now and then; an address that nobody answers for costs all requests, for seconds.
const (
	bearableShare  = 100 // one of so many
	bearableOutage = 2 * time.Second
)

// Check returns an error if more was lost than is bearable, or if there was too little to tell. The figures are the caller's to
// report.
func (f Fared) Check() error {
	if f.Sent < 200 || f.Lost()*bearableShare > f.Sent || f.Outage > bearableOutage {
		return fmt.Errorf("lost %d of %d requests, the longest time without an answer %s:\n%s", f.Lost(), f.Sent, f.Outage.Round(time.Millisecond), f.Failures())
	}
	return nil
}

// String says it in words.
func (f Fared) String() string {
	return fmt.Sprintf("%d requests, %d failed connects, %d connected and not answered, the longest time without an answer %s",
		f.Sent, f.Unconnected, f.Unanswered, f.Outage.Round(time.Millisecond))
}

// Failures says when the requests failed and why, those with the same cause in a row together.
func (f Fared) Failures() string {
	var b strings.Builder
	for i := 0; i < len(f.Failed); {
		first, n := f.Failed[i], 1
		for i+n < len(f.Failed) && cause(f.Failed[i+n]) == cause(first) && f.Failed[i+n].Sent.Sub(f.Failed[i+n-1].Sent) < try {
			n++
		}
		fmt.Fprintf(&b, "%s to %s: %d times %s\n", first.Sent.Format("15:04:05.000"), f.Failed[i+n-1].Sent.Format("15:04:05.000"), n, cause(first))
		i += n
	}
	return b.String()
}

// cause of a failure, without the ports that differ with each request.
func cause(r Request) string {
	if failed := new(net.OpError); errors.As(r.Err, &failed) {
		return fmt.Sprintf("%s: %v", failed.Op, failed.Err)
	}
	return fmt.Sprint(r.Err)
}

// How tells how a stream fared.
func How(stream []Request) Fared {
	f := Fared{Sent: len(stream)}
	var last time.Time
	for _, r := range stream {
		if r.Answer == "" {
			f.Failed = append(f.Failed, r)
		}
		switch {
		case r.Answer != "":
			if !last.IsZero() {
				f.Outage = max(f.Outage, r.Sent.Sub(last))
			}
			last = r.Sent
		case r.connected():
			f.Unanswered++
		default:
			f.Unconnected++
		}
	}
	if len(stream) > 0 && !last.IsZero() {
		f.Outage = max(f.Outage, stream[len(stream)-1].Sent.Sub(last))
	}
	return f
}
