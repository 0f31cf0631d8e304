package l2

import (
	"container/heap"
	"net/netip"
	"time"
)

// Claim says when the rounds of gratuitous frames go out, counted from the moment that a node begins to answer for an
// address on an interface. The first says it at once, the second makes up for a frame that was lost; later ones are more
// than a second apart because Linux ignores a change of a neighbour's hardware address within a second of the last one
// (net.ipv4.neigh.default.locktime), and last long enough for a switch port that forwards nothing in its first seconds.
var Claim = [...]time.Duration{
	0,
	100 * time.Millisecond,
	1200 * time.Millisecond,
	2300 * time.Millisecond,
	3400 * time.Millisecond,
	4500 * time.Millisecond,
	10 * time.Second,
}

// Refresh is the least time between two rounds once the claim is made; the most is twice that. Switches forget a
// station after 300 s of silence, while routers keep its ARP entry for 20 minutes and more.
const Refresh = 60 * time.Second

// refreshEvery is the refresh interval of an address: a value of its own between Refresh and twice Refresh, so that
// thousands of addresses that came together are not refreshed together for ever.
func refreshEvery(a netip.Addr) time.Duration {
	h := uint32(2166136261)
	for _, b := range a.As16() {
		h = (h ^ uint32(b)) * 16777619
	}
	return Refresh + time.Duration(h%uint32(Refresh/time.Millisecond))*time.Millisecond
}

// Offset returns when the n-th round for an address is due, counted from its beginning.
func Offset(a netip.Addr, n int) time.Duration {
	if n < len(Claim) {
		return Claim[n]
	}
	return Claim[len(Claim)-1] + time.Duration(n-len(Claim)+1)*refreshEvery(a)
}

// Schedule holds when gratuitous frames are due for each of a set of addresses. The zero Schedule is empty and ready.
type Schedule struct {
	queue   queue
	entries map[netip.Addr]*scheduled
}

type scheduled struct {
	address netip.Addr
	began   time.Time
	due     time.Time
	round   int
	at      int // in the queue
}

// Begin starts the rounds for an address anew.
func (s *Schedule) Begin(a netip.Addr, now time.Time) {
	s.End(a)
	if s.entries == nil {
		s.entries = map[netip.Addr]*scheduled{}
	}
	e := &scheduled{address: a, began: now, due: now.Add(Offset(a, 0))}
	s.entries[a] = e
	heap.Push(&s.queue, e)
}

// End forgets an address.
func (s *Schedule) End(a netip.Addr) {
	if e, ok := s.entries[a]; ok {
		heap.Remove(&s.queue, e.at)
		delete(s.entries, a)
	}
}

// Due returns the addresses whose next round is due and moves them on. A round that was missed altogether is not made up
// for: one frame now says all that several would.
func (s *Schedule) Due(now time.Time) []netip.Addr {
	var out []netip.Addr
	for len(s.queue) > 0 && !s.queue[0].due.After(now) {
		e := s.queue[0]
		out = append(out, e.address)
		for !e.due.After(now) {
			e.round++
			e.due = e.began.Add(Offset(e.address, e.round))
		}
		heap.Fix(&s.queue, 0)
	}
	return out
}

// Next returns when Due has something to return; ok is false while there are no addresses.
func (s *Schedule) Next() (next time.Time, ok bool) {
	if len(s.queue) == 0 {
		return time.Time{}, false
	}
	return s.queue[0].due, true
}

// queue is a heap by due time.
type queue []*scheduled

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

func (q *queue) Push(x any) {
	e := x.(*scheduled)
	e.at = len(*q)
	*q = append(*q, e)
}

func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}
