package election

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func nodes(n int) []Candidate {
	out := make([]Candidate, n)
	for i := range out {
		out[i].Node = NewNode(fmt.Sprintf("worker-%d.example.org", i))
	}
	return out
}

func addresses(n int) []netip.Addr {
	out := make([]netip.Addr, n)
	a := netip.MustParseAddr("10.20.0.0")
	for i := range out {
		out[i] = a
		a = a.Next()
	}
	return out
}

func owner(t *testing.T, a netip.Addr, cs []Candidate) string {
	t.Helper()
	n, ok := Owner(a, cs)
	if !ok {
		t.Fatalf("%s has no owner among %d candidates", a, len(cs))
	}
	return n
}

func TestOwner(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.1")
	for name, c := range map[string]struct {
		address    netip.Addr
		candidates []Candidate
		want       string
		none       bool
	}{
		"nobody owns an address without candidates": {a, nil, "", true},
		"a single candidate owns it":                {a, []Candidate{{Node: NewNode("a")}}, "a", false},
		"preference wins over the hash": {
			a, []Candidate{{Node: NewNode("a")}, {Node: NewNode("b")}, {Node: NewNode("c")}, {Node: NewNode("d")}, {Node: NewNode("least"), Score: 1}}, "least", false},
		"a negative preference still owns what nobody else can":     {a, []Candidate{{Node: NewNode("a"), Score: -5}}, "a", false},
		"a negative preference loses":                               {a, []Candidate{{Node: NewNode("a"), Score: -5}, {Node: NewNode("b")}}, "b", false},
		"a candidate named twice counts once, with its best score":  {a, []Candidate{{Node: NewNode("a")}, {Node: NewNode("b")}, {Node: NewNode("b"), Score: 3}, {Node: NewNode("a"), Score: 2}}, "b", false},
		"an IPv6 address has an owner too":                          {netip.MustParseAddr("2001:db8::1"), []Candidate{{Node: NewNode("a")}}, "a", false},
		"a node without a name is a candidate like any other":       {a, []Candidate{{Node: NewNode("")}}, "", false},
		"the weights never change between releases: 192.0.2.1":      {a, nodes(10), "worker-1.example.org", false},
		"the weights never change between releases: 198.51.100.255": {netip.MustParseAddr("198.51.100.255"), nodes(10), "worker-7.example.org", false},
		"the weights never change between releases: 2001:db8::5":    {netip.MustParseAddr("2001:db8::5"), nodes(10), "worker-5.example.org", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := Owner(c.address, c.candidates)
			if got != c.want || ok == c.none {
				t.Errorf("Owner = %q, %v; want %q, %v", got, ok, c.want, !c.none)
			}
		})
	}
}

// The weight in its plain form, from the standard library's FNV.
func slowWeight(node string, address netip.Addr) uint64 {
	b := address.As16()
	f := fnv.New64a()
	f.Write(append(append([]byte(node), 0), b[:]...))
	h := binary.BigEndian.Uint64(f.Sum(nil))
	for _, m := range []uint64{0xff51afd7ed558ccd, 0xc4ceb9fe1a85ec53, 1} {
		h = (h ^ h>>33) * m
	}
	return h
}

// TestWeight compares every bit: speakers of two releases must agree on owners, also where weights are close.
func TestWeight(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 1000 {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], r.Uint64())
		binary.BigEndian.PutUint64(b[8:], r.Uint64())
		for _, a := range []netip.Addr{netip.AddrFrom16(b), netip.AddrFrom4([4]byte(b[:4]))} {
			if node := fmt.Sprintf("node-%d", i); NewNode(node).weight(a) != slowWeight(node, a) {
				t.Fatalf("weight(%s, %s) = %x, want %x", node, a, NewNode(node).weight(a), slowWeight(node, a))
			}
		}
	}
	if got := NewNode("worker-1.example.org").weight(netip.MustParseAddr("192.0.2.1")); got != 0xfe319c90a91d3d6c {
		t.Errorf("weight is %#x", got)
	}
}

