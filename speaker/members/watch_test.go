package members

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// beats are heartbeats as a test wants them.
type beats struct {
	changed chan struct{}

	mu      sync.Mutex
	watched []netip.Addr
	changes map[netip.Addr]bool
	asked   []netip.Addr
	there   bool
}

func newBeats() *beats {
	return &beats{changed: make(chan struct{}, 1), changes: map[netip.Addr]bool{}}
}

func (b *beats) Watch(a []netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watched = slices.Clone(a)
}

func (b *beats) Changed() <-chan struct{} { return b.changed }

func (b *beats) Changes() map[netip.Addr]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.changes
	b.changes = map[netip.Addr]bool{}
	return out
}

func (b *beats) Ask(a netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, a)
}

// kernels has the kernels of all nodes say whether a speaker is there, from now on.
func (b *beats) kernels(there bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.there = there
}

func (b *beats) There(context.Context, netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.there
}

// say has the paths to addresses be alive or silent from now on.
func (b *beats) say(alive bool, addresses ...netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range addresses {
		b.changes[a] = alive
	}
	signal(b.changed)
}

// waitUntilItWatches waits for the addresses, sorted as names of nodes are, to be those watched.
func (b *beats) waitUntilItWatches(t *testing.T, want ...netip.Addr) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(look) {
		b.mu.Lock()
		is := b.watched
		b.mu.Unlock()
		if slices.Equal(is, want) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("watched are %v, not %v", is, want)
		}
	}
}

// beating is a group whose members have heartbeats.
func (g *group) beating(nodes int) (ms []*Members, hearts []*beats) {
	g.t.Helper()
	for i := range nodes {
		b := newBeats()
		g.heartbeats = b
		hearts = append(hearts, b)
		ms = append(ms, g.start(i, "a", "secret"))
	}
	var all []int
	for i := range nodes {
		all = append(all, i)
	}
	for _, m := range ms {
		wait(g.t, m, 10*time.Second, "all found", sees(all...))
	}
	return ms, hearts
}

func TestHeartbeatsAreFasterThanGossip(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 111, 3)
	ms, hearts := g.beating(3)
	for i, h := range hearts {
		h.waitUntilItWatches(t, slices.DeleteFunc(slices.Clone(g.peers), func(a netip.Addr) bool { return a == g.address(i) })...)
	}

	stop := never(t, "one that is not heard by one only is there", ms, func(v View) bool { return len(v.Nodes) != 3 })
	hearts[0].say(false, g.address(1))
	time.Sleep(300 * time.Millisecond)
	stop()
	for i, want := range []bool{false, false, true} { // nobody asks for itself, nor who knows
		hearts[i].mu.Lock()
		if got := slices.Contains(hearts[i].asked, g.address(1)); got != want {
			t.Errorf("member %d asks for the node that another does not hear: %v", i, got)
		}
		hearts[i].mu.Unlock()
	}

	stop = never(t, "the others stay", ms, func(v View) bool { return !slices.Contains(v.Nodes, node(0)) || !slices.Contains(v.Nodes, node(2)) })
	hearts[2].say(false, g.address(1))
	for i, m := range ms { // node 1 too: it must fall silent
		t.Logf("member %d: gone after %s", i, wait(t, m, soon, "not heard by both others", sees(0, 2)).Round(time.Millisecond))
	}
	time.Sleep(forgetAfter + repeatEvery)
	for _, m := range ms {
		wait(t, m, 0, "still gone, for it is repeated", sees(0, 2))
	}

	hearts[2].say(true, g.address(1))
	for _, m := range ms {
		wait(t, m, soon, "heard by one of them again", sees(0, 1, 2))
	}
	hearts[0].say(true, g.address(1))
	stop()
	wait(t, ms[0], soon, "who did not hear it knows that it was there all the time", func(v View) bool { return v.Healed == 1 })
}

func TestOfTwoNodesOneWordIsEnough(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 112, 2)
	ms, hearts := g.beating(2)
	hearts[1].say(false, g.address(0))
	for _, m := range ms {
		wait(t, m, soon, "not heard by the other", sees(1))
	}
	hearts[0].say(false, g.address(1))
	for _, m := range ms {
		wait(t, m, soon, "each says it of the other: one remains", sees(0))
	}
	hearts[0].say(true, g.address(1))
	hearts[1].say(true, g.address(0))
	for _, m := range ms {
		wait(t, m, soon, "heard again", sees(0, 1))
	}
}

func TestGossipIsRightInTheEnd(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 113, 2)
	ms, hearts := g.beating(2)
	hearts[1].say(false, g.address(0))
	wait(t, ms[0], soon, "gone", sees(1))
	ms[1].watch(time.Now().Add(gossipIsRight + time.Second))
	for _, m := range ms {
		wait(t, m, soon, "there, by gossip", sees(0, 1))
	}
}

