package members

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var quiet = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) {
	before := goleak.IgnoreCurrent()
	code := m.Run()
	// A probe under way when memberlist is shut down ends at its own deadline; on a busy machine that takes a while.
	err := goleak.Find(before)
	for end := time.Now().Add(15 * time.Second); err != nil && time.Now().Before(end); {
		err = goleak.Find(before)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// group starts members on loopback addresses and a port of their own.
type group struct {
	t     *testing.T
	net   int // third octet, so that tests do not meet
	peers []netip.Addr

	instances map[int][]string // by node, as far as they are known when one starts

	heartbeats *beats // of the one that starts next; nil: none
}

func newGroup(t *testing.T, net, nodes int) *group {
	g := &group{t: t, net: net, instances: map[int][]string{}}
	for i := range nodes {
		g.peers = append(g.peers, g.address(i))
	}
	return g
}

func (g *group) address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 0, byte(g.net), byte(i + 1)})
}

func (g *group) port() uint16 { return 7946 + uint16(g.net) }

func node(i int) string { return fmt.Sprintf("node-%d", i) }

func (g *group) start(i int, instance, secret string) *Members {
	g.t.Helper()
	log := quiet
	if os.Getenv("METALLB_TEST_VERBOSE") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("self", instance+"@"+node(i))
	}
	c := Config{
		Node: node(i), Instance: instance, Secret: []byte(secret), Log: log,
		Address: netip.AddrPortFrom(g.address(i), g.port()),
	}
	if g.heartbeats != nil {
		c.Heartbeats = g.heartbeats
	}
	m, err := Start(c)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = m.Close() })
	m.SetReady(true, nil, nil)
	g.instances[i] = append(g.instances[i], instance)
	m.SetPeers(g.peers, g.instances[i])
	return m
}

// soon is the limit of what comes soon: generous, for a busy machine. How soon it really comes is logged.
const soon = 15 * time.Second

// wait returns how long it took until the view is as wanted.
func wait(t *testing.T, m *Members, within time.Duration, what string, ok func(View) bool) time.Duration {
	t.Helper()
	start := time.Now()
	for timeout := time.After(within); !ok(m.View()); {
		select {
		case <-m.Changed():
		case <-timeout:
			t.Fatalf("not within %v: %s; view %+v", within, what, m.View())
		}
	}
	return time.Since(start)
}

// sees is the view of a member that has joined and knows these nodes to be alive.
func sees(nodes ...int) func(View) bool {
	var names []string
	for _, n := range nodes {
		names = append(names, node(n))
	}
	return func(v View) bool { return v.Joined && slices.Equal(v.Nodes, names) }
}

// never fails the test if a view is not as it should be at any time until stopped.
func never(t *testing.T, what string, ms []*Members, bad func(View) bool) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			for i, m := range ms {
				if v := m.View(); bad(v) {
					t.Errorf("%s: member %d saw %+v", what, i, v)
					return
				}
			}
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() { close(done); <-ended }
}

func TestMembersFindOneAnotherAndNoticeWhoGoes(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, 3)
	ms := []*Members{g.start(0, "a", "secret"), g.start(1, "a", "secret"), g.start(2, "a", "secret")}
	for i, m := range ms {
		t.Logf("member %d has found the others after %v", i, wait(t, m, soon, "all found", sees(0, 1, 2)).Round(time.Millisecond))
	}

	ms[1].SetReady(false, nil, nil)
	took := wait(t, ms[0], soon, "not ready is not alive", sees(0, 2))
	wait(t, ms[1], soon, "not for itself either", sees(0, 2))
	t.Logf("not ready: seen after %v", took.Round(time.Millisecond))
	ms[1].SetReady(true, nil, nil)
	wait(t, ms[2], soon, "ready again", sees(0, 1, 2))

	start := time.Now()
	if err := ms[2].Leave(time.Second); err != nil {
		t.Error(err)
	}
	left := time.Since(start)
	wait(t, ms[0], soon, "one has left", sees(0, 1))
	wait(t, ms[1], soon, "one has left", sees(0, 1))
	t.Logf("Leave took %v; all know after %v", left.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	if err := ms[2].Close(); err != nil {
		t.Error(err)
	}

	again := g.start(2, "b", "secret")
	wait(t, again, soon, "back with another instance", sees(0, 1, 2))
	wait(t, ms[0], soon, "back with another instance", sees(0, 1, 2))
}

