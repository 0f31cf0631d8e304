package ipam

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// history is a random story of Services and of the controllers that serve them. What the API server knows outlives every
// controller: specifications, and what was written into status. What a controller has decided and not written is lost
// with it.
type history struct {
	*world
	t        *testing.T
	seed     uint64
	step     int
	what     string
	pools    []Pool
	services map[Key]*stored
	a        *Allocator
	o        *oracle
	done     map[string]int // operations by kind
}

// stored is a Service as the API server has it.
type stored struct {
	req    Request
	theirs bool // of another load balancer now
	// status and the pool that it names.
	status []netip.Addr
	from   string
	// under is the request under which each address of the status was last held.
	under map[netip.Addr]Request
	// doubtful: at a start its status showed an address of somebody with whom it may not share it.
	doubtful bool
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{world: &world{Rand: rand.New(rand.NewPCG(seed, 1))}, t: t, seed: seed, services: map[Key]*stored{}, done: map[string]int{}}
	h.pools = h.world.pools()
	h.a, h.o = Rebuild(h.pools, nil, nil), newOracle(h.pools, nil, nil)
	return h
}

func (h *history) fatal(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("seed %d step %d: %s: %s", h.seed, h.step, h.what, fmt.Sprintf(format, args...))
}

// given is what the controller has decided a Service to have.
func (h *history) given(key Key) []netip.Addr {
	res, _ := h.a.Lookup(key)
	return res.Addresses
}

// dirty lists the Services with a status that is not as decided, or of which the controller does not know that it is.
func (h *history) dirty() []Key {
	var out []Key
	for key, s := range h.services {
		if res, _ := h.a.Lookup(key); h.a.Leaves(key) || !slices.Equal(s.status, res.Addresses) || s.from != res.Pool {
			out = append(out, key)
		}
	}
	slices.SortFunc(out, compareKeys)
	return out
}

// next does one operation.
func (h *history) next() {
	key := numbered(h.IntN(14))
	s := h.services[key]
	dirty := h.dirty()
	switch n := h.IntN(40); {
	case n < 12 && len(dirty) > 0:
		h.write(dirty[h.IntN(len(dirty))], n == 0)
	case n < 14 && len(dirty) > 0:
		h.say("lost write", dirty[h.IntN(len(dirty))].Name) // it is tried again some time
	case n < 26 || n < 30 && s != nil:
		h.specify(key, s)
	case n < 35:
		h.say("delete", key.Name)
		delete(h.services, key)
		h.a.Release(key)
		h.o.release(key)
	case n < 36 && s != nil:
		h.say("of another class", key.Name)
		s.theirs = true
		h.a.Withdraw(key)
		h.o.withdraw(key)
	case n < 38:
		h.pools = h.world.pools()
		h.say("pool change", fmt.Sprintf("%+v", h.pools))
		h.rebuild(h.a.Claims(), h.a.Leaving())
	case n < 39:
		h.takeOver("leader change")
	default:
		for dirty := h.dirty(); len(dirty) > 0; dirty = h.dirty() { // a clean stop comes when all is done
			h.write(dirty[0], false)
		}
		before := addresses(h.a)
		h.takeOver("restart")
		if diff := cmp.Diff(before, addresses(h.a), cmpopts.EquateComparable(netip.Addr{})); diff != "" && !h.anyDoubtful() {
			h.fatal("addresses changed (-before +after):\n%s", diff)
		}
	}
}

func (h *history) say(kind, detail string) {
	h.done[kind]++
	h.what = kind + " " + detail
}

// specify creates a Service, or edits one, which may make it share.
func (h *history) specify(key Key, s *stored) {
	req := h.request(key)
	kind := "create"
	if s == nil {
		s = &stored{under: map[netip.Addr]Request{}}
		h.services[key] = s
	} else {
		req.Created = s.req.Created
		if kind = "edit"; req.SharingKey != "" {
			kind = "share"
		}
	}
	h.say(kind, fmt.Sprintf("%+v", req))
	s.req, s.theirs = req, false
	h.a.Assign(req)
	h.o.assign(req)
}

