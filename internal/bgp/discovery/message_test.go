package discovery

import (
	"net"
	"net/netip"
	"testing"
)

var (
	mac   = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	near  = netip.MustParseAddr("fe80::1")
	other = netip.MustParseAddr("fe80::2")
	none  netip.Addr
)

func TestValid(t *testing.T) {
	for name, tt := range map[string]struct {
		m    []byte
		from netip.Addr
		hops int
		want byte
	}{
		"an advertisement":                           {advertisement(mac), near, 255, typeAdvertisement},
		"one without an option":                      {advertisement(nil), near, 255, typeAdvertisement},
		"a solicitation":                             {solicitation(mac), near, 255, typeSolicitation},
		"one of a station without an address":        {solicitation(nil), netip.IPv6Unspecified(), 255, typeSolicitation},
		"such a station cannot say where it is":      {solicitation(mac), netip.IPv6Unspecified(), 255, 0},
		"one that a router has passed on":            {advertisement(mac), near, 254, 0},
		"one from an address that is not link-local": {advertisement(mac), netip.MustParseAddr("2001:db8::1"), 255, 0},
		"another code":                               {append([]byte{typeAdvertisement, 1}, advertisement(nil)[2:]...), near, 255, 0},
		"another type":                               {append([]byte{135}, advertisement(nil)[1:]...), near, 255, 0},
		"too short":                                  {advertisement(nil)[:15], near, 255, 0},
		"nothing":                                    {nil, near, 255, 0},
		"an option without a length":                 {append(advertisement(nil), 5, 0, 0, 0, 0, 0, 0, 0), near, 255, 0},
		"an option that is longer than the message":  {append(advertisement(nil), 5, 2, 0, 0, 0, 0, 0, 0), near, 255, 0},
		"half an option":                             {append(advertisement(nil), 5, 1), near, 255, 0},
	} {
		if got := valid(tt.m, tt.from, tt.hops); got != tt.want {
			t.Errorf("%s: %d, not %d", name, got, tt.want)
		}
	}
}

func TestAnAdvertisementMakesNobodyADefaultGateway(t *testing.T) {
	m := advertisement(mac)
	if lifetime := m[6:8]; lifetime[0] != 0 || lifetime[1] != 0 {
		t.Errorf("router lifetime %v", lifetime)
	}
	if len(m) != 24 || m[16] != optionSourceLinkLayer {
		t.Errorf("%v", m)
	}
}

func FuzzValid(f *testing.F) {
	f.Add(advertisement(mac), 255)
	f.Add(solicitation(mac), 255)
	f.Fuzz(func(t *testing.T, m []byte, hops int) {
		if kind := valid(m, near, hops); kind != 0 && (hops != 255 || kind != m[0]) {
			t.Errorf("%v is taken for a %d", m, kind)
		}
	})
}

func TestWhichRouter(t *testing.T) {
	const ask = "ask"
	for name, tt := range map[string]struct {
		what []any // addresses heard, and solicitations
		want netip.Addr
		open bool
	}{
		"none so far":                           {nil, none, true},
		"none though asked for":                 {[]any{ask, ask, ask, ask, ask}, none, true},
		"one":                                   {[]any{near, near}, near, false},
		"another one is not taken at once":      {[]any{near, other, ask, ask, ask}, near, true},
		"one that still answers stays":          {[]any{near, other, ask, near, other, ask, near, other, ask, ask, near}, near, false},
		"one that does not answer is forgotten": {[]any{near, other, ask, ask, other, ask, ask}, other, false},
		"a silent one stays while it is alone":  {[]any{near, ask, ask, ask, ask, ask}, near, false},
	} {
		var c choice
		for _, w := range tt.what {
			if a, ok := w.(netip.Addr); ok {
				c.heard(a)
			} else {
				c.asked()
			}
		}
		if c.router != tt.want || c.open() != tt.open {
			t.Errorf("%s: %v, open %t", name, c.router, c.open())
		}
	}
}
