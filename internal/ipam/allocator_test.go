package ipam

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// script is a history in short, so that a test reads as a story. Operations are separated by commas:
//
//	a 4                 Service a asks for an IPv4 address; families 4, 6, 46, 64, with ? one is enough
//	a 4 @pool =addr     from that pool; that address; also key=K backend=B port=N not=POOL (refused) bad (KeepOnly)
//	                    for=R (reservation R is for it)
//	ns0/a -             Service a of namespace ns0 goes; without a namespace it is ns
type script string

func (s script) run(t *testing.T, a *Allocator) map[string]Result {
	t.Helper()
	results := map[string]Result{}
	for i, op := range strings.Split(string(s), ",") {
		words := strings.Fields(op)
		key := scriptKey(words[0])
		if words[1] == "-" {
			a.Release(key)
			delete(results, words[0])
		} else {
			a.Assign(parseRequest(t, key, i, words[1:]))
			results[words[0]] = Result{}
		}
		for name := range results { // what was decided is written
			res, _ := a.Lookup(scriptKey(name))
			a.Written(scriptKey(name), res.Addresses)
		}
		for name := range results {
			results[name], _ = a.Lookup(scriptKey(name))
		}
	}
	return results
}

// scriptKey reads the name of a Service, which is in namespace ns unless it says otherwise: other/a.
func scriptKey(text string) Key {
	if ns, name, ok := strings.Cut(text, "/"); ok {
		return Key{ns, name}
	}
	return Key{"ns", text}
}

func parseRequest(t *testing.T, key Key, at int, words []string) Request {
	t.Helper()
	// Created by name, so that a request that is made again is as old as before.
	req := Request{Key: key, Created: time.Unix(int64(key.Name[0]), 0), OneIsEnough: strings.HasSuffix(words[0], "?"), Refused: map[string]string{}, Ports: []Port{{"TCP", int32(80)}}}
	for _, c := range strings.TrimSuffix(words[0], "?") {
		req.Families = append(req.Families, Family(c-'0'))
	}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		switch {
		case w[0] == '@':
			req.Pool = w[1:]
		case name == "":
			req.Addresses = append(req.Addresses, netip.MustParseAddr(value))
		case name == "key":
			req.SharingKey = value
		case name == "backend":
			req.BackendKey = value
		case name == "port":
			req.Ports = []Port{{value[:3], int32(value[3])}}
		case name == "not":
			req.Refused[value] = "is for others"
		case name == "bad":
			req.KeepOnly = true
		case name == "for":
			req.Reservations = append(req.Reservations, value)
		default:
			t.Fatalf("operation %d: what is %q?", at, w)
		}
	}
	return req
}

// parsePools reads "name[flags]=range range R:address; ..." with flags m (manual), b (avoid buggy), i (incomplete), p or pN
// (pinned, priority), qN (quota); an address may be for reservation R.
func parsePools(t *testing.T, text string) []Pool {
	t.Helper()
	var out []Pool
	for _, one := range strings.Split(text, ";") {
		head, ranges, _ := strings.Cut(strings.TrimSpace(one), "=")
		name, flags, _ := strings.Cut(strings.TrimSuffix(head, "]"), "[")
		p := Pool{Name: name, AutoAssign: !strings.Contains(flags, "m"), AvoidBuggyIPs: strings.Contains(flags, "b"), Incomplete: strings.Contains(flags, "i")}
		if i := strings.Index(flags, "p"); i >= 0 {
			p.Pinned = true
			if i+1 < len(flags) {
				p.Priority = int(flags[i+1] - '0')
			}
		}
		if i := strings.Index(flags, "q"); i >= 0 {
			p.NamespaceQuota = int(flags[i+1] - '0')
		}
		for _, r := range strings.Fields(ranges) {
			if name, addr, ok := strings.Cut(r, ":"); ok && strings.HasPrefix(name, "R") {
				if p.Reserved == nil {
					p.Reserved = map[netip.Addr]string{}
				}
				p.Reserved[netip.MustParseAddr(addr)] = name
				continue
			}
			p.Ranges = append(p.Ranges, mustRange(t, r))
		}
		out = append(out, p)
	}
	return out
}

func short(r Result) string {
	var parts []string
	for _, a := range r.Addresses {
		parts = append(parts, a.String())
	}
	if r.Reason != Assigned {
		parts = append(parts, string(r.Reason))
	}
	return strings.Join(parts, " ")
}

