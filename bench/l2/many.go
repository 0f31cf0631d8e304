package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"metallb.io/operator/bench"
)

// many begins to answer for very many IPv6 addresses, each in a solicited-node group of its own, and asks for each.
func many(_ context.Context, _ options, samples bench.Samples) error {
	n, err := startNode("many0")
	if err != nil {
		return err
	}
	defer n.close()
	wanted := blocks("2001:db8::%x:0")
	all := addresses(wanted...)
	began := time.Now()
	var d done
	var refused error
	told := make(chan struct{})
	go func() {
		d, refused = n.answer(wanted...)
		close(told)
	}()
	claimed := map[netip.Addr]bool{}
	for len(claimed) < len(all) {
		a, _, err := n.next(all[0])
		switch {
		case err == nil:
			claimed[a] = true
		case !errors.Is(err, errSilence) || time.Since(began) > time.Minute:
			return fmt.Errorf("%d of %d addresses are claimed: %w", len(claimed), len(all), err)
		default:
			select {
			case <-told:
				if refused != nil {
					return refused
				}
			default:
			}
		}
	}
	claims := time.Since(began)
	if <-told; refused != nil {
		return refused
	}
	ready := max(claims, d.Took)
	asking := time.Now()
	unanswered := 0
	for _, a := range all {
		if _, err := n.ask(a); errors.Is(err, errSilence) {
			unanswered++
		} else if err != nil {
			return err
		}
	}
	groups, err := n.groups()
	if err != nil {
		return err
	}
	fmt.Printf("%d IPv6 addresses: all claimed after %.2f s, their groups joined after %.2f s; asked for each within %.2f s: %d not answered; %d groups\n",
		len(all), claims.Seconds(), d.Took.Seconds(), time.Since(asking).Seconds(), unanswered, groups)
	samples.Add(bench.ManyReady, 0, ready.Seconds())
	samples.Add(bench.ManyUnanswered, 0, float64(max(unanswered, len(all)-groups)))
	return nil
}

// groups is how many solicited-node groups the node's kernel is a member of on its interface, besides those of its own
// addresses.
func (n *node) groups() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/igmp6", n.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	count := -2 // the link-local address's, and the other one's
	for line := range bytes.Lines(text) {
		f := bytes.Fields(line)
		if len(f) > 2 && string(f[1]) == nodeInterface && bytes.HasPrefix(f[2], []byte("ff0200000000000000000001ff")) {
			count++
		}
	}
	return count, nil
}