// A crash: sockets are closed without a word. Times are reported, the bound is only there to fail.
func TestHowFastACrashIsNoticed(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3, 5} {
		t.Run(fmt.Sprintf("%d members", n), func(t *testing.T) {
			var all []time.Duration
			for run := range 3 {
				g := newGroup(t, 20+10*run+n, n)
				var ms []*Members
				var nodes []int
				for i := range n {
					ms = append(ms, g.start(i, "a", "secret"))
					nodes = append(nodes, i)
				}
				for _, m := range ms {
					wait(t, m, soon, "all found", sees(nodes...))
				}
				time.Sleep(time.Duration(run) * 170 * time.Millisecond) // another phase of the probes
				start := time.Now()
				if err := ms[0].Close(); err != nil {
					t.Fatal(err)
				}
				for _, m := range ms[1:] {
					wait(t, m, soon, "the crash is noticed", sees(nodes[1:]...))
				}
				all = append(all, time.Since(start).Round(10*time.Millisecond))
				for _, m := range ms[1:] {
					_ = m.Close()
				}
			}
			t.Logf("all survivors know after %v", all)
		})
	}
}

// Two pods on one node during an upgrade: the others never see the node dead, whichever of them leaves, and however.
func TestANodeIsAliveWhileAnyOfItsInstancesIs(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*Members) error{
		"the old one leaves":  func(m *Members) error { return m.Leave(time.Second) },
		"the old one crashes": func(*Members) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGroup(t, 60+len(name)%2, 3)
			others := []*Members{g.start(0, "a", "secret"), g.start(1, "a", "secret")}
			old := g.start(2, "old", "secret")
			for _, m := range append(others, old) {
				wait(t, m, soon, "all found", sees(0, 1, 2))
			}
			stop := never(t, "node-2 was taken for dead", others, func(v View) bool { return !slices.Contains(v.Nodes, node(2)) })
			newer := g.start(2, "new", "secret")
			wait(t, newer, soon, "the new one has joined", sees(0, 1, 2))
			wait(t, newer, soon, "and knows its sibling", func(v View) bool { return v.Sibling })
			wait(t, old, soon, "as does the old one", func(v View) bool { return v.Sibling })
			time.Sleep(3 * time.Second) // several rounds of probes to both, over one port
			if err := end(old); err != nil {
				t.Error(err)
			}
			if err := old.Close(); err != nil {
				t.Error(err)
			}
			wait(t, newer, soon, "the sibling is gone", func(v View) bool { return !v.Sibling })
			time.Sleep(3 * time.Second)
			stop()
			for _, m := range append(others, newer) {
				wait(t, m, 0, "nothing has changed", sees(0, 1, 2))
			}
		})
	}
}

func TestMembersTellOnWhichInterfacesTheyCanAnnounce(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 72, 3)
	a, b := g.start(0, "a", "secret"), g.start(1, "a", "secret")
	silent := g.start(2, "a", "secret") // as one of an earlier release
	for _, m := range []*Members{a, b, silent} {
		wait(t, m, soon, "all found", sees(0, 1, 2))
	}
	tells := func(want map[string][]string) func(View) bool {
		return func(v View) bool { return maps.EqualFunc(v.Interfaces, want, slices.Equal) }
	}
	a.SetReady(true, []string{"eth1", "eth0"}, nil)
	want := map[string][]string{node(0): {"eth0", "eth1"}}
	for _, m := range []*Members{a, b, silent} {
		took := wait(t, m, soon, "what one tells", tells(want))
		t.Logf("told: seen after %v", took.Round(time.Millisecond))
	}
	b.SetReady(true, []string{"eth0"}, nil)
	want[node(1)] = []string{"eth0"}
	wait(t, a, soon, "what another tells", tells(want))
	a.SetReady(true, []string{"eth1"}, nil)
	want[node(0)] = []string{"eth1"}
	wait(t, b, soon, "an interface has gone", tells(want))
	b.SetReady(false, nil, nil)
	delete(want, node(1))
	wait(t, a, soon, "one that is not ready tells nothing", tells(want))

	newer := g.start(0, "b", "secret") // an upgrade, with another interface excluded
	newer.SetReady(true, []string{"eth2"}, nil)
	want[node(0)] = []string{"eth1", "eth2"}
	wait(t, silent, soon, "what either pod of a node can do, the node can", tells(want))
	if err := a.Leave(time.Second); err != nil {
		t.Error(err)
	}
	want[node(0)] = []string{"eth2"}
	wait(t, silent, soon, "the older pod has left", tells(want))
}