func TestAssign(t *testing.T) {
	for name, tt := range map[string]struct {
		pools  string
		script script
		want   map[string]string // Service: its addresses, and the reason where the request failed
	}{
		"the lowest address of the first entry first": {
			"p=192.0.2.9/32 192.0.2.0/31", "a 4, b 4, c 4",
			map[string]string{"a": "192.0.2.9", "b": "192.0.2.0", "c": "192.0.2.1"},
		},
		"a freed address is used again": {
			"p=192.0.2.0/30", "a 4, b 4, c 4, b -, d 4",
			map[string]string{"a": "192.0.2.0", "c": "192.0.2.2", "d": "192.0.2.1"},
		},
		"asking again changes nothing": {
			"p=192.0.2.0/30", "a 4, b 4, a -, b 4, b 4", map[string]string{"b": "192.0.2.1"},
		},
		"IPv6": {"p=192.0.2.0/30 2001:db8::/127", "a 6, b 6", map[string]string{"a": "2001:db8::", "b": "2001:db8::1"}},
		"pools are used by name, those for certain Services and of low priority first": {
			"b=192.0.2.1/32; a=192.0.2.2/32; y[p2]=192.0.2.3/32; z[p1]=192.0.2.4/32; x[p]=192.0.2.5/32", "a 4, b 4, c 4, d 4, e 4, f 4",
			map[string]string{"a": "192.0.2.4", "b": "192.0.2.3", "c": "192.0.2.5", "d": "192.0.2.2", "e": "192.0.2.1", "f": "PoolExhausted"},
		},
		"a pool that refuses the Service is not used": {
			"p[p]=192.0.2.0/30; q=192.0.2.8/30", "a 4 not=p, b 4 not=p not=q, c 4 @p not=p, d 4 =192.0.2.1 not=p",
			map[string]string{"a": "192.0.2.8", "b": "NoPoolForService", "c": "PoolNotForService", "d": "PoolNotForService"},
		},
		"a pool on request only": {
			"p[m]=192.0.2.0/30", "a 4, b 4 @p, c 4 =192.0.2.3",
			map[string]string{"a": "NoPoolForService", "b": "192.0.2.0", "c": "192.0.2.3"},
		},
		"no pool at all":             {"", "a 4", map[string]string{"a": "NoPools"}},
		"an unknown pool":            {"p=192.0.2.0/30", "a 4 @q, b 4 @q =192.0.2.1", map[string]string{"a": "PoolUnknown", "b": "PoolUnknown"}},
		"a pool of the other family": {"p=192.0.2.0/30", "a 6 @p, b 6", map[string]string{"a": "FamilyNotInPool", "b": "NoPoolForService"}},
		"addresses asked for": {
			"p=192.0.2.0/30; q[b]=198.51.100.0/24", "a 4 =192.0.2.2, b 4 =192.0.2.2, c 4 =203.0.113.1, d 4 @p =198.51.100.7, e 4 =198.51.100.255, f 46 =192.0.2.1 =2001:db8::1",
			map[string]string{"a": "192.0.2.2", "b": "AddressInUse", "c": "AddressOutsidePools", "d": "AddressNotInPool", "e": "AddressAvoided", "f": "AddressOutsidePools"},
		},
		"addresses of two pools": {"p=192.0.2.0/30; q=2001:db8::/125", "a 46 =192.0.2.1 =2001:db8::1", map[string]string{"a": "AddressesInTwoPools"}},
		"buggy addresses are passed over": {
			"p[b]=192.0.2.254-192.0.3.1", "a 4, b 4, c 4", map[string]string{"a": "192.0.2.254", "b": "192.0.3.1", "c": "PoolExhausted"},
		},
		"a request that cannot be served leaves what there is": {
			"p=192.0.2.0/30; q=198.51.100.1/32", "a 4, b 4 @q, a 4 @q, c 4, c 4 =203.0.113.1, d 4, d 4 @nowhere",
			map[string]string{"a": "192.0.2.0 PoolExhausted", "b": "198.51.100.1", "c": "192.0.2.1 AddressOutsidePools", "d": "192.0.2.2 PoolUnknown"},
		},
		"a request that cannot be read leaves what there is, and gives nothing": {
			"p=192.0.2.0/30", "a 4, a 4 bad, b 4 bad", map[string]string{"a": "192.0.2.0 InvalidRequest", "b": "InvalidRequest"},
		},
		"a Service moves to the pool and to the address that it asks for": {
			"p=192.0.2.0/30; q=198.51.100.0/30", "a 4, a 4 @q, b 4, b 4 =192.0.2.3, c 4",
			map[string]string{"a": "198.51.100.0", "b": "192.0.2.3", "c": "192.0.2.0"},
		},
		"a freed address goes to the oldest that waits": {
			"p=192.0.2.0/32", "x 4, c 4, b 4, x -", map[string]string{"b": "192.0.2.0", "c": "PoolExhausted"},
		},
		"who waits for one address gets that one and no other": {
			"p=192.0.2.0/31", "x 4, y 4, a 4 =192.0.2.1, b 4, x -", map[string]string{"y": "192.0.2.1", "a": "AddressInUse", "b": "192.0.2.0"},
		},
		"who waits for an address learns who has it now": {
			"p=192.0.2.0/32", "x 4, b 4, c 4 =192.0.2.0, x -", map[string]string{"b": "192.0.2.0", "c": "AddressInUse"},
		},
		"a move frees an address for who waits": {
			"p=192.0.2.0/32; q[m]=198.51.100.0/32", "x 4, b 4, x 4 @q", map[string]string{"x": "198.51.100.0", "b": "192.0.2.0"},
		},
		"sharing: same key, other ports": {
			"p=192.0.2.0/30", "a 4 key=k port=TCP1, b 4 key=k port=UDP1, c 4 key=k port=TCP2, d 4 key=k port=TCP1, e 4 key=l port=TCP3, f 4",
			map[string]string{"a": "192.0.2.0", "b": "192.0.2.0", "c": "192.0.2.0", "d": "192.0.2.1", "e": "192.0.2.2", "f": "192.0.2.3"},
		},
		"sharing: other backends do not": {
			"p=192.0.2.0/32", "a 4 key=k port=TCP1 backend=x, b 4 key=k port=TCP2, c 4 key=k port=TCP3 backend=x",
			map[string]string{"a": "192.0.2.0", "b": "PoolExhausted", "c": "192.0.2.0"},
		},
		"sharing: the address is free when the last has gone": {
			"p=192.0.2.0/32", "a 4 key=k port=TCP1, b 4 key=k port=TCP2, x 4, a -, b -", map[string]string{"x": "192.0.2.0"},
		},
		"sharing: who is alone may change the key, who is not must move": {
			"p=192.0.2.0/30", "a 4 key=k port=TCP1, a 4 key=l port=TCP1, b 4 key=l port=TCP2, b 4 key=m port=TCP2, c 4 key=l port=TCP3",
			map[string]string{"a": "192.0.2.0", "b": "192.0.2.1", "c": "192.0.2.0"},
		},
		"sharing: who takes a port that another has must move": {
			"p=192.0.2.0/32", "a 4 key=k port=TCP1, b 4 key=k port=TCP2, b 4 key=k port=TCP1", map[string]string{"a": "192.0.2.0", "b": "PoolExhausted"},
		},
		"sharing: a port that is given up wakes who waits for it": {
			"p=192.0.2.0/32", "a 4 key=k port=TCP1, b 4 key=k port=TCP1, a 4 key=k port=TCP2", map[string]string{"a": "192.0.2.0", "b": "192.0.2.0"},
		},
		"sharing: backends that become the same wake who waits for it": {
			"p=192.0.2.0/32", "a 4 key=k port=TCP1 backend=x, b 4 key=k port=TCP2 backend=y, a 4 key=k port=TCP1 backend=y", map[string]string{"a": "192.0.2.0", "b": "192.0.2.0"},
		},
		"sharing: an address asked for": {
			"p=192.0.2.0/30", "a 4 =192.0.2.2 key=k port=TCP1, b 4 =192.0.2.2 key=k port=TCP2, c 4 =192.0.2.2 port=TCP3",
			map[string]string{"a": "192.0.2.2", "b": "192.0.2.2", "c": "AddressInUse"},
		},
		"dual stack from one pool": {
			"p=192.0.2.0/30; q=192.0.2.8/30 2001:db8::/125", "a 46, b 64, c 46?",
			map[string]string{"a": "192.0.2.8 2001:db8::", "b": "192.0.2.9 2001:db8::1", "c": "192.0.2.10 2001:db8::2"},
		},
		"dual stack required is not served by halves": {"p=192.0.2.0/30; q=2001:db8::/125", "a 46", map[string]string{"a": "NoPoolForService"}},
		"dual stack preferred takes the first family, else the second": {
			"p=192.0.2.0/32; q=2001:db8::/125", "a 64?, b 46?, c 46?", map[string]string{"a": "2001:db8::", "b": "192.0.2.0", "c": "2001:db8::1"},
		},
		"a second family comes from the pool of the first, when it is there": {
			"p=192.0.2.0/30 2001:db8::/128", "x 6, a 46?, x -", map[string]string{"a": "192.0.2.0 2001:db8::"},
		},
		"a second family is given up": {"p=192.0.2.0/30 2001:db8::/125", "a 46, a 4, b 6", map[string]string{"a": "192.0.2.0", "b": "2001:db8::"}},
		"preferred becomes required: what there is stays": {
			"p=192.0.2.0/30", "a 46?, a 46", map[string]string{"a": "192.0.2.0 NoPoolForService"},
		},
		"a namespace has no more than its quota, another has its own": {
			"p[q2]=192.0.2.0/29", "a 4, b 4, c 4, o/c 4", map[string]string{"a": "192.0.2.0", "b": "192.0.2.1", "c": "QuotaReached", "o/c": "192.0.2.2"},
		},
		"a quota is of each family": {
			"p[q1]=192.0.2.0/29 2001:db8::/125", "a 46, b 6, o/b 6, c 4", map[string]string{"a": "192.0.2.0 2001:db8::", "b": "QuotaReached", "o/b": "2001:db8::1", "c": "QuotaReached"},
		},
		"a quota is of each pool": {"p[q1]=192.0.2.0/29; q=192.0.2.8/30", "a 4, b 4", map[string]string{"a": "192.0.2.0", "b": "192.0.2.8"}},
		"who goes leaves room in its namespace, and in no other": {
			"p[q1]=192.0.2.0/29", "a 4, o/a 4, b 4, o/b 4, a -", map[string]string{"o/a": "192.0.2.1", "b": "192.0.2.0", "o/b": "QuotaReached"},
		},
		"an address that is shared within the namespace counts once": {
			"p[q1]=192.0.2.0/29", "a 4 key=k port=TCP1, b 4 key=k port=TCP2, c 4 key=k port=TCP1, a -",
			map[string]string{"b": "192.0.2.0", "c": "192.0.2.0"},
		},
		"an address that is shared with another namespace counts in both": {
			"p[q1]=192.0.2.0/29", "a 4 key=k port=TCP1, o/a 4, o/b 4 key=k port=TCP2, o/a -",
			map[string]string{"a": "192.0.2.0", "o/b": "192.0.2.0"},
		},
		"who shares an address of the namespace needs no room": {
			"p[q1]=192.0.2.0/29", "b 4 =192.0.2.4, o/a 4 key=k port=TCP1, a 4 key=k port=TCP2, b 4 =192.0.2.4 key=k port=TCP3",
			map[string]string{"a": "192.0.2.4", "b": "192.0.2.4", "o/a": "192.0.2.0"},
		},
		"a quota does not keep a Service from another address": {
			"p[q1]=192.0.2.0/29", "a 4, a 4 =192.0.2.3, b 4 =192.0.2.0", map[string]string{"a": "192.0.2.3", "b": "QuotaReached"},
		},
		"a reserved address is not given to others": {
			"p=192.0.2.0/31 R:192.0.2.0", "a 4, b 4, c 4 =192.0.2.0, d 4 for=R",
			map[string]string{"a": "192.0.2.1", "b": "PoolExhausted", "c": "AddressReserved", "d": "192.0.2.0"},
		},
		"who it is reserved for gets it back": {
			"p=192.0.2.0/29 R:192.0.2.2", "a 4 for=R, a -, b 4, c 4, d 4, a 4 for=R",
			map[string]string{"a": "192.0.2.2", "b": "192.0.2.0", "c": "192.0.2.1", "d": "192.0.2.3"},
		},
		"of two that it is reserved for the second has another": {
			"p=192.0.2.0/29 R:192.0.2.2", "a 4 for=R, b 4 for=R", map[string]string{"a": "192.0.2.2", "b": "192.0.2.0"},
		},
		"who it is reserved for may ask for it, and share it with whom it is reserved for": {
			"p=192.0.2.0/29 R:192.0.2.2", "a 4 for=R =192.0.2.2 key=k port=TCP1, b 4 for=R key=k port=TCP2, c 4 key=k port=TCP3",
			map[string]string{"a": "192.0.2.2", "b": "192.0.2.2", "c": "192.0.2.0"},
		},
		"a reservation asks for its pool, unless that is not for the Service": {
			"p=192.0.2.0/30; q[m]=192.0.2.8/30 R:192.0.2.9", "b 4 for=R not=q, a 4 for=R", map[string]string{"a": "192.0.2.9", "b": "192.0.2.0"},
		},
		"the first reservation counts, and both families": {
			"p=192.0.2.0/30 R1:192.0.2.1; q=192.0.2.8/30 2001:db8::/125 R2:192.0.2.9 R2:2001:db8::5", "a 46? for=R2 for=R1, b 4 for=R1 for=R2",
			map[string]string{"a": "192.0.2.9 2001:db8::5", "b": "192.0.2.1"},
		},
		"a reserved address is worth more than a second family": {
			"p[m]=192.0.2.0/30 R:192.0.2.1; q=192.0.2.8/30 2001:db8::/125", "a 46? for=R, b 46 for=R",
			map[string]string{"a": "192.0.2.1", "b": "192.0.2.8 2001:db8::"},
		},
		"no Service moves for a reservation": {"p=192.0.2.0/30 R:192.0.2.1", "a 4, a 4 for=R", map[string]string{"a": "192.0.2.0"}},
		"a reservation of what the pool has not is no matter": {
			"p[b]=192.0.2.0/30 R:192.0.2.0 R:198.51.100.1 R:203.0.113.1; q=203.0.113.0/30", "a 4 for=R, b 4 =192.0.2.0 for=R, c 4 =203.0.113.1",
			map[string]string{"a": "192.0.2.1", "b": "AddressAvoided", "c": "203.0.113.1"},
		},
		"who lacks one of two families lacks addresses": {"p=192.0.2.0/30 2001:db8::/128", "a 6, b 46", map[string]string{"a": "2001:db8::", "b": "PoolExhausted"}},
		"a pool without free addresses is said before a quota": {
			"p=192.0.2.0/32; q[q1]=192.0.2.8/30", "a 4, b 4, c 4", map[string]string{"a": "192.0.2.0", "b": "192.0.2.8", "c": "PoolExhausted"},
		},
		"a quota holds for reserved addresses too": {
			"p[q1]=192.0.2.0/30 R:192.0.2.1", "a 4, b 4 for=R, o/b 4 for=R", map[string]string{"a": "192.0.2.0", "b": "QuotaReached", "o/b": "192.0.2.1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var pools []Pool
			if tt.pools != "" {
				pools = parsePools(t, tt.pools)
			}
			a := Rebuild(pools, nil, nil)
			got := tt.script.run(t, a)
			for svc, want := range tt.want {
				if s := short(got[svc]); s != want {
					t.Errorf("%s has %q, want %q", svc, s, want)
				}
			}
			if len(got) != len(tt.want) {
				t.Errorf("%d Services, want %d", len(got), len(tt.want))
			}
			check(t, a, pools, name)
		})
	}
}

