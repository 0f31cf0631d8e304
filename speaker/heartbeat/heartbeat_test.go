package heartbeat

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	"metallb.io/operator/internal/bfd"
	"metallb.io/operator/internal/bfd/udp"
)

func TestWhatAChangeMeans(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.1")
	for name, tt := range map[string]struct {
		change udp.Change
		want   map[netip.Addr]bool
	}{
		"up":                                {udp.Change{From: bfd.Init, To: bfd.Up}, map[netip.Addr]bool{peer: true}},
		"up, and down for a moment":         {udp.Change{From: bfd.Up, To: bfd.Up, Failed: true}, map[netip.Addr]bool{peer: true}},
		"silent":                            {udp.Change{From: bfd.Up, To: bfd.Down, Diagnostic: bfd.DetectionTimeExpired, Failed: true}, map[netip.Addr]bool{peer: false}},
		"the other end does not hear us":    {udp.Change{From: bfd.Up, To: bfd.Down, Diagnostic: bfd.NeighborSignaledDown, Failed: true}, map[netip.Addr]bool{}},
		"the other end goes on purpose":     {udp.Change{From: bfd.Up, To: bfd.Down, Diagnostic: bfd.NeighborSignaledDown}, map[netip.Addr]bool{}},
		"never up, since the start":         {udp.Change{From: bfd.Down, To: bfd.Init}, map[netip.Addr]bool{}},
		"nearly up, and then silent":        {udp.Change{From: bfd.Init, To: bfd.Down, Diagnostic: bfd.DetectionTimeExpired}, map[netip.Addr]bool{}},
		"silent, and about to be up again":  {udp.Change{From: bfd.Up, To: bfd.Init, Failed: true}, map[netip.Addr]bool{}},
		"this end was told to hold it down": {udp.Change{From: bfd.Up, To: bfd.AdminDown, Diagnostic: bfd.AdministrativelyDown}, map[netip.Addr]bool{}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.change.Peer = peer
			if got := heard([]udp.Change{tt.change}); !maps.Equal(got, tt.want) {
				t.Errorf("%v, not %v", got, tt.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for d, ok := range map[time.Duration]bool{
		0: true, 50 * time.Millisecond: true, DefaultInterval: true, 10 * time.Second: true,
		time.Nanosecond: false, 49 * time.Millisecond: false, -time.Second: false, 11 * time.Second: false,
	} {
		if err := Check(d); (err == nil) != ok {
			t.Errorf("%s: %v", d, err)
		}
	}
}
