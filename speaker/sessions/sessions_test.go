package sessions

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/internal/bgp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is an Engine and a Watch that write down what they are told.
type recorder struct {
	mu      sync.Mutex
	resets  []string
	synced  [][]udp.Session
	changes []udp.Change
	news    chan struct{}
	found   netip.Addr
	moved   chan struct{}
}

type watch struct{ *recorder }

func (r *recorder) Sync([]bgp.Wanted) {}
func (r *recorder) Observed() []bgp.Observed {
	a := bgp.Observed{Wanted: bgp.Wanted{Peer: bgp.Peer{Name: "a"}}, Session: bgp.Session{Found: r.found}}
	return []bgp.Observed{a, {Wanted: bgp.Wanted{Peer: bgp.Peer{Name: "b"}}}}
}
func (r *recorder) Changed() <-chan struct{} { return r.moved }
func (r *recorder) Reset(peer string, why bgp.Notification) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resets = append(r.resets, peer+": "+why.String())
}

func (w watch) Sync(s []udp.Session) ([]udp.Status, error) {
	w.synced = append(w.synced, s)
	return nil, nil
}
func (w watch) Status() []udp.Status {
	return []udp.Status{{Key: key, Status: bfd.Status{State: bfd.Up}}}
}
func (w watch) Changed() <-chan struct{} { return w.news }
func (w watch) Changes() []udp.Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.changes
	w.changes = nil
	return out
}

var key = udp.Key{Peer: netip.MustParseAddr("192.0.2.2")}

func peers(interval time.Duration) []Peer {
	a := Peer{Wanted: bgp.Wanted{Peer: bgp.Peer{Name: "a", Address: key.Peer}}, BFD: &BFD{Settings: bfd.Settings{Transmit: interval}}}
	return []Peer{a, {Wanted: bgp.Wanted{Peer: bgp.Peer{Name: "b", Address: netip.MustParseAddr("192.0.2.3")}}}}
}

func TestASessionEndsWithItsPath(t *testing.T) {
	for name, tt := range map[string]struct {
		change udp.Change
		want   []string
	}{
		"the path is gone":              {udp.Change{Key: key, From: bfd.Up, To: bfd.Down, Failed: true}, []string{"a: BFD down (cease)"}},
		"gone, and there again":         {udp.Change{Key: key, From: bfd.Up, To: bfd.Up, Failed: true}, []string{"a: BFD down (cease)"}},
		"the router ends it on purpose": {udp.Change{Key: key, From: bfd.Up, To: bfd.Down}, nil},
		"up":                            {udp.Change{Key: key, From: bfd.Down, To: bfd.Up}, nil},
		"of nobody":                     {udp.Change{Key: udp.Key{Peer: netip.MustParseAddr("192.0.2.9")}, Failed: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{news: make(chan struct{}, 1), changes: []udp.Change{tt.change}}
			s := New(r, watch{r}, nil, slog.New(slog.DiscardHandler))
			defer s.Close()
			s.Sync(peers(time.Second))
			r.news <- struct{}{}
			<-s.Changed()
			r.mu.Lock()
			defer r.mu.Unlock()
			if !slices.Equal(r.resets, tt.want) {
				t.Errorf("%q, not %q", r.resets, tt.want)
			}
		})
	}
}

func TestPathsAreWatchedForThoseWhoWantIt(t *testing.T) {
	r := &recorder{}
	s := New(r, watch{r}, nil, slog.New(slog.DiscardHandler))
	defer s.Close()
	s.Sync(peers(time.Second))
	s.Sync(peers(time.Second))
	s.Sync(peers(2 * time.Second))
	if len(r.synced) != 2 || len(r.synced[1]) != 1 || r.synced[1][0].Transmit != 2*time.Second {
		t.Errorf("%+v", r.synced)
	}
	o := s.Observed()
	if o[0].BFD == nil || o[0].BFD.State != bfd.Up || o[1].BFD != nil {
		t.Errorf("%+v", o)
	}
}

func TestARouterIsWatchedWhereItIsFound(t *testing.T) {
	r := &recorder{moved: make(chan struct{})}
	s := New(r, watch{r}, nil, slog.New(slog.DiscardHandler))
	defer s.Close()
	p := peers(time.Second)[:1]
	p[0].Address, p[0].Interface = netip.Addr{}, "eth1"
	s.Sync(p)
	for _, at := range []string{"fe80::1%eth1", "fe80::2%eth1", ""} {
		r.found, _ = netip.ParseAddr(at)
		r.moved <- struct{}{}
		<-s.Changed()
		var got netip.Addr
		s.mu.Lock()
		for _, w := range s.synced {
			got = w.Peer
		}
		s.mu.Unlock()
		if got != r.found {
			t.Errorf("%v is watched, not %v", got, r.found)
		}
	}
}