func TestRebuild(t *testing.T) {
	type claim struct{ request, held, from string }
	for name, tt := range map[string]struct {
		pools  string
		claims map[string]claim
		want   map[string]string
	}{
		"what is held stays, though an older Service waits": {
			"p=192.0.2.0/32", map[string]claim{"a": {"4", "", ""}, "b": {"4", "192.0.2.0", "p"}},
			map[string]string{"a": "PoolExhausted", "b": "192.0.2.0"},
		},
		"of two that hold the same address the older keeps it": {
			"p=192.0.2.0/30", map[string]claim{"b": {"4", "192.0.2.1", "p"}, "a": {"4", "192.0.2.1", "p"}},
			map[string]string{"a": "192.0.2.1", "b": "192.0.2.0"},
		},
		"what is held above the quota stays, and no more is given": {
			"p[q1]=192.0.2.0/29", map[string]claim{"a": {"4", "192.0.2.1", "p"}, "b": {"4", "192.0.2.2", "p"}, "c": {"4", "", ""}},
			map[string]string{"a": "192.0.2.1", "b": "192.0.2.2", "c": "QuotaReached"},
		},
		"what is held stays, whoever it is reserved for": {
			"p=192.0.2.0/29 R:192.0.2.0", map[string]claim{"b": {"4", "192.0.2.0", "p"}, "a": {"4 for=R", "", ""}},
			map[string]string{"b": "192.0.2.0", "a": "192.0.2.1"},
		},
		"those that wait are served by age": {
			"p=192.0.2.0/31", map[string]claim{"c": {"4", "", ""}, "a": {"4", "", ""}, "b": {"4", "", ""}},
			map[string]string{"a": "192.0.2.0", "b": "192.0.2.1", "c": "PoolExhausted"},
		},
		"an address that no pool has any more is replaced": {
			"q=192.0.2.0/30", map[string]claim{"a": {"4", "198.51.100.7", "p"}}, map[string]string{"a": "192.0.2.0"},
		},
		"an address of an incomplete pool stays, of another not": {
			"p[i]=192.0.2.0/30; q=192.0.2.8/30", map[string]claim{"a": {"4", "198.51.100.7", "p"}, "b": {"4", "198.51.100.8", "q"}, "c": {"4", "198.51.100.9", ""}},
			map[string]string{"a": "198.51.100.7", "b": "192.0.2.0", "c": "192.0.2.1"},
		},
		"an address stays though its pool now refuses the Service, is on request only, or has another name": {
			"p=192.0.2.0/30; q[m]=192.0.2.8/30; new=192.0.2.16/30", map[string]claim{"a": {"4 not=p", "192.0.2.3", "p"}, "b": {"4", "192.0.2.9", "q"}, "c": {"4", "192.0.2.17", "old"}},
			map[string]string{"a": "192.0.2.3", "b": "192.0.2.9", "c": "192.0.2.17"},
		},
		"addresses that are now of two pools stay": {
			"p=192.0.2.0/30; q=2001:db8::/125", map[string]claim{"a": {"46", "192.0.2.1 2001:db8::7", "old"}},
			map[string]string{"a": "192.0.2.1 2001:db8::7"},
		},
		"who loses one of two families moves to a pool with both": {
			"p=192.0.2.0/30; q=192.0.2.8/30 2001:db8::/125", map[string]claim{"a": {"46?", "192.0.2.1 2001:db8:1::7", "p"}, "b": {"46?", "192.0.2.2", "p"}},
			map[string]string{"a": "192.0.2.8 2001:db8::", "b": "192.0.2.2"},
		},
		"who loses one of two families, and finds no pool with both, keeps the other": {
			"p=192.0.2.0/30", map[string]claim{"a": {"64?", "192.0.2.1 2001:db8:1::7", "p"}}, map[string]string{"a": "192.0.2.1"},
		},
		"an address in its IPv4-mapped form": {
			"p=192.0.2.0/30", map[string]claim{"a": {"4", "::ffff:192.0.2.2", "p"}}, map[string]string{"a": "192.0.2.2"},
		},
		"who shares an address that its pool no longer lists goes on, whatever it says of the pool": {
			"p[i]=192.0.2.0/30", map[string]claim{"a": {"4 key=k port=TCP1", "198.51.100.7", "p"}, "b": {"4 key=k port=TCP2", "198.51.100.7", ""}},
			map[string]string{"a": "198.51.100.7", "b": "198.51.100.7"},
		},
		"two addresses of one family: the first stays": {
			"p=192.0.2.0/30", map[string]claim{"a": {"4", "192.0.2.2 192.0.2.1", "p"}}, map[string]string{"a": "192.0.2.2"},
		},
		"an address that differs from the one asked for is exchanged": {
			"p=192.0.2.0/30", map[string]claim{"a": {"4 =192.0.2.3", "192.0.2.1", "p"}, "b": {"4", "", ""}},
			map[string]string{"a": "192.0.2.3", "b": "192.0.2.0"},
		},
		"who shares goes on sharing": {
			"p=192.0.2.0/30", map[string]claim{"a": {"4 key=k port=TCP1", "192.0.2.2", "p"}, "b": {"4 key=k port=TCP2", "192.0.2.2", "p"}},
			map[string]string{"a": "192.0.2.2", "b": "192.0.2.2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var claims []Claim
			for svc, c := range tt.claims {
				one := Claim{Request: parseRequest(t, Key{"ns", svc}, 0, strings.Fields(c.request)), HeldFrom: c.from}
				for _, addr := range strings.Fields(c.held) {
					one.Held = append(one.Held, netip.MustParseAddr(addr))
				}
				claims = append(claims, one)
			}
			a := Rebuild(parsePools(t, tt.pools), claims, nil)
			for svc, want := range tt.want {
				if got, _ := a.Lookup(Key{"ns", svc}); short(got) != want {
					t.Errorf("%s has %q, want %q", svc, short(got), want)
				}
			}
			check(t, a, parsePools(t, tt.pools), name)
		})
	}
}

