package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// recorder is a Router that writes down what it is told.
type recorder struct {
	calls []string
	fail  map[string]bool // calls that fail, by their beginning
}

func (r *recorder) call(format string, args ...any) error {
	c := strings.TrimSpace(fmt.Sprintf(format, args...))
	r.calls = append(r.calls, c)
	for f := range r.fail {
		if strings.HasPrefix(c, f) {
			return errors.New("no")
		}
	}
	return nil
}

func (r *recorder) Set(p Peer) error         { return r.call("set %s %d", p.Name, p.ASN) }
func (r *recorder) Remove(name string) error { return r.call("remove %s", name) }
func (r *recorder) Announce(name string, advertise []Path, withdraw []netip.Prefix) error {
	var words []string
	for _, p := range advertise {
		words = append(words, fmt.Sprintf("+%s/%d", p.Prefix.Addr(), p.LocalPref))
	}
	for _, p := range withdraw {
		words = append(words, "-"+p.Addr().String())
	}
	return r.call("tell %s %s", name, strings.Join(words, " "))
}

func wanted(name string, asn uint32, paths ...Path) Wanted {
	return Wanted{Peer: Peer{Name: name, ASN: asn}, Paths: paths}
}

func path(address string, localPref uint32, communities ...Community) Path {
	a := netip.MustParseAddr(address)
	return Path{Prefix: netip.PrefixFrom(a, a.BitLen()), Preference: Preference{LocalPref: localPref}, Communities: communities}
}

func TestSync(t *testing.T) {
	one := []Wanted{wanted("a", 1, path("192.0.2.1", 0), path("192.0.2.2", 0))}
	for name, tt := range map[string]struct {
		from, to []Wanted
		fail     string
		calls    []string
		running  []Wanted // nil: as wanted
		fails    bool
	}{
		"nothing":                        {},
		"the first peer":                 {to: one, calls: []string{"set a 1", "tell a +192.0.2.1/0 +192.0.2.2/0"}},
		"a peer without paths":           {to: []Wanted{wanted("a", 1)}, calls: []string{"set a 1"}},
		"the same again":                 {from: one, to: []Wanted{wanted("a", 1, path("192.0.2.1", 0), path("192.0.2.2", 0))}},
		"a path more":                    {from: one, to: []Wanted{wanted("a", 1, path("192.0.2.1", 0), path("192.0.2.2", 0), path("192.0.2.3", 0))}, calls: []string{"tell a +192.0.2.3/0"}},
		"a path less":                    {from: one, to: []Wanted{wanted("a", 1, path("192.0.2.2", 0))}, calls: []string{"tell a -192.0.2.1"}},
		"another attribute":              {from: one, to: []Wanted{wanted("a", 1, path("192.0.2.1", 0), path("192.0.2.2", 7))}, calls: []string{"tell a +192.0.2.2/7"}},
		"another community":              {from: one, to: []Wanted{wanted("a", 1, path("192.0.2.1", 0, Community{}), path("192.0.2.2", 0))}, calls: []string{"tell a +192.0.2.1/0"}},
		"another peer beside it":         {from: one, to: []Wanted{one[0], wanted("b", 2)}, calls: []string{"set b 2"}},
		"in another order":               {from: []Wanted{wanted("a", 1), wanted("b", 2)}, to: []Wanted{wanted("b", 2), wanted("a", 1)}, running: []Wanted{wanted("a", 1), wanted("b", 2)}},
		"a peer that changes":            {from: one, to: []Wanted{wanted("a", 2, one[0].Paths...)}, calls: []string{"set a 2"}},
		"a peer that goes":               {from: one, to: nil, calls: []string{"remove a"}},
		"one goes and another comes":     {from: one, to: []Wanted{wanted("b", 1)}, calls: []string{"remove a", "set b 1"}},
		"a peer that cannot begin":       {to: one, fail: "set", calls: []string{"set a 1"}, running: []Wanted{}, fails: true},
		"a peer that cannot change":      {from: one, to: []Wanted{wanted("a", 2)}, fail: "set", calls: []string{"set a 2"}, running: one, fails: true},
		"a peer that cannot go":          {from: one, to: nil, fail: "remove", calls: []string{"remove a"}, running: one, fails: true},
		"paths that cannot be announced": {from: one, to: []Wanted{wanted("a", 1)}, fail: "tell", calls: []string{"tell a -192.0.2.1 -192.0.2.2", "remove a"}, running: []Wanted{}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{}
			s := NewSpeaker(r)
			if _, err := s.Sync(tt.from); err != nil {
				t.Fatal(err)
			}
			r.calls = nil
			if tt.fail != "" {
				r.fail = map[string]bool{tt.fail: true}
			}
			running, err := s.Sync(tt.to)
			if !slices.Equal(r.calls, tt.calls) || (err != nil) != tt.fails {
				t.Errorf("calls %q, error %v; not %q", r.calls, err, tt.calls)
			}
			want := tt.running
			if want == nil {
				want = tt.to
			}
			if !slices.EqualFunc(running, want, sameWanted) {
				t.Errorf("runs %v, not %v", running, want)
			}
			r.calls, r.fail = nil, nil
			if running, err = s.Sync(tt.to); err != nil || len(running) != len(tt.to) || (len(r.calls) > 0) != tt.fails {
				t.Errorf("again: calls %q, runs %v, error %v", r.calls, running, err)
			}
		})
	}
}

func sameWanted(a, b Wanted) bool {
	return a.Peer == b.Peer && slices.EqualFunc(a.Paths, b.Paths, Path.Equal)
}

func TestObservedHears(t *testing.T) {
	four, six := path("192.0.2.1", 0), path("2001:db8::1", 0)
	o := Observed{Wanted: wanted("a", 1, four, six), Session: Session{State: Established, IPv4: true}}
	for name, tt := range map[string]struct {
		prefix netip.Prefix
		state  State
		want   bool
	}{
		"announced":                       {four.Prefix, Established, true},
		"of a family that the peer lacks": {six.Prefix, Established, false},
		"not announced":                   {netip.MustParsePrefix("192.0.2.2/32"), Established, false},
		"an aggregate of what is":         {netip.MustParsePrefix("192.0.2.0/24"), Established, false},
		"while there is no session":       {four.Prefix, Active, false},
		"while the peer has not answered": {four.Prefix, OpenSent, false},
	} {
		t.Run(name, func(t *testing.T) {
			o.Session.State = tt.state
			if got := o.Hears(tt.prefix); got != tt.want {
				t.Errorf("%v, not %v", got, tt.want)
			}
		})
	}
}

func TestNotificationInWords(t *testing.T) {
	for want, n := range map[string]Notification{
		"bad peer AS (OPEN message error)": {2, 2},
		"administrative shutdown (cease)":  {6, 2},
		"hold timer expired":               {4, 0},
		"cease":                            {6, 0},
		"OPEN message error, subcode 99":   {2, 99},
		"hold timer expired, subcode 3":    {4, 3},
		"notification 77/1":                {77, 1},
	} {
		if got := n.String(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
