// Package discovery finds the router at the other end of a link, by the router advertisements that it sends (RFC 4861), and
// has it find this node in the same way. That is all that two ends of an "unnumbered" BGP session know of each other. It
// needs CAP_NET_RAW, and is no responder for the addresses of Services: those are others' business.
package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"metallb.io/operator/internal/linklocal"
)

// look is how often the interface is looked at: whether it is there, and up.
const look = time.Second

// Link is an interface of this node, whether it is there or not. It is safe for concurrent use.
type Link struct {
	name    string
	log     *slog.Logger
	changed chan struct{}
	end     context.CancelFunc
	over    sync.WaitGroup

	mu     sync.Mutex
	router netip.Addr
	why    error // why there is none
}

// Open begins to look for a router by an interface, and advertises this node there until Close.
func Open(name string, log *slog.Logger) *Link {
	ctx, end := context.WithCancel(context.Background())
	l := &Link{name: name, log: log, changed: make(chan struct{}, 1), end: end, why: fmt.Errorf("no router has been looked for on %s yet", name)}
	l.over.Go(func() { l.run(ctx) })
	return l
}

// Close ends it.
func (l *Link) Close() {
	l.end()
	l.over.Wait()
}

// Router is the link-local address of the router, with the name of the interface as its zone. The error says in words why
// none is known.
func (l *Link) Router() (netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.router, l.why
}

// Changed signals that Router has something new.
func (l *Link) Changed() <-chan struct{} { return l.changed }

func (l *Link) set(router netip.Addr, why error) {
	l.mu.Lock()
	different := l.router != router || (l.why == nil) != (why == nil) || why != nil && l.why.Error() != why.Error()
	moved := l.router != router
	l.router, l.why = router, why
	l.mu.Unlock()
	if moved {
		l.log.Info("router discovery", "interface", l.name, "router", router, "error", why)
	}
	if different {
		select {
		case l.changed <- struct{}{}:
		default:
		}
	}
}

// run listens for as long as the interface lets it, again and again.
func (l *Link) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := l.listen(ctx); ctx.Err() == nil {
			l.set(netip.Addr{}, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(look):
		}
	}
}

// Local is the link-local address from which the kernel sends by an interface; the error says in words why there is none.
func Local(name string) (netip.Addr, error) {
	ifi, err := net.InterfaceByName(name)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("this node has no interface %s", name)
	case ifi.Flags&net.FlagUp == 0:
		return netip.Addr{}, fmt.Errorf("interface %s is down", name)
	case ifi.Flags&net.FlagRunning == 0:
		return netip.Addr{}, fmt.Errorf("interface %s has no carrier", name)
	}
	if a, err := linklocal.Of(ifi.Index); err == nil && a.IsValid() {
		return a.WithZone(name), nil
	}
	return netip.Addr{}, fmt.Errorf("interface %s has no IPv6 link-local address that can be used", name)
}

// ByNumber has an address name its interface by the number, if there is such an interface: package net remembers the numbers of
// names for a minute, in which an interface may have been made anew.
func ByNumber(a netip.Addr) netip.Addr {
	if ifi, err := net.InterfaceByName(a.Zone()); err == nil {
		return a.WithZone(strconv.Itoa(ifi.Index))
	}
	return a
}

// listen hears routers and advertises this node until something is wrong, and says what.
func (l *Link) listen(ctx context.Context) error {
	if _, err := Local(l.name); err != nil {
		return err
	}
	ifi, err := net.InterfaceByName(l.name)
	if err != nil {
		return err
	}
	conn, err := open(ctx, ifi)
	if err != nil {
		return fmt.Errorf("no router can be looked for on interface %s: %w", l.name, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	l.set(netip.Addr{}, fmt.Errorf("no router has been heard on interface %s: it must send router advertisements there", l.name))
	var (
		heard choice
		last  time.Time // our advertisement
		due   = time.Now()
		buf   = make([]byte, 1500)
	)
	for {
		if !time.Now().Before(due) {
			if heard.open() {
				if err := send(conn, ifi, allRouters, solicitation(ifi.HardwareAddr)); err != nil {
					return l.cannotSend(err)
				}
				heard.asked()
				l.found(heard)
			}
			if err := send(conn, ifi, allNodes, advertisement(ifi.HardwareAddr)); err != nil {
				return l.cannotSend(err)
			}
			last = time.Now()
			due = last.Add(pace)
		}
		kind, from, err := receive(conn, buf, earlier(due, time.Now().Add(look)))
		switch {
		case errors.Is(err, unix.ENETDOWN), errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // the time is over
			if err := l.same(ifi); err != nil {
				return err
			}
		case kind == typeSolicitation:
			due = earlier(due, last.Add(leastGap))
		case kind == typeAdvertisement:
			before := heard
			if heard.heard(from.WithZone(l.name)); heard != before {
				due = earlier(due, last.Add(leastGap)) // it may not know us, or is to say whether it is still there
			}
			l.found(heard)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (l *Link) cannotSend(err error) error {
	return fmt.Errorf("interface %s: %w", l.name, err)
}

func (l *Link) found(c choice) {
	if c.router.IsValid() {
		l.set(c.router, nil)
	}
}

// same says what has become of an interface; nil: nothing.
func (l *Link) same(ifi *net.Interface) error {
	if _, err := Local(l.name); err != nil {
		return err
	}
	now, err := net.InterfaceByName(l.name)
	if err != nil || now.Index != ifi.Index || now.HardwareAddr.String() != ifi.HardwareAddr.String() {
		return fmt.Errorf("interface %s is another one now", l.name)
	}
	return nil
}

// open opens a raw socket for the two messages on an interface.
func open(ctx context.Context, ifi *net.Interface) (*ipv6.PacketConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), ifi.Name) }); e != nil {
			return e
		}
		return err
	}}
	raw, err := config.ListenPacket(ctx, "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, err
	}
	c := ipv6.NewPacketConn(raw)
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterSolicitation)
	only.Accept(ipv6.ICMPTypeRouterAdvertisement)
	if err := errors.Join(
		c.SetICMPFilter(&only), c.SetControlMessage(ipv6.FlagHopLimit, true), c.SetMulticastInterface(ifi), c.SetMulticastHopLimit(hopLimit),
		c.SetMulticastLoopback(false), c.JoinGroup(ifi, &net.IPAddr{IP: allRouters.AsSlice()}),
	); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func send(c *ipv6.PacketConn, ifi *net.Interface, to netip.Addr, m []byte) error {
	_, err := c.WriteTo(m, nil, &net.IPAddr{IP: to.AsSlice(), Zone: strconv.Itoa(ifi.Index)})
	return err
}

// receive waits for a message until a time. Kind is 0 for one that does not count.
func receive(c *ipv6.PacketConn, buf []byte, until time.Time) (kind byte, from netip.Addr, err error) {
	if err := c.SetReadDeadline(until); err != nil {
		return 0, from, err
	}
	n, control, source, err := c.ReadFrom(buf)
	if err != nil {
		return 0, from, err
	}
	address, ok := source.(*net.IPAddr)
	if !ok || control == nil {
		return 0, from, nil
	}
	from, _ = netip.AddrFromSlice(address.IP)
	return valid(buf[:n], from, control.HopLimit), from, nil
}
