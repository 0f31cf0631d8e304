package engine

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"metallb.io/operator/internal/bgp"
)

// asChild marks the process that is the child.
const asChild = "METALLB_TEST_BGP_ENGINE"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		r := &toy{peers: map[string]int{}, changed: make(chan struct{}, 1)}
		go func() { _ = ServeCalls(r) }()
		if err := Serve(os.Stdin, os.Stdout, r); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// fatal is the prefix that a toy does not survive, refused one that it does not take.
var fatal, refused = netip.MustParsePrefix("203.0.113.66/32"), netip.MustParsePrefix("203.0.113.67/32")

// toy is a Router whose sessions are Established at once. It tells its process and the number of its paths in the Error.
type toy struct {
	mu      sync.Mutex
	peers   map[string]int
	changed chan struct{}
}

func (r *toy) news() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *toy) Set(p bgp.Peer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.Password != "pass" {
		return errors.New("the password did not arrive")
	}
	r.peers[p.Name] += 0
	r.news()
	return nil
}

func (r *toy) Remove(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.peers, name)
	r.news()
	return nil
}

func (r *toy) Announce(name string, advertise []bgp.Path, withdraw []netip.Prefix) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range advertise {
		switch p.Prefix {
		case fatal:
			panic("a router made me do it")
		case refused:
			return errors.New("no")
		}
	}
	r.peers[name] += len(advertise) - len(withdraw)
	r.news()
	return nil
}

func (r *toy) Reset(name string, why bgp.Notification) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.peers[name]; ok {
		r.peers[name] = -int(why.Subcode)
	}
	r.news()
	return nil
}

// Accept says to the peer by whom it was taken.
func (r *toy) Accept(name string, c net.Conn) error {
	defer c.Close()
	_, err := fmt.Fprintf(c, "%s %d", name, os.Getpid())
	return err
}

func (r *toy) Sessions() []bgp.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []bgp.Session
	for name, n := range r.peers {
		out = append(out, bgp.Session{Peer: name, State: bgp.Established, IPv4: true, Error: strconv.Itoa(os.Getpid()) + " " + strconv.Itoa(n)})
	}
	return out
}

func (r *toy) Changed() <-chan struct{} { return r.changed }

func engine(t *testing.T) *Engine {
	t.Helper()
	e := New(func() *exec.Cmd {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), asChild+"=1", "GOTRACEBACK=none")
		return cmd
	}, slog.New(slog.DiscardHandler))
	t.Cleanup(e.Close)
	return e
}

func wanted(name string, prefixes ...netip.Prefix) bgp.Wanted {
	w := bgp.Wanted{Peer: bgp.Peer{Name: name, Password: "pass"}}
	for _, p := range prefixes {
		w.Paths = append(w.Paths, bgp.Path{Prefix: p})
	}
	return w
}

func many(n int) (out []netip.Prefix) {
	for i := range n {
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32))
	}
	return out
}

// at returns the process that has a peer, and how many paths that says it has; 0: none has.
func at(e *Engine, name string) (process, paths int) {
	for _, o := range e.Observed() {
		if o.Name == name && o.Session.State == bgp.Established {
			a, b, _ := strings.Cut(o.Session.Error, " ")
			process, _ = strconv.Atoi(a)
			paths, _ = strconv.Atoi(b)
		}
	}
	return process, paths
}

func eventually(t *testing.T, e *Engine, what string, ok func() bool) {
	t.Helper()
	for end := time.After(60 * time.Second); !ok(); {
		select {
		case <-e.Changed():
		case <-time.After(50 * time.Millisecond):
		case <-end:
			t.Fatalf("not so: %s; %+v", what, e.Observed())
		}
	}
}

func gone(pid int) bool { return exec.Command("kill", "-0", strconv.Itoa(pid)).Run() != nil }