func TestResultTellsWhy(t *testing.T) {
	a := Rebuild(parsePools(t, "a=192.0.2.0/32; b[m]=192.0.2.1/32; c=192.0.2.2/32; d=2001:db8::/125"), nil, nil)
	results := script("x 4, y 4 not=c, z 4 =192.0.2.0").run(t, a)
	want := []Refusal{{"a", PoolExhausted, ""}, {"b", NotAutomatic, ""}, {"c", PoolNotForService, "is for others"}, {"d", FamilyNotInPool, ""}}
	if got := results["y"].Fault.Refusals; !slices.Equal(got, want) {
		t.Errorf("refusals are %v, want %v", got, want)
	}
	a = Rebuild(parsePools(t, "p=192.0.2.0/30"), nil, nil)
	want = []Refusal{{"p", PoolNotForService, "is for others"}}
	if got := script("x 4 =192.0.2.1 not=p").run(t, a)["x"].Fault.Refusals; !slices.Equal(got, want) {
		t.Errorf("refusals are %v, want %v", got, want)
	}
	a = Rebuild(parsePools(t, "p=192.0.2.0/32"), nil, nil)
	script("x 4, b 4, c 4 =192.0.2.0, x -").run(t, a)
	if got, _ := a.Lookup(Key{"ns", "c"}); got.Fault.Holder.Name != "b" {
		t.Errorf("c is told that %s has its address, want b", got.Fault.Holder)
	}
	a = Rebuild(parsePools(t, "p[q1]=192.0.2.0/30 R:192.0.2.3; q[m]=192.0.2.8/30"), nil, nil)
	results2 := script("x 4, y 4, z 4 =192.0.2.1, w 4 =192.0.2.3").run(t, a)
	want = []Refusal{{"p", QuotaReached, ""}, {"q", NotAutomatic, ""}}
	if got := results2["y"].Fault.Refusals; !slices.Equal(got, want) {
		t.Errorf("refusals are %v, want %v", got, want)
	}
	if got := results2["z"]; got.Fault.Address.String() != "192.0.2.1" || !slices.Equal(got.Fault.Refusals, want[:1]) {
		t.Errorf("above the quota: %+v", *got.Fault)
	}
	if got := results2["w"]; got.Fault.Address.String() != "192.0.2.3" || got.Fault.Pool != "p" || got.Fault.Reservation != "R" {
		t.Errorf("reserved for another: %+v", *got.Fault)
	}
	if z := results["z"]; z.Fault.Address.String() != "192.0.2.0" || z.Fault.Pool != "a" || z.Fault.Holder != (Key{"ns", "x"}) {
		t.Errorf("who has 192.0.2.0? %+v", *z.Fault)
	}
	a = Rebuild(parsePools(t, "p[b]=192.0.2.0/30"), nil, nil)
	if got := script("x 4 =192.0.2.0").run(t, a)["x"]; got.Fault.Address.String() != "192.0.2.0" || got.Fault.Pool != "p" {
		t.Errorf("avoided: %+v", *got.Fault)
	}
}