func TestMembersTellTheirHardwareAddresses(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 73, 2)
	a, b := g.start(0, "a", "secret"), g.start(1, "a", "secret")
	b.mu.Lock()
	b.own.MACs = "" // as one of an earlier release
	b.mu.Unlock()
	signal(b.kick)
	wait(t, a, soon, "one does not tell", func(v View) bool { return sees(0, 1)(v) && v.Untold })
	macs := [][6]byte{{2, 0, 0, 0, 0, 2}, {2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}
	tells := func(n int) func(View) bool {
		return func(v View) bool { return !v.Untold && slices.Equal(v.MACs[node(1)], [][6]byte{macs[1], macs[0]}[:n]) }
	}
	b.SetReady(true, []string{"eth0"}, macs)
	wait(t, a, soon, "it tells now", tells(2))
	b.SetReady(false, nil, macs[1:2])
	wait(t, a, soon, "one that is not ready has hardware addresses too", tells(1))
	_ = b.Close() // as if it had lost its power
	wait(t, a, 15*time.Second, "gone, and known", func(v View) bool { return sees(0)(v) && tells(1)(v) && len(a.list.Members()) == 1 })
}

func TestANoteArrives(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 74, 3)
	a, b, c := g.start(0, "a", "secret"), g.start(1, "a", "secret"), g.start(2, "a", "secret")
	for _, m := range []*Members{a, b, c} {
		wait(t, m, soon, "all found", sees(0, 1, 2))
	}
	var got []Note
	deadline := time.After(10 * time.Second)
	for len(got) == 0 {
		if err := a.Tell(node(1), []byte(`{"n":1}`)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-b.Noted():
			got = b.Notes()
		case <-time.After(time.Second): // lost
		case <-deadline:
			t.Fatal("no note arrives")
		}
	}
	if got[0].From != node(0) || string(got[0].Text) != `{"n":1}` {
		t.Errorf("got %+v", got)
	}
	if err := a.Tell("nobody", []byte(`{}`)); err != nil {
		t.Errorf("a node that is not there: %v", err)
	}
	if len(c.Notes()) > 0 {
		t.Error("somebody else was told")
	}
	// What is no note, or a word about silence, is none; nor is a note such a word.
	for _, text := range []string{``, `{`, `[]`, `{"by":"a@node","number":1,"silent":["x"]}`, `{"from":"x"}`, `{"note":{}}`} {
		c.takeNote([]byte(text))
	}
	c.listenTo([]byte(`{"from":"x","note":{"by":"a@node"}}`), time.Now())
	if len(c.Notes()) > 0 || len(c.silence.theirs) > 0 {
		t.Error("took it for a note, or a note for a word")
	}
	for range 2 * mostNotes {
		c.takeNote([]byte(`{"from":"x","note":{}}`))
	}
	if n := len(c.Notes()); n != mostNotes {
		t.Errorf("%d notes are kept", n)
	}
}