func TestThereIsAProcessWhileThereArePeers(t *testing.T) {
	e := engine(t)
	e.Sync(nil)
	if len(e.children) != 0 {
		t.Error("there is a process without peers")
	}
	e.Sync([]bgp.Wanted{wanted("a", many(1200)...), wanted("b")})
	var process int
	var other int
	eventually(t, e, "each runs in a process, with all paths", func() bool {
		p, n := at(e, "a")
		other, _ = at(e, "b")
		process = p
		return p != 0 && other != 0 && p != other && n == 1200
	})
	eventually(t, e, "it is observed so", func() bool {
		o := e.Observed()
		return len(o) == 2 && len(o[0].Paths) == 1200 && o[0].Hears(o[0].Paths[7].Prefix)
	})
	e.Reset("a", bgp.Notification{Code: bgp.Cease, Subcode: 10})
	eventually(t, e, "a reset arrives", func() bool { _, n := at(e, "a"); return n == -10 })
	e.Sync([]bgp.Wanted{wanted("b")})
	eventually(t, e, "one is gone", func() bool { return len(e.Observed()) == 1 })
	if p, _ := at(e, "b"); p != other {
		t.Error("the other has moved")
	}
	eventually(t, e, "its process has ended", func() bool { return gone(process) })
	e.Sync(nil)
	eventually(t, e, "the other has, too", func() bool { return gone(other) })
}

func TestAProcessThatDiesIsFollowedByAnother(t *testing.T) {
	e := engine(t)
	e.Sync([]bgp.Wanted{wanted("a", many(3)...)})
	var first int
	eventually(t, e, "it runs", func() bool { p, n := at(e, "a"); first = p; return n == 3 })
	if err := exec.Command("kill", "-9", strconv.Itoa(first)).Run(); err != nil {
		t.Fatal(err)
	}
	eventually(t, e, "another one has what the first had", func() bool { p, n := at(e, "a"); return p != first && n == 3 })
}

func TestAPeerThatKillsItsProcessLeavesTheOthersAlone(t *testing.T) {
	e := engine(t)
	e.Sync([]bgp.Wanted{wanted("bad"), wanted("good", many(3)...), wanted("other")})
	eventually(t, e, "all run", func() bool {
		p, _ := at(e, "bad")
		_, n := at(e, "good")
		q, _ := at(e, "other")
		return p != 0 && q != 0 && n == 3
	})
	good, _ := at(e, "good")
	other, _ := at(e, "other")
	e.Sync([]bgp.Wanted{wanted("bad", fatal), wanted("good", many(3)...), wanted("other")})
	var said string
	for deaths, last := 0, ""; deaths < 3; {
		eventually(t, e, "it is said that the bad one's dies, again and again", func() bool {
			i := slices.IndexFunc(e.Observed(), func(o bgp.Observed) bool { return o.Name == "bad" })
			s := e.Observed()[i].Session
			said = s.Error
			return s.State == bgp.Idle && strings.Contains(said, "has ended") && s.Since.String() != last && func() bool { last = s.Since.String(); return true }()
		})
		deaths++
	}
	if p, _ := at(e, "good"); p != good {
		t.Error("the good one has been disturbed")
	}
	if p, _ := at(e, "other"); p != other {
		t.Error("the other one has been disturbed")
	}
	e.Sync([]bgp.Wanted{wanted("bad", many(2)...), wanted("good", many(3)...), wanted("other")})
	eventually(t, e, "the bad one runs when it is good", func() bool { _, n := at(e, "bad"); return n == 2 })
}

func TestAPeerThatIsRefusedSaysWhy(t *testing.T) {
	e := engine(t)
	e.Sync([]bgp.Wanted{wanted("bad", refused), wanted("good", many(3)...)})
	eventually(t, e, "the good one runs, and the bad one says why it does not", func() bool {
		_, n := at(e, "good")
		o := e.Observed()[0]
		return n == 3 && o.Name == "bad" && o.Session.State == bgp.Idle && strings.Contains(o.Session.Error, "no") && len(o.Paths) == 0
	})
}

func TestAConnectionOfAPeerGoesToItsProcess(t *testing.T) {
	e := engine(t)
	e.Sync([]bgp.Wanted{wanted("a"), wanted("b")})
	eventually(t, e, "both run", func() bool {
		a, _ := at(e, "a")
		b, _ := at(e, "b")
		return a != 0 && b != 0
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, name := range []string{"a", "b", "nobody", "b"} {
		there, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		here, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		e.Accept(name, here)
		want := ""
		if p, _ := at(e, name); p != 0 {
			want = fmt.Sprint(name, " ", p)
		}
		if got, _ := io.ReadAll(there); string(got) != want {
			t.Errorf("the connection of %s was answered by %q, not %q", name, got, want)
		}
		_ = there.Close()
	}
}