func TestChangedServicesAreNamed(t *testing.T) {
	a := Rebuild(parsePools(t, "p=192.0.2.0/31"), nil, nil)
	script("w 4, x 4, a 4, b 4, c 4 @nowhere").run(t, a)
	if got := a.Release(Key{"ns", "w"}); !slices.Equal(got, []Key{{"ns", "a"}}) {
		t.Errorf("w frees an address for %v, want a", got)
	}
	if _, got := a.Assign(parseRequest(t, Key{"ns", "x"}, 0, []string{"6"})); got != nil {
		t.Errorf("x frees an address for %v that its status still shows", got)
	}
	if got := a.Written(Key{"ns", "x"}, nil); !slices.Equal(got, []Key{{"ns", "b"}}) {
		t.Errorf("x frees an address for %v, want b", got)
	}
	if got := a.Release(Key{"ns", "b"}); got != nil {
		t.Errorf("b frees an address for %v: c cannot use it", got)
	}
	if got := a.Release(Key{"ns", "nobody"}); got != nil {
		t.Errorf("nobody frees an address for %v", got)
	}

	// What the namespace has of a pool with a quota can be shared within it, also before anything is free.
	a = Rebuild(parsePools(t, "p[q1]=192.0.2.0/30"), nil, nil)
	script("b 4, o/x 4 key=k port=TCP1, a 4 key=k port=TCP2").run(t, a)
	if _, got := a.Assign(parseRequest(t, Key{"ns", "b"}, 0, []string{"4", "=192.0.2.1", "key=k", "port=TCP3"})); !slices.Equal(got, []Key{{"ns", "a"}}) {
		t.Errorf("b brings an address that %v may share, want a", got)
	}
}

