package check

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// defendInterval is the least time between two defences of an address against the same holder (DEFEND_INTERVAL of RFC 5227
	// section 1.1), and anewInterval where one has come since: two hosts that both defend an address never get there.
	defendInterval, anewInterval = 10 * time.Second, time.Second
	// reopenInterval is the least time between two times that a socket is opened anew. It doubles each time, up to the longest:
	// where that does not help, all addresses would be claimed anew in vain.
	reopenInterval, longestReopenInterval = 10 * time.Second, 5 * time.Minute
)

// Repairs says what to do about problems. Against a machine that has an address of ours the owner defends it, as a host that
// must not give an address up (RFC 5227 section 2.4, c). Where answers do not arrive it opens the interface's socket anew. The
// zero Repairs have done nothing and are ready.
type Repairs struct {
	defended map[netip.Addr]time.Time
	reopened map[string]reopening
}

type reopening struct {
	at   time.Time
	wait time.Duration
}

// Due returns the addresses to claim anew and the interfaces whose sockets to open anew, now, for these problems.
func (r *Repairs) Due(problems []Problem, now time.Time) (defend []netip.Addr, reopen []string) {
	for a, at := range r.defended {
		if now.Sub(at) >= defendInterval {
			delete(r.defended, a)
		}
	}
	for name, x := range r.reopened {
		if now.Sub(x.at) >= 2*x.wait {
			delete(r.reopened, name)
		}
	}
	for _, p := range problems {
		switch p.Reason {
		case ForeignHolder:
			if at, done := r.defended[p.Address]; !done || p.Since.After(at) && now.Sub(at) >= anewInterval {
				if r.defended == nil {
					r.defended = map[netip.Addr]time.Time{}
				}
				r.defended[p.Address] = now
				defend = append(defend, p.Address)
			}
		case NotAnswered:
			x, done := r.reopened[p.Interface]
			if done && now.Sub(x.at) < x.wait {
				continue
			}
			if r.reopened == nil {
				r.reopened = map[string]reopening{}
			}
			r.reopened[p.Interface] = reopening{now, min(max(2*x.wait, reopenInterval), longestReopenInterval)}
			reopen = append(reopen, p.Interface)
		}
	}
	slices.Sort(reopen)
	return defend, reopen
}