func TestOwnerAgreesWithSorting(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		cs := nodes(1 + r.IntN(8))
		for i := range cs {
			cs[i].Score = r.IntN(3)
		}
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], r.Uint32())
		a := netip.AddrFrom4(b)
		sorted := slices.SortedFunc(slices.Values(cs), func(x, y Candidate) int {
			if x.Score != y.Score {
				return y.Score - x.Score
			}
			if wx, wy := slowWeight(x.Node.Name(), a), slowWeight(y.Node.Name(), a); wx > wy {
				return -1
			} else if wx < wy {
				return 1
			}
			return strings.Compare(x.Node.Name(), y.Node.Name())
		})
		r.Shuffle(len(cs), func(i, j int) { cs[i], cs[j] = cs[j], cs[i] })
		if got := owner(t, a, cs); got != sorted[0].Node.Name() {
			t.Fatalf("Owner(%s, %v) = %s, sorting says %s", a, cs, got, sorted[0].Node.Name())
		}
	}
}

func TestIPv4MappedIsTheSameAddress(t *testing.T) {
	for _, a := range addresses(200) {
		mapped := netip.AddrFrom16(a.As16())
		if owner(t, a, nodes(5)) != owner(t, mapped, nodes(5)) {
			t.Fatalf("%s and %s have different owners", a, mapped)
		}
	}
}

func TestANodeThatLeavesMovesItsOwnAddressesOnly(t *testing.T) {
	all, as := nodes(20), addresses(600)
	for gone := range all {
		rest := slices.Delete(slices.Clone(all), gone, gone+1)
		moved := 0
		for _, a := range as {
			before, after := owner(t, a, all), owner(t, a, rest)
			if before == all[gone].Node.Name() {
				moved++
			} else if before != after {
				t.Fatalf("%s left and %s moved from %s to %s", all[gone].Node.Name(), a, before, after)
			}
		}
		if moved == 0 {
			t.Fatalf("%s owned nothing of %d addresses", all[gone].Node.Name(), len(as))
		}
	}
}

func TestTheSecondOwnsWhatTheFirstLeaves(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, a := range addresses(500) {
		all := nodes(1 + r.IntN(5))
		for i := range all {
			all[i].Score = r.IntN(2)
		}
		all = append(all, all[r.IntN(len(all))]) // named twice
		all[len(all)-1].Score = r.IntN(3)
		first, second := Two(a, all)
		if owner(t, a, all) != first.Node.Name() {
			t.Fatalf("the first for %s is not its owner", a)
		}
		rest := slices.DeleteFunc(slices.Clone(all), func(c Candidate) bool { return c.Node == first.Node })
		if len(rest) == 0 && second != nil || len(rest) > 0 && (second == nil || second.Node.Name() != owner(t, a, rest)) {
			t.Fatalf("the second for %s is %v, of %v without %s", a, second, rest, first.Node.Name())
		}
	}
	if first, second := Two(addresses(1)[0], nil); first != nil || second != nil {
		t.Error("found candidates among none")
	}
}

func TestANodeThatComesOnlyTakes(t *testing.T) {
	all := nodes(21)
	before, newcomer := all[:20], all[20]
	for _, a := range addresses(2000) {
		if o, n := owner(t, a, before), owner(t, a, all); o != n && n != newcomer.Node.Name() {
			t.Fatalf("%s came and %s moved from %s to %s", newcomer.Node.Name(), a, o, n)
		}
	}
}

func TestSpread(t *testing.T) {
	all, as := nodes(100), addresses(10_000)
	count := map[string]int{}
	for _, a := range as {
		count[owner(t, a, all)]++
	}
	most := 0
	for _, n := range count {
		most = max(most, n)
	}
	mean := float64(len(as)) / float64(len(all))
	t.Logf("%d nodes, %d addresses: max %d, mean %.0f, max/mean %.2f, nodes without any %d",
		len(all), len(as), most, mean, float64(most)/mean, len(all)-len(count))
	if float64(most)/mean > 1.5 {
		t.Errorf("max/mean is above 1.5")
	}
}

func BenchmarkOwner100(b *testing.B) {
	all, as := nodes(100), addresses(1000)
	for i := 0; b.Loop(); i++ {
		Owner(as[i%len(as)], all)
	}
}