// write puts into a Service's status what the controller has decided. The answer may be lost: then the controller does not
// know.
func (h *history) write(key Key, lost bool) {
	h.say("write", key.Name)
	s := h.services[key]
	res, _ := h.a.Lookup(key)
	for _, addr := range res.Addresses {
		if slices.Contains(s.status, addr) {
			continue
		}
		for other, x := range h.services {
			if other != key && slices.Contains(x.status, addr) && !x.doubtful && !mayShare(s.req, x.under[addr]) {
				h.fatal("%s is written into %s while %s shows it", addr, key, other)
			}
		}
	}
	s.status, s.from, s.doubtful = res.Addresses, res.Pool, false
	h.remember()
	if lost {
		h.say("answer lost", key.Name)
		return
	}
	h.a.Written(key, s.status)
	h.o.written(key, s.status)
}

// takeOver starts a controller that knows what the API server knows.
func (h *history) takeOver(kind string) {
	h.say(kind, "")
	settled := map[Key]Result{}
	dirty := h.dirty()
	for key := range h.services {
		if res, ok := h.a.Lookup(key); ok && !slices.Contains(dirty, key) {
			settled[key] = res
		}
	}
	var claims, leaving []Claim
	for _, s := range h.services {
		for addr := range s.under {
			s.under[addr] = s.req // that there was another is not known any more
		}
		c := Claim{Request: s.req, Held: s.status, HeldFrom: s.from}
		if s.theirs {
			leaving = append(leaving, c)
		} else {
			claims = append(claims, c)
		}
		for _, x := range h.services {
			for _, addr := range s.status {
				if x != s && slices.Contains(x.status, addr) && !mayShare(s.req, x.req) {
					s.doubtful = true // who edits a Service and loses its controller at once may see another move
				}
			}
		}
	}
	h.rebuild(claims, leaving)
	for key, was := range settled {
		is, _ := h.a.Lookup(key)
		if h.services[key].doubtful || was.Reason != Assigned && is.Reason == Assigned {
			continue
		}
		for _, addr := range was.Addresses {
			if !slices.Contains(is.Addresses, addr) {
				h.fatal("%s had %v and has %v", key, was.Addresses, is.Addresses)
			}
		}
	}
}

// rebuild makes allocator and oracle anew, and makes sure that order does not matter.
func (h *history) rebuild(claims, leaving []Claim) {
	h.a, h.o = Rebuild(h.pools, claims, leaving), newOracle(h.pools, claims, leaving)
	for _, list := range [][]Claim{claims, leaving} {
		h.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	again := Rebuild(h.pools, claims, leaving)
	for key, s := range h.a.services {
		if res, _ := again.Lookup(key); !res.Equal(s.res) {
			h.fatal("%s gets %+v (%+v) in one order and %+v (%+v) in another", key, s.res, s.res.Fault, res, res.Fault)
		}
	}
}

func (h *history) anyDoubtful() bool {
	for _, s := range h.services {
		if s.doubtful {
			return true
		}
	}
	return false
}

// judge compares with the oracle and makes sure of what must always hold.
func (h *history) judge() {
	if diff := cmp.Diff(h.o.addresses(), addresses(h.a), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		h.fatal("(-oracle +allocator):\n%s", diff)
	}
	check(h.t, h.a, h.pools, fmt.Sprintf("seed %d step %d: %s", h.seed, h.step, h.what))
	h.remember()
}

// remember notes under which request each address that a status shows is held.
func (h *history) remember() {
	for key, s := range h.services {
		for _, addr := range s.status {
			if !s.theirs && slices.Contains(h.given(key), addr) {
				s.under[addr] = s.req
			}
		}
	}
}

// TestHistories compares random histories, after each operation, with the oracle; no two Services ever show an address
// that they may not share, and none loses one because the controller changes.
func TestHistories(t *testing.T) {
	done := map[string]int{}
	for seed := range uint64(*rounds) {
		h := newHistory(t, seed)
		for h.step = range 120 {
			h.next()
			h.judge()
		}
		for kind, n := range h.done {
			done[kind] += n
		}
	}
	t.Logf("%v", done)
	for _, kind := range []string{"create", "edit", "share", "delete", "of another class", "pool change", "write", "lost write", "answer lost", "restart", "leader change"} {
		if *rounds >= 30 && done[kind] < *rounds/2 {
			t.Errorf("too little of %q: %d", kind, done[kind])
		}
	}
}
