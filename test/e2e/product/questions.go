package product

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/arp"

	"metallb.io/operator/test/lab"
)

// Question is an ARP request with the replies to it.
type Question struct {
	Asked   time.Time
	Replies []Reply
}

// Questions are told apart by the address that they come from, of the network for benchmarks (198.18.0.0/15, RFC 2544): the
// client's kernel asks too, and replies that nobody asked for are claims.
const (
	firstAsker = 198<<24 | 18<<16
	askers     = 1 << 17
	// late is how long replies are waited for after the last question.
	late = time.Second
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Question asks for the address from the LAN client, each interval, until ctx ends. It returns the questions in the order in
// which they were asked.
func (p *Product) Question(ctx context.Context, interval time.Duration, address netip.Addr) ([]Question, error) {
	var c *arp.Client
	err := p.InNamespace(lab.Client, func() error {
		nic, err := net.InterfaceByName("eth0")
		if err == nil {
			c, err = arp.Dial(nic)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var (
		mu    sync.Mutex
		all   []Question
		ended = make(chan error, 1)
	)
	ask := func() error {
		mu.Lock()
		n := len(all)
		all = append(all, Question{Asked: time.Now()})
		mu.Unlock()
		packet, err := arp.NewPacket(arp.OperationRequest, c.HardwareAddr(), asker(n), make(net.HardwareAddr, 6), address)
		if err != nil {
			return err
		}
		return c.WriteTo(packet, broadcast)
	}
	go func() {
		defer c.Close() // ends the reader too
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			if err := ask(); err != nil {
				ended <- err
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				time.Sleep(late)
				ended <- nil
				return
			}
		}
	}()
	for {
		reply, _, err := c.Read()
		if err != nil {
			err = <-ended
			return all, err
		}
		if reply.Operation != arp.OperationReply || reply.SenderIP != address {
			continue
		}
		mu.Lock()
		if n, ok := asked(reply.TargetIP, len(all)); ok {
			all[n].Replies = append(all[n].Replies, Reply{time.Now(), reply.SenderIP, reply.SenderHardwareAddr.String()})
		}
		mu.Unlock()
	}
}

// asker is where the n-th question comes from.
func asker(n int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], firstAsker+uint32(n%askers))
	return netip.AddrFrom4(b)
}

// asked is which of so many questions came from the address: the last that did.
func asked(from netip.Addr, so int) (n int, ok bool) {
	if !from.Is4() || so == 0 {
		return 0, false
	}
	b := from.As4()
	id := int(binary.BigEndian.Uint32(b[:])) - firstAsker
	if id < 0 || id >= askers {
		return 0, false
	}
	n = (so-1)/askers*askers + id
	if n >= so {
		n -= askers
	}
	return n, n >= 0
}
