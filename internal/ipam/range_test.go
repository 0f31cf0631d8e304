package ipam

import (
	"math/big"
	"net/netip"
	"strings"
	"testing"
)

func TestParseRange(t *testing.T) {
	for name, tt := range map[string]struct{ in, want, err string }{
		"an IPv4 prefix":                      {in: "192.0.2.0/24", want: "192.0.2.0/24"},
		"host bits are masked":                {in: "192.0.2.77/24", want: "192.0.2.0/24"},
		"an IPv6 prefix":                      {in: "2001:db8::1/64", want: "2001:db8::/64"},
		"one address as a prefix":             {in: "192.0.2.1/32", want: "192.0.2.1/32"},
		"one address as a range":              {in: "192.0.2.1-192.0.2.1", want: "192.0.2.1/32"},
		"a range":                             {in: "172.18.0.100-172.18.0.255", want: "172.18.0.100-172.18.0.255"},
		"a range that is a prefix":            {in: "192.0.2.64-192.0.2.127", want: "192.0.2.64/26"},
		"blanks around everything":            {in: " 192.0.2.1 - 192.0.2.5 ", want: "192.0.2.1-192.0.2.5"},
		"blanks around a prefix":              {in: " 192.0.2.0 / 24", want: "192.0.2.0/24"},
		"an IPv6 range":                       {in: "2001:db8::a-2001:db8::ff", want: "2001:db8::a-2001:db8::ff"},
		"an IPv4-mapped prefix is IPv4":       {in: "::ffff:192.0.2.0/120", want: "192.0.2.0/24"},
		"an IPv4-mapped range is IPv4":        {in: "::ffff:192.0.2.1-192.0.2.9", want: "192.0.2.1-192.0.2.9"},
		"all IPv4-mapped addresses":           {in: "::ffff:0:0/96", want: "0.0.0.0/0"},
		"everything":                          {in: "0.0.0.0/0", want: "0.0.0.0/0"},
		"nothing":                             {in: " ", err: "is empty"},
		"a bare IPv4 address":                 {in: "192.0.2.1", err: "is a single address: write 192.0.2.1/32"},
		"a bare IPv6 address":                 {in: "2001:db8::1", err: "is a single address: write 2001:db8::1/128"},
		"a bare IPv4-mapped address":          {in: "::ffff:192.0.2.1", err: "write 192.0.2.1/32"},
		"a word":                              {in: "default", err: "is neither a prefix nor a range"},
		"ends swapped":                        {in: "192.0.2.9-192.0.2.1", err: "has its ends swapped: write 192.0.2.1-192.0.2.9"},
		"mixed families":                      {in: "1.2.3.4-2001::1", err: "mixes IPv4 and IPv6"},
		"a length that is none":               {in: "192.0.2.0/x", err: "no valid length after the slash: write a number from 0 to 32"},
		"a length out of range":               {in: "192.0.2.0/33", err: "write a number from 0 to 32"},
		"no length":                           {in: "2001:db8::/", err: "write a number from 0 to 128"},
		"no address before the slash":         {in: "/24", err: "no valid address before the slash"},
		"no start":                            {in: "-192.0.2.1", err: "no valid address before the dash"},
		"no end":                              {in: "192.0.2.1-", err: "no valid address after the dash"},
		"an end that is short for one":        {in: "192.0.2.1-20", err: `after the dash ("20" is not an IP address)`},
		"three ends":                          {in: "192.0.2.1-192.0.2.2-192.0.2.3", err: "no valid address after the dash"},
		"a prefix and a range":                {in: "192.0.2.0/24-192.0.2.9", err: "mixes a prefix and a range"},
		"a zone":                              {in: "fe80::1%eth0-fe80::2", err: "has a zone"},
		"a zone in a prefix":                  {in: "fe80::%eth0/64", err: "has a zone"},
		"a prefix around the mapped block":    {in: "::ffff:0:0/90", err: "wider than the IPv4-mapped addresses"},
		"an IPv6 prefix with the mapped ones": {in: "::/64", err: "contains the IPv4-mapped addresses"},
		"leading zeros":                       {in: "192.0.02.1/32", err: `"192.0.02.1" is not an IP address`},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ParseRange(tt.in)
			switch {
			case tt.err == "" && err != nil:
				t.Fatalf("%q: %v", tt.in, err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Fatalf("%q gives %v and error %v, want %q", tt.in, r, err, tt.err)
			case tt.err == "" && r.String() != tt.want:
				t.Errorf("%q is %s, want %s", tt.in, r, tt.want)
			}
		})
	}
}

func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"192.0.2.0/24", "::ffff:1.2.3.4/96", "2001:db8::1-2001:db8::9", "0.0.0.0-255.255.255.255", "fe80::%a/64", "1.2.3.4-", "/", "-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRange(text)
		if err != nil {
			return
		}
		again, err := ParseRange(r.String())
		if err != nil || again != r {
			t.Fatalf("%q is %s, which reads as %v, %v", text, r, again, err)
		}
		if !r.Contains(r.From()) || !r.Contains(r.To()) || !r.Overlaps(r) || r.Contains(r.From().Prev()) || r.Contains(r.To().Next()) {
			t.Fatalf("%s does not end where it ends", r)
		}
		if r.From().Is4() != r.Is4() || r.From().Is4In6() || r.To().Is4In6() {
			t.Fatalf("%s mixes families", r)
		}
		distance := new(big.Int).Sub(new(big.Int).SetBytes(r.To().AsSlice()), new(big.Int).SetBytes(r.From().AsSlice()))
		if got := new(big.Int).SetUint64(offset(r.From(), r.To())); distance.IsUint64() && got.Cmp(distance) != 0 || !distance.IsUint64() && got.BitLen() != 64 {
			t.Fatalf("the ends of %s are %s apart, not %s", r, distance, got)
		}
	})
}

func TestOverlaps(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"192.0.2.0/24", "192.0.2.255/32", true},
		{"192.0.2.0/24", "192.0.3.0/24", false},
		{"192.0.2.5-192.0.2.9", "192.0.2.9-192.0.2.12", true},
		{"192.0.2.5-192.0.2.9", "192.0.2.10-192.0.2.12", false},
		{"192.0.2.0/24", "::ffff:192.0.2.7/128", true},
		{"0.0.0.0/0", "2001:db8::/32", false},
		{"2001:db8::/32", "2001:db8:ffff::/48", true},
	} {
		a, b := mustRange(t, tt.a), mustRange(t, tt.b)
		if a.Overlaps(b) != tt.want || b.Overlaps(a) != tt.want {
			t.Errorf("%s overlaps %s: %v, %v; want %v", a, b, a.Overlaps(b), b.Overlaps(a), tt.want)
		}
	}
	if (Range{}).Overlaps(Range{}) || (Range{}).Contains(netip.Addr{}) || (Range{}).Overlaps(mustRange(t, "0.0.0.0/0")) {
		t.Error("the zero Range holds something")
	}
	if r := mustRange(t, "192.0.2.0/24"); !r.Contains(netip.MustParseAddr("::ffff:192.0.2.1")) || r.Contains(netip.Addr{}) {
		t.Error("a mapped address is not recognised, or none is")
	}
}

func mustRange(t testing.TB, s string) Range {
	t.Helper()
	r, err := ParseRange(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return r
}
