package ipam

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var rounds = flag.Int("rounds", 60, "random histories to compare with the oracle")

// pieces of address space; a pool takes some of them, no two pools the same.
var pieces = []string{
	"192.0.2.254-192.0.3.1", "192.0.2.10/31", "198.51.100.7/32", "192.0.2.20-192.0.2.22",
	"2001:db8::/127", "2001:db8::10-2001:db8::12", "2001:db8:1::ff/128",
}

type world struct {
	*rand.Rand
	born int
}

func (w *world) pools() []Pool {
	out := make([]Pool, 1+w.IntN(4))
	for i := range out {
		out[i] = Pool{
			Name:          fmt.Sprintf("pool%d", i),
			AutoAssign:    w.IntN(4) > 0,
			AvoidBuggyIPs: w.IntN(4) == 0,
			Pinned:        w.IntN(3) == 0,
			Priority:      w.IntN(3),
			Incomplete:    w.IntN(6) == 0,
		}
	}
	for _, i := range w.Perm(len(pieces)) {
		if w.IntN(6) > 0 {
			r, err := ParseRange(pieces[i])
			if err != nil {
				panic(err)
			}
			p := &out[w.IntN(len(out))]
			p.Ranges = append(p.Ranges, r)
		}
	}
	for i := range out {
		if w.IntN(3) == 0 {
			out[i].NamespaceQuota = 1 + w.IntN(3)
		}
		out[i].Reserved = map[netip.Addr]string{}
		for _, addr := range listAddresses(out[i]) {
			if w.IntN(5) == 0 {
				out[i].Reserved[addr] = fmt.Sprintf("reservation%d", w.IntN(3))
			}
		}
	}
	return out
}

// numbered names one of the Services, which are of two namespaces.
func numbered(i int) Key { return Key{fmt.Sprintf("ns%d", i%2), fmt.Sprintf("s%02d", i)} }

func (w *world) request(key Key) Request {
	w.born++
	req := Request{
		Key:         key,
		Created:     time.Unix(int64(w.born/2), 0), // some at the same second
		Families:    [][]Family{{IPv4}, {IPv4}, {IPv6}, {IPv4, IPv6}, {IPv6, IPv4}}[w.IntN(5)],
		OneIsEnough: w.IntN(2) == 0,
		SharingKey:  []string{"", "", "x", "y"}[w.IntN(4)],
		BackendKey:  []string{"", "", "Local:a"}[w.IntN(3)],
		KeepOnly:    w.IntN(20) == 0,
		Refused:     map[string]string{},
	}
	for _, i := range w.Perm(3) {
		if w.IntN(6) == 0 {
			req.Reservations = append(req.Reservations, fmt.Sprintf("reservation%d", i))
		}
	}
	for range 1 + w.IntN(2) {
		req.Ports = append(req.Ports, Port{[]string{"TCP", "UDP"}[w.IntN(2)], int32(w.IntN(3))})
	}
	if w.IntN(4) == 0 {
		req.Pool = fmt.Sprintf("pool%d", w.IntN(5))
	}
	if w.IntN(4) == 0 {
		req.Refused[fmt.Sprintf("pool%d", w.IntN(4))] = "is for others"
	}
	if w.IntN(4) == 0 {
		for _, f := range req.Families {
			text := []string{"192.0.2.10", "192.0.2.11", "192.0.2.255", "192.0.2.20", "203.0.113.1"}[w.IntN(5)]
			if f == IPv6 {
				text = []string{"2001:db8::1", "2001:db8::10", "2001:db8::11", "2001:db8:9::"}[w.IntN(4)]
			}
			req.Addresses = append(req.Addresses, netip.MustParseAddr(text))
		}
	}
	return req
}

type outcome struct {
	Addresses []netip.Addr
	Fulfilled bool
}

func addresses(a *Allocator) map[Key]outcome {
	out := map[Key]outcome{}
	for key, s := range a.services {
		out[key] = outcome{append([]netip.Addr{}, s.res.Addresses...), s.res.Reason == Assigned}
	}
	return out
}

func (o *oracle) addresses() map[Key]outcome {
	out := map[Key]outcome{}
	for key, s := range o.services {
		out[key] = outcome{append([]netip.Addr{}, s.addrs...), s.ok}
	}
	return out
}

// inUse lists the addresses in use, and makes sure that each is where it is looked for, and that no block is kept for nothing.
func inUse(t *testing.T, a *Allocator, when string) map[netip.Addr]*holding {
	t.Helper()
	out := map[netip.Addr]*holding{}
	for first, b := range a.held {
		n := len(out)
		for _, h := range b {
			if h == nil {
				continue
			}
			if out[h.addr] = h; a.held.of(h.addr) != h {
				t.Fatalf("%s: %s is in the block of %s", when, h.addr, first)
			}
		}
		if len(out) == n {
			t.Fatalf("%s: nothing is in the block of %s", when, first)
		}
	}
	return out
}

