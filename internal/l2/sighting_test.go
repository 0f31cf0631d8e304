package l2

import (
	"net/netip"
	"testing"
	"time"
)

func TestSightingsAreBoundedAndToldOfSparingly(t *testing.T) {
	at := time.Unix(1000, 0)
	seen := func(n int, after time.Duration) Sighting {
		return Sighting{Address: netip.MustParseAddr("192.0.2.1"), MAC: [6]byte{2, 0, 0, 0, byte(n >> 8), byte(n)}, At: at.Add(after)}
	}
	var s Sightings
	if !s.Add(seen(1, 0)) {
		t.Error("the first is not told of at once")
	}
	if s.Add(seen(1, 50*time.Millisecond)) || s.Add(seen(2, 50*time.Millisecond)) {
		t.Error("told of again within 100 ms")
	}
	if !s.Add(seen(1, 100*time.Millisecond)) {
		t.Error("not told of after 100 ms")
	}
	if got := s.Take(); len(got) != 2 || got[0].MAC[5] != 1 || !got[0].At.Equal(at.Add(100*time.Millisecond)) {
		t.Errorf("took %+v, want each station once, as heard last", got)
	}
	if got := s.Take(); len(got) != 0 {
		t.Errorf("took %+v twice", got)
	}
	for n := range 3 * mostSightings {
		s.Add(seen(n, time.Second))
	}
	if got := len(s.Take()); got != mostSightings {
		t.Errorf("%d stations are kept, want %d", got, mostSightings)
	}
}