func TestMembersTellWhetherTheirNodeDelivers(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 75, 3)
	a, b := g.start(0, "a", "secret"), g.start(1, "a", "secret")
	silent := g.start(2, "a", "secret") // as one of an earlier release
	for _, m := range []*Members{a, b, silent} {
		wait(t, m, soon, "all found", sees(0, 1, 2))
	}
	tells := func(want map[string]bool) func(View) bool {
		return func(v View) bool { return maps.Equal(v.Delivers, want) }
	}
	a.SetDelivers(true)
	b.SetDelivers(false)
	wait(t, silent, soon, "two tell", tells(map[string]bool{node(0): true, node(1): false}))
	a.SetDelivers(false)
	wait(t, b, soon, "one does not any more", tells(map[string]bool{node(0): false, node(1): false}))

	newer := g.start(0, "b", "secret") // an upgrade
	newer.SetReady(true, nil, nil)
	wait(t, b, soon, "the new pod does not tell, which counts for the node", func(v View) bool {
		_, told := v.Delivers[node(0)]
		return !told
	})
	newer.SetDelivers(true)
	wait(t, b, soon, "the older pod has seen more", tells(map[string]bool{node(0): false, node(1): false}))
	if err := a.Leave(time.Second); err != nil {
		t.Error(err)
	}
	wait(t, b, soon, "the older pod has left", tells(map[string]bool{node(0): true, node(1): false}))
}

func TestAMemberThatIsNotReadyDoesNotStandForItsNode(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 70, 2)
	a, old := g.start(0, "a", "secret"), g.start(1, "old", "secret")
	wait(t, a, soon, "found", sees(0, 1))
	newer := g.start(1, "new", "secret")
	newer.SetReady(false, nil, nil)
	wait(t, newer, soon, "joined", sees(0, 1))
	wait(t, newer, soon, "the ready one is a sibling to rely on", func(v View) bool { return v.Sibling })
	wait(t, old, soon, "one that is not ready is none", func(v View) bool { return !v.Sibling })
	old.SetReady(false, nil, nil)
	wait(t, a, soon, "no ready instance is left", sees(0))
}

// A cluster of one node: nobody else tells the two of each other.
func TestSiblingsOfASingleNodeFindOneAnother(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 71, 1)
	old := g.start(0, "old", "secret")
	wait(t, old, soon, "alone", sees(0))
	newer := g.start(0, "new", "secret")
	took := wait(t, newer, soon, "joined by way of its sibling", func(v View) bool { return v.Joined && v.Sibling })
	wait(t, old, soon, "known to its sibling", func(v View) bool { return v.Sibling })
	t.Logf("joined after %v; one that believes itself alone takes %v", took.Round(time.Millisecond), aloneUnknown)
	if err := old.Leave(time.Second); err != nil {
		t.Error(err)
	}
	wait(t, newer, soon, "the sibling has left", func(v View) bool { return !v.Sibling && len(v.Nodes) == 1 })
}