// A heartbeat is how a node that was lost is found again first.
func TestALostNodeIsWatchedAndFoundByItsHeartbeat(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 114, 2)
	ms, hearts := g.beating(2)
	if err := ms[0].Close(); err != nil {
		t.Fatal(err)
	}
	wait(t, ms[1], 10*time.Second, "gone by gossip", sees(1))
	hearts[1].waitUntilItWatches(t, g.address(0)) // which may come back
	g.heartbeats = newBeats()
	g.instances[0] = nil
	g.peers = g.peers[:1] // so that only the other one can find it
	again := g.start(0, "b", "secret")
	hearts[1].say(true, g.address(0))
	wait(t, again, soon, "found", sees(0, 1))
	wait(t, ms[1], soon, "found", sees(0, 1))

	ms[1].SetPeers(nil, nil)
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	wait(t, ms[1], 10*time.Second, "gone again", sees(1))
	hearts[1].waitUntilItWatches(t) // nobody: none is expected
}

func TestWhoWasCutOffLooksForTheOthersFirst(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 115, 2)
	ms, _ := g.beating(2)
	ms[1].Doubt()
	wait(t, ms[1], 0, "who knows another has no doubt", sees(0, 1))
	if err := ms[0].Close(); err != nil {
		t.Fatal(err)
	}
	wait(t, ms[1], 10*time.Second, "alone", sees(1))
	ms[1].Doubt()
	if v := ms[1].View(); v.Joined {
		t.Errorf("it goes on as if it knew: %+v", v)
	}
	took := wait(t, ms[1], 2*aloneUnreachable, "alone after all", sees(1))
	if took < aloneUnreachable-time.Second {
		t.Errorf("it looked for %s only", took)
	}
}

func TestWhoGetsNoProcessorIsThere(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 116, 3)
	ms, hearts := g.beating(3)
	for _, h := range hearts {
		h.kernels(true)
	}
	rest := []*Members{ms[0], ms[2]}
	stop := never(t, "who is lost by gossip alone is there", rest, func(v View) bool { return len(v.Nodes) != 3 })
	if err := ms[1].Close(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(starved / 2)
	stop()
	for _, m := range rest {
		m.mu.Lock()
		if len(m.doubts) != 1 {
			t.Errorf("gossip has not lost it: %v", m.doubts)
		}
		m.mu.Unlock()
	}
	g.instances[1] = nil
	again := g.start(1, "a", "secret")
	wait(t, again, soon, "it gets a processor again", sees(0, 1, 2))
	for _, m := range rest {
		wait(t, m, soon, "there", sees(0, 1, 2))
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	for _, m := range rest {
		wait(t, m, 2*soon, "it hangs", sees(0, 2))
	}
}

// The kernel's word that a speaker is there is not the word that this one is, where there are two.
func TestOfTwoOnANodeOneIsLostAtOnce(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 118, 2)
	ms, hearts := g.beating(2)
	hearts[1].kernels(true)
	newer := g.start(0, "b", "secret")
	wait(t, newer, soon, "two on a node", func(v View) bool { return v.Sibling })
	knows := func(n int) time.Duration {
		t.Helper()
		began := time.Now()
		for is := 0; is != n; time.Sleep(look) {
			if time.Since(began) > soon {
				t.Fatalf("%d members are known, not %d", is, n)
			}
			ms[1].mu.Lock()
			is = len(ms[1].known)
			ms[1].mu.Unlock()
		}
		return time.Since(began)
	}
	knows(3)
	if err := ms[0].Close(); err != nil {
		t.Fatal(err)
	}
	if took := knows(2); took > starved/2 {
		t.Errorf("gone only after %s", took)
	}
	wait(t, ms[1], 0, "the node is there", sees(0, 1))
}

func TestWhoLeavesIsNotAskedFor(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 117, 2)
	ms, hearts := g.beating(2)
	hearts[1].kernels(true)
	if err := ms[0].Leave(time.Second); err != nil {
		t.Fatal(err)
	}
	if took := wait(t, ms[1], soon, "gone", sees(1)); took > starved/2 {
		t.Errorf("only after %s", took)
	}
}

// What arrives together is not taken in the order in which it was said.
func TestWhoHasLeftByItsLastWordIsNotAskedFor(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 119, 2)
	ms, hearts := g.beating(2)
	m, it := ms[1], &memberlist.Node{Name: memberName("leaver", "a"), Addr: g.address(2).AsSlice()}
	hearts[1].kernels(true)
	is := func() (known, doubted bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		_, known = m.known[it.Name]
		return known, m.doubts[it.Name] != nil
	}
	delegate{m}.NotifyJoin(it)
	delegate{m}.NotifyLeave(it)
	if known, doubted := is(); !known || !doubted {
		t.Errorf("gossip alone is believed: known %t, doubted %t", known, doubted)
	}
	delegate{m}.NotifyMsg((&silence{number: 1}).text(it.Name, true))
	if known, doubted := is(); known || doubted {
		t.Errorf("it is asked for all the same: known %t, doubted %t", known, doubted)
	}
}
