package main

import (
	"net/netip"
	"testing"
)

func TestParse(t *testing.T) {
	const at = "2026-11-26 10:09:32.538173 <TRACE> "
	for line, want := range map[string]event{
		at + "speaker: BGP session established":                              {what: established},
		at + "speaker: Got KEEPALIVE":                                        {},
		at + "device1: Scanning interfaces":                                  {},
		"2026-11-26 10:09:32.538173 <INFO> Started":                          {},
		at + "speaker.ipv4 > added [best] 10.64.1.1/32 0L 5L 100G unicast":   {what: added, prefix: netip.MustParsePrefix("10.64.1.1/32")},
		at + "speaker.ipv4 > removed [sole] 10.64.1.1/32 0L 5L 100G unicast": {what: removed, prefix: netip.MustParsePrefix("10.64.1.1/32")},
	} {
		got, err := parse(line)
		if err != nil || got.at.Format("15:04:05.000000") != "10:09:32.538173" || got.what != want.what || got.prefix != want.prefix {
			t.Errorf("%q: %+v, error %v", line, got, err)
		}
	}
	for _, line := range []string{"", "yesterday", "2026-11-26 10:09:32 <TRACE> speaker: Started", at + "speaker.ipv4 > added [best] nowhere", at + "speaker.ipv4 > added"} {
		if e, err := parse(line); err == nil {
			t.Errorf("%q was read: %+v", line, e)
		}
	}
}