func TestJoined(t *testing.T) {
	t.Parallel()
	t.Run("not before peers are known to be looked for", func(t *testing.T) {
		t.Parallel()
		g := newGroup(t, 80, 0)
		m, err := Start(Config{Node: "node", Instance: "a", Address: netip.AddrPortFrom(g.address(0), g.port()), Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = m.Close() }()
		time.Sleep(aloneUnknown + 300*time.Millisecond)
		if m.View().Joined {
			t.Error("joined although nobody said where to look")
		}
		m.SetPeers(nil, nil)
		wait(t, m, soon, "alone", func(v View) bool { return v.Joined })
	})
	t.Run("alone without peers after a short while", func(t *testing.T) {
		t.Parallel()
		g := newGroup(t, 81, 1) // its own address only
		m := g.start(0, "a", "secret")
		took := wait(t, m, soon, "alone", sees(0))
		if took < aloneUnknown-50*time.Millisecond {
			t.Errorf("believed itself alone after %v", took)
		}
	})
	t.Run("alone with peers that cannot be reached only after a while", func(t *testing.T) {
		t.Parallel()
		g := newGroup(t, 82, 3)
		m := g.start(0, "a", "secret")
		took := wait(t, m, 12*time.Second, "alone", sees(0))
		if took < aloneUnreachable-50*time.Millisecond {
			t.Errorf("believed itself alone after %v", took)
		}
		t.Logf("alone after %v", took.Round(time.Millisecond))
	})
	t.Run("not before all have been looked for that the first one met does not tell of", func(t *testing.T) {
		t.Parallel()
		g := newGroup(t, 84, 2)
		g.start(1, "a", "secret")
		g.peers = append(g.peers, g.address(2))
		silent, err := net.Listen("tcp", netip.AddrPortFrom(g.address(2), g.port()).String()) // accepts, and says nothing
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = silent.Close() }()
		m := g.start(0, "a", "secret")
		met := func() time.Time {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.met
		}
		wait(t, m, soon, "the other one is known", func(View) bool { return !met().IsZero() })
		for since := met(); time.Since(since) < lookAround/2; time.Sleep(time.Millisecond) {
			if joined, after := m.View().Joined, time.Since(since); joined && after < lookAround {
				t.Fatalf("joined %v after it had met one of two, while it looked for the other", after)
			}
		}
		_ = silent.Close() // resets what has not been accepted
		wait(t, m, soon, "nobody is there", func(v View) bool { return v.Joined })
	})
	t.Run("never alone while a peer is there that cannot be talked to", func(t *testing.T) {
		t.Parallel()
		g := newGroup(t, 83, 2)
		other := g.start(0, "a", "another secret")
		wait(t, other, 12*time.Second, "the first is alone", sees(0))
		m := g.start(1, "a", "secret")
		time.Sleep(aloneUnreachable + 2*time.Second)
		if m.View().Joined {
			t.Error("joined with another key, or believed itself alone beside a live peer")
		}
		if !slices.Equal(other.View().Nodes, []string{node(0)}) {
			t.Errorf("a member with another key was let in: %+v", other.View())
		}
	})
}

func TestTheKeyComesLateAndChanges(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 90, 3)
	ms := []*Members{g.start(0, "a", ""), g.start(1, "a", ""), g.start(2, "a", "")}
	for _, m := range ms {
		wait(t, m, soon, "all found in the open", sees(0, 1, 2))
	}
	stop := never(t, "a member was lost by the change of keys", ms, func(v View) bool { return len(v.Nodes) != 3 })
	uses := func(m *Members, secret string) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.keys.writing == keyOf([]byte(secret)) && len(m.ring.GetKeys()) == 1
	}
	for _, secret := range []string{"first\n", "second"} {
		for _, m := range ms {
			if uses(m, secret) {
				t.Error("a key is used before all members have it")
			}
			m.SetSecret([]byte(secret))
			time.Sleep(300 * time.Millisecond)
		}
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if !slices.ContainsFunc(ms, func(m *Members) bool { return !uses(m, secret) }) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("not all members use %q", secret)
			}
		}
		time.Sleep(time.Second) // several rounds of probes
	}
	stop()
	// Whoever has no key, or the old one, is out.
	for i, secret := range []string{"", "first"} {
		g.peers = append(g.peers, g.address(3+i))
		m := g.start(3+i, "a", secret)
		time.Sleep(time.Second)
		if m.View().Joined || len(ms[0].View().Nodes) != 3 {
			t.Errorf("a member with secret %q was let in", secret)
		}
		_ = m.Close()
	}
}

func TestStartRefusesWhatCannotWork(t *testing.T) {
	for name, c := range map[string]Config{
		"no node":              {Instance: "a"},
		"no instance":          {Node: "a"},
		"a node with a slash":  {Node: "a/b", Instance: "c"},
		"a pod with an at":     {Node: "a", Instance: "c@d"},
		"names that are long":  {Node: strings.Repeat("n", 200), Instance: strings.Repeat("i", 60)},
		"an address not here":  {Node: "a", Instance: "b", Address: netip.MustParseAddrPort("192.0.2.1:7946")},
		"an address not given": {Node: "a", Instance: "b"},
	} {
		t.Run(name, func(t *testing.T) {
			c.Log = quiet
			m, err := Start(c)
			if err == nil {
				_ = m.Close()
				t.Fatal("no error")
			}
			t.Log(err)
		})
	}
}