// check makes sure of what must always hold, whatever happened.
func check(t *testing.T, a *Allocator, pools []Pool, when string) {
	t.Helper()
	all := slices.Collect(maps.Values(a.services))
	for key, ghosts := range a.leaving {
		if len(ghosts) == 0 || slices.ContainsFunc(ghosts, func(g *service) bool { return len(g.res.Addresses) == 0 }) {
			t.Fatalf("%s: a ghost of %s has nothing", when, key)
		}
		all = append(all, ghosts...)
	}
	checkBooks(t, a, when)
	for i, x := range all {
		for _, y := range all[:i] {
			if x.req.Key == y.req.Key {
				continue
			}
			for _, addr := range x.res.Addresses {
				if h := a.held.of(addr); h == nil || !slices.Contains(h.users, x) || !slices.Contains(h.users, y) {
					continue // a ghost that remembers only
				}
				if slices.Contains(y.res.Addresses, addr) && !mayShare(x.req, y.req) {
					t.Fatalf("%s: %s is given to %s and to %s", when, addr, x.req.Key, y.req.Key)
				}
			}
		}
	}
	for _, u := range a.Usage() {
		i := slices.IndexFunc(pools, func(p Pool) bool { return p.Name == u.Pool })
		want := Usage{Pool: u.Pool}
		listed := listAddresses(pools[i])
		for addr, h := range inUse(t, a, when) {
			switch {
			case h.pool.Name != u.Pool || slices.Contains(listed, addr):
			case addr.Is4():
				want.Outside4++
			default:
				want.Outside6++
			}
		}
		for _, s := range a.services {
			if s.res.Pool == u.Pool {
				want.Services++
			}
		}
		for addr := range pools[i].Reserved {
			switch used := a.held.of(addr) != nil; {
			case used || !slices.Contains(listed, addr):
			case addr.Is4():
				want.Reserved4++
			default:
				want.Reserved6++
			}
		}
		for _, addr := range listed {
			used := a.held.of(addr) != nil
			switch {
			case addr.Is4() && used:
				want.Used4++
				fallthrough
			case addr.Is4():
				want.Size4++
			case used:
				want.Used6++
				fallthrough
			default:
				want.Size6++
			}
		}
		if want != u {
			t.Fatalf("%s: usage is %+v, should be %+v", when, u, want)
		}
	}
}

// checkBooks makes sure that what the allocator counts and remembers of Services is so.
func checkBooks(t *testing.T, a *Allocator, when string) {
	t.Helper()
	var waiting []Key
	asking := 0
	for key, s := range a.services {
		pool := ""
		for i, addr := range s.res.Addresses {
			if h := a.held.of(addr); i == 0 || h.outside() {
				pool = h.pool.Name
			}
		}
		if s.res.Pool != pool {
			t.Fatalf("%s: the pool of %s is said to be %q, should be %q", when, key, s.res.Pool, pool)
		}
		if !s.req.KeepOnly && (s.res.Reason != Assigned || len(s.res.Addresses) < len(s.req.Families)) {
			waiting = append(waiting, key)
			if len(s.req.Addresses) > 0 {
				asking++
			}
		}
	}
	slices.SortFunc(waiting, func(x, y Key) int { return compareRequests(&a.services[x].req, &a.services[y].req) })
	var got []Key
	for _, s := range a.waiting {
		got = append(got, s.req.Key)
	}
	given := map[*pool]map[quota]int{}
	for addr, h := range inUse(t, a, when) {
		if given[h.pool] == nil {
			given[h.pool] = map[quota]int{}
		}
		namespaces := map[string]bool{}
		for _, u := range h.users {
			if ns := u.req.Key.Namespace; h.pool.NamespaceQuota > 0 && !namespaces[ns] {
				namespaces[ns] = true
				given[h.pool][quota{ns, FamilyOf(addr)}]++
			}
		}
	}
	for _, p := range a.pools {
		if !maps.Equal(p.given, given[p]) {
			t.Fatalf("%s: pool %s has given %v, should be %v", when, p.Name, p.given, given[p])
		}
	}
	if len(a.touched)+len(a.recounted) > 0 {
		t.Fatalf("%s: %v are still to be handed over", when, a.touched)
	}
	if !slices.Equal(got, waiting) || a.asking != asking {
		t.Fatalf("%s: waiting are %v, of whom %d ask for certain addresses; should be %v, %d", when, got, a.asking, waiting, asking)
	}
}

// TestOrderDoesNotMatter rebuilds from the same claims in many orders.
func TestOrderDoesNotMatter(t *testing.T) {
	for seed := range uint64(*rounds) {
		w := &world{Rand: rand.New(rand.NewPCG(seed, 2))}
		pools := w.pools()
		var claims []Claim
		for i := range 14 {
			c := Claim{Request: w.request(numbered(i))}
			for _, f := range c.Families {
				if w.IntN(2) == 0 { // often the same address as another
					addrs := []string{"192.0.2.10", "192.0.2.255", "192.0.2.20", "203.0.113.1"}
					if f == IPv6 {
						addrs = []string{"2001:db8::1", "2001:db8::10", "2001:db8:9::"}
					}
					c.Held = append(c.Held, netip.MustParseAddr(addrs[w.IntN(len(addrs))]))
					c.HeldFrom = "pool0"
				}
			}
			claims = append(claims, c)
		}
		first := Rebuild(pools, claims, nil)
		want := addresses(first)
		if diff := cmp.Diff(newOracle(pools, claims, nil).addresses(), want, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Fatalf("seed %d (-oracle +allocator):\n%s", seed, diff)
		}
		for range 5 {
			w.Shuffle(len(claims), func(i, j int) { claims[i], claims[j] = claims[j], claims[i] })
			w.Shuffle(len(pools), func(i, j int) { pools[i], pools[j] = pools[j], pools[i] })
			again := Rebuild(pools, claims, nil)
			for key, s := range first.services {
				if res, _ := again.Lookup(key); !res.Equal(s.res) {
					t.Fatalf("seed %d: %s gets %+v in one order and %+v in another", seed, key, s.res, res)
				}
			}
			check(t, again, pools, fmt.Sprintf("seed %d", seed))
		}
	}
}