func TestRebuildLeavesItsInputAlone(t *testing.T) {
	var claims, leaving []Claim
	for _, name := range []string{"c", "a", "b"} {
		claims = append(claims, Claim{Request: parseRequest(t, Key{"ns", name}, 0, []string{"4"})})
		leaving = append(leaving, Claim{Request: parseRequest(t, Key{"ns", name + "x"}, 0, []string{"4"}), Held: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	}
	Rebuild(parsePools(t, "p=192.0.2.0/30"), claims, leaving)
	if claims[0].Key.Name != "c" || claims[2].Key.Name != "b" || leaving[0].Key.Name != "cx" || leaving[2].Key.Name != "bx" {
		t.Errorf("claims are now %v, and %v", claims, leaving)
	}
}

// TestLeaving tells the story of an address that its Service's status still shows.
func TestLeaving(t *testing.T) {
	k := func(name string) Key { return Key{"ns", name} }
	at := netip.MustParseAddr
	start := func(pools, story string) *Allocator {
		a := Rebuild(parsePools(t, pools), nil, nil)
		script(story).run(t, a)
		return a
	}
	ask := func(a *Allocator, name, request string) string {
		res, _ := a.Assign(parseRequest(t, k(name), 0, strings.Fields(request)))
		return short(res)
	}
	has := func(a *Allocator, name string) string {
		res, _ := a.Lookup(k(name))
		return short(res)
	}
	expect := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("it is %q, want %q", got, want)
		}
	}
	a := start("p=192.0.2.0/31; q[m]=198.51.100.0/31", "a 4, b 4 key=k port=TCP1")
	expect(ask(a, "a", "4 @q"), "198.51.100.0")
	expect(ask(a, "c", "4"), "PoolExhausted")
	expect(ask(a, "d", "4 =192.0.2.0"), "AddressInUse")
	if res, _ := a.Lookup(k("d")); res.Fault.Holder != k("a") {
		t.Errorf("the address is said to be %s's", res.Fault.Holder)
	}
	if u := a.Usage()[0]; u.Used4 != 2 {
		t.Errorf("%d addresses are in use, want 2", u.Used4)
	}
	if got := a.Written(k("a"), []netip.Addr{at("192.0.2.0"), at("198.51.100.0")}); got != nil || !a.Leaves(k("a")) {
		t.Errorf("what is still shown went to %v", got)
	}
	if got := a.Written(k("c"), nil); got != nil {
		t.Errorf("c frees what it never had for %v", got)
	}
	expect(ask(a, "a", "4 =192.0.2.0"), "192.0.2.0") // it may come back
	if got := a.Written(k("a"), []netip.Addr{at("192.0.2.0")}); got != nil || a.Leaves(k("a")) {
		t.Errorf("it came back, and the address went to %v", got)
	}
	expect(has(a, "a"), "192.0.2.0")
	ask(a, "a", "4 @q")
	if got := a.Written(k("a"), []netip.Addr{at("198.51.100.0")}); !slices.Equal(got, []Key{k("c"), k("d")}) {
		t.Errorf("the address is news for %v, want c and d", got)
	}
	expect(has(a, "c"), "192.0.2.0")

	// Who leaves is met as it was: with its old ports and key.
	expect(ask(a, "b", "4 @q"), "198.51.100.1")
	expect(ask(a, "e", "4 =192.0.2.1 key=k port=TCP1"), "AddressInUse")
	expect(ask(a, "f", "4 =192.0.2.1 key=k port=TCP2"), "192.0.2.1")
	a.Written(k("b"), nil)
	expect(has(a, "e"), "192.0.2.1")

	// Who is withdrawn asks for nothing more, and keeps others away until its status is empty.
	a.Withdraw(k("c"))
	a.Withdraw(k("nobody"))
	if _, ok := a.Lookup(k("a")); !ok {
		t.Error("a is not known")
	}
	if _, ok := a.Lookup(k("c")); ok || !a.Leaves(k("c")) || a.Leaves(k("nobody")) {
		t.Error("a Service that is withdrawn is known, or its address free")
	}
	expect(has(a, "d"), "AddressInUse")
	// A controller that is told of it goes on like that; also without the pool for a while.
	for _, pools := range []string{"r=203.0.113.0/31", "p=192.0.2.0/31; q[m]=198.51.100.0/31"} {
		a = Rebuild(parsePools(t, pools), nil, a.Leaving())
		if !a.Leaves(k("c")) {
			t.Fatalf("with %s c is forgotten", pools)
		}
	}
	expect(ask(a, "d", "4 =192.0.2.0"), "AddressInUse")
	if got := a.Release(k("c")); !slices.Equal(got, []Key{k("d")}) {
		t.Errorf("c is gone, and its address went to %v", got)
	}
	expect(has(a, "d"), "192.0.2.0")
}

