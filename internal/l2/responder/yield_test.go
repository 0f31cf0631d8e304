package responder

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"metallb.io/operator/internal/l2"
)

// silent is a link on which whatever is received is another station's claim to the address that it consists of.
type silent struct{ Link }

func (silent) ReadFrom([]byte) (int, net.Addr, error)      { return 0, nil, errors.New("nothing is read") }
func (silent) Admit([]l2.Range) error                      { return nil }
func (silent) Close() error                                { return nil }
func (silent) Answer([]byte) ([]byte, bool, error)         { return nil, true, nil }
func (silent) Target(frame []byte) (a netip.Addr, ok bool) { return netip.AddrFromSlice(frame) }

func TestYield(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	var none []netip.Addr
	for name, c := range map[string]struct {
		do      func(r *Responder, now time.Time)
		running []netip.Addr
		claims  []netip.Addr // that are to be made at once
	}{
		"what is yielded is answered, and not claimed any more": {func(r *Responder, now time.Time) {
			set(r, []netip.Addr{a, b}, nil, now)
			set(r, []netip.Addr{b}, []netip.Addr{a}, now)
		}, []netip.Addr{a, b}, []netip.Addr{b}},
		"what is not answered is not begun by yielding it": {func(r *Responder, now time.Time) {
			set(r, nil, []netip.Addr{a}, now)
		}, none, none},
		"another station's claim ends it": {func(r *Responder, now time.Time) {
			set(r, []netip.Addr{a, b}, nil, now)
			set(r, nil, []netip.Addr{a, b}, now)
			r.Serve(a.AsSlice())
		}, []netip.Addr{b}, none},
		"once ended it does not come back by being yielded on": {func(r *Responder, now time.Time) {
			set(r, []netip.Addr{a}, nil, now)
			set(r, nil, []netip.Addr{a}, now)
			r.Serve(a.AsSlice())
			set(r, nil, []netip.Addr{a}, now)
		}, none, none},
		"another station's claim does not end what is not yielded": {func(r *Responder, now time.Time) {
			set(r, []netip.Addr{a}, nil, now)
			r.Serve(a.AsSlice())
		}, []netip.Addr{a}, []netip.Addr{a}},
		"what another station has just claimed ends as soon as it is yielded": {func(r *Responder, now time.Time) {
			set(r, []netip.Addr{a}, nil, now)
			r.Serve(a.AsSlice())
			set(r, nil, []netip.Addr{a}, now)
		}, none, none},
		"a claim of long ago does not count": {func(r *Responder, now time.Time) {
			set(r, []netip.Addr{a}, nil, now)
			r.Serve(a.AsSlice())
			set(r, nil, []netip.Addr{a}, now.Add(time.Minute))
		}, []netip.Addr{a}, none},
		"a claim from before our own does not count": {func(r *Responder, now time.Time) {
			set(r, []netip.Addr{a}, nil, now)
			r.Serve(a.AsSlice())
			r.reclaim(now)
			set(r, nil, []netip.Addr{a}, now)
		}, []netip.Addr{a}, none},
		"what is yielded no more ends": {func(r *Responder, now time.Time) {
			set(r, []netip.Addr{a, b}, nil, now)
			set(r, []netip.Addr{b}, []netip.Addr{a}, now)
			set(r, []netip.Addr{b}, nil, now)
		}, []netip.Addr{b}, []netip.Addr{b}},
		"what comes back is claimed anew, once": {func(r *Responder, now time.Time) {
			set(r, []netip.Addr{a}, nil, now)
			r.schedule.Due(now)
			set(r, nil, []netip.Addr{a}, now)
			set(r, []netip.Addr{a}, nil, now)
			set(r, []netip.Addr{a}, nil, now)
		}, []netip.Addr{a}, []netip.Addr{a}},
		"to claim all anew leaves out what is yielded": {func(r *Responder, now time.Time) {
			set(r, []netip.Addr{a, b}, nil, now)
			set(r, []netip.Addr{b}, []netip.Addr{a}, now)
			r.reclaim(now)
		}, []netip.Addr{a, b}, []netip.Addr{b}},
	} {
		t.Run(name, func(t *testing.T) {
			r, now := NewResponder(Place{Interface: l2.Interface{Name: "eth0"}}, silent{}, Protocol{Log: slog.New(slog.DiscardHandler)}), time.Now()
			c.do(r, now)
			if running, _ := r.running(); !slices.Equal(running, c.running) {
				t.Errorf("running are %v, want %v", running, c.running)
			}
			if claims := r.schedule.Due(now.Add(time.Millisecond)); !slices.Equal(claims, c.claims) {
				t.Errorf("claims of %v are due, want %v", claims, c.claims)
			}
		})
	}
}

// set cannot fail: nothing is let in or kept out here.
func set(r *Responder, desired, yielding []netip.Addr, now time.Time) {
	if err := r.Set(desired, yielding, now); err != nil {
		panic(err)
	}
}
