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
}

// Stream sends one UDP request from the LAN client each interval, each from a port of its own and waiting up to a
// second for its answer, until ctx ends. It returns all of them in the order in which they were sent.
func (p *Product) Stream(ctx context.Context, to netip.AddrPort, interval time.Duration) []Request {
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
				r.Answer, _ = p.Ask(context.WithoutCancel(ctx), lab.Client, "udp", to) // no answer is an answer
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

// Outage returns the longest time between two answered requests of the stream that followed each other, and the number
// of requests that were not answered.
func Outage(stream []Request) (longest time.Duration, lost int) {
	var last time.Time
	for _, r := range stream {
		if r.Answer == "" {
			lost++
			continue
		}
		if !last.IsZero() {
			longest = max(longest, r.Sent.Sub(last))
		}
		last = r.Sent
	}
	return longest, lost
}