func TestLeavingIsTold(t *testing.T) {
	k := func(name string) Key { return Key{"ns", name} }
	// Of two addresses one is still shown.
	a := Rebuild(parsePools(t, "p=192.0.2.0/30 2001:db8::/126; q=198.51.100.0/30 2001:db8:1::/126"), nil, nil)
	script("a 46").run(t, a)
	a.Assign(parseRequest(t, k("a"), 0, []string{"46", "@q"}))
	a.Written(k("a"), []netip.Addr{netip.MustParseAddr("2001:db8::")})
	if got := a.Leaving(); len(got) != 1 || !slices.Equal(got[0].Held, []netip.Addr{netip.MustParseAddr("2001:db8::")}) || got[0].HeldFrom != "p" {
		t.Errorf("leaving are %+v", got)
	}
	// Of two that it left one after the other the second is still shown.
	a = Rebuild(parsePools(t, "p=192.0.2.0/30; q=198.51.100.0/30; r=203.0.113.0/30"), nil, nil)
	for _, pool := range []string{"@p", "@q", "@r"} {
		a.Assign(parseRequest(t, k("a"), 0, []string{"4", pool}))
	}
	a.Written(k("a"), []netip.Addr{netip.MustParseAddr("198.51.100.0")})
	if got := a.Leaving(); len(got) != 1 || got[0].HeldFrom != "q" {
		t.Errorf("leaving are %+v", got)
	}
	// It is an address that its pool, which is incomplete, does not list.
	pools := parsePools(t, "p[i]=192.0.2.0/30; q=198.51.100.0/30")
	a = Rebuild(pools, []Claim{{Request: parseRequest(t, k("a"), 0, []string{"4"}), Held: []netip.Addr{netip.MustParseAddr("203.0.113.1")}, HeldFrom: "p"}}, nil)
	a.Assign(parseRequest(t, k("a"), 0, []string{"4", "@q"}))
	a = Rebuild(pools, a.Claims(), a.Leaving())
	if u := a.Usage()[0]; u.Outside4 != 1 {
		t.Errorf("usage is %+v", u)
	}
	// Of two that share it the older is named, in whatever order they are known.
	var leaving []Claim
	for _, name := range []string{"y", "x"} {
		leaving = append(leaving, Claim{Request: parseRequest(t, k(name), 0, []string{"4", "key=k", "port=TCP" + name}), Held: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	}
	a = Rebuild(pools, []Claim{{Request: parseRequest(t, k("z"), 0, []string{"4", "=192.0.2.1"})}}, leaving)
	if got, _ := a.Lookup(k("z")); got.Fault.Holder != k("x") {
		t.Errorf("z is told that %s has its address, want x", got.Fault.Holder)
	}
}

func TestWhoIsCreatedAgainWaitsBehind(t *testing.T) {
	a := Rebuild(parsePools(t, "p=192.0.2.0/32"), nil, nil)
	script("x 4, a 4, b 4").run(t, a)
	again := parseRequest(t, Key{"ns", "a"}, 0, []string{"4"})
	again.Created = again.Created.Add(time.Hour)
	a.Assign(again)
	if got := a.Release(Key{"ns", "x"}); !slices.Equal(got, []Key{{"ns", "b"}}) {
		t.Errorf("the address went to %v, want b", got)
	}
}

func TestUsageOfLargePools(t *testing.T) {
	a := Rebuild(parsePools(t, "p=10.0.0.0/8 2001:db8::/64 2001:db9::/64; q[b]=10.0.0.0/8; r[b]=192.0.2.0/32"), nil, nil)
	want := []Usage{{Pool: "p", Size4: 1 << 24, Size6: math.MaxUint64}, {Pool: "q", Size4: 1<<24 - 2<<16}, {Pool: "r"}}
	if got := a.Usage(); !slices.Equal(got, want) {
		t.Errorf("usage is %v, want %v", got, want)
	}
}

func key(i int) Key { return Key{"ns", fmt.Sprintf("s%06d", i)} }

func request(i int) Request {
	return Request{Key: key(i), Families: []Family{IPv4}, OneIsEnough: true, Ports: []Port{{"TCP", 80}}}
}

func BenchmarkNextFreeOfSlash8(b *testing.B) {
	a := Rebuild([]Pool{{Name: "p", AutoAssign: true, AvoidBuggyIPs: true, Ranges: []Range{mustRange(b, "10.0.0.0/8")}}}, nil, nil)
	reqs := make([]Request, 65000)
	for i := range reqs {
		reqs[i] = request(i)
		a.Assign(reqs[i])
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a.Release(reqs[i%len(reqs)].Key)
		a.Assign(reqs[i%len(reqs)])
	}
}

func BenchmarkExhausted(b *testing.B) {
	a := Rebuild([]Pool{{Name: "p", AutoAssign: true, Ranges: []Range{mustRange(b, "10.0.0.0/16")}}}, nil, nil)
	for i := range 1 << 16 {
		a.Assign(request(i))
	}
	req := request(1 << 16)
	b.ReportAllocs()
	for b.Loop() {
		if res, _ := a.Assign(req); res.Reason != PoolExhausted {
			b.Fatal(res.Reason)
		}
	}
}

func Benchmark65000(b *testing.B) {
	pools := []Pool{{Name: "p", AutoAssign: true, Ranges: []Range{mustRange(b, "10.0.0.0/16")}}}
	reqs := make([]Request, 65000)
	for i := range reqs {
		reqs[i] = request(i)
	}
	b.ReportAllocs()
	for b.Loop() {
		a := Rebuild(pools, nil, nil)
		for i := range reqs {
			a.Assign(reqs[i])
		}
	}
}

func BenchmarkRebuild10000(b *testing.B) {
	pools := []Pool{{Name: "p", AutoAssign: true, Ranges: []Range{mustRange(b, "10.0.0.0/16")}}}
	first := Rebuild(pools, nil, nil)
	for i := range 10000 {
		first.Assign(request(i))
	}
	claims := first.Claims()
	b.ReportAllocs()
	for b.Loop() {
		Rebuild(pools, claims, nil)
	}
}
