package bgp

import "strconv"

// Preference is what makes routers prefer a path to others of the same prefix, or others to it. It is comparable.
type Preference struct {
	// LocalPref is the LOCAL_PREF attribute, which only iBGP peers get (RFC 4271, section 5.1.5); 0: the usual one, 100.
	LocalPref uint32
	// MED is the MULTI_EXIT_DISC attribute (RFC 4271, section 5.1.4): of paths from one AS the one with the least is preferred.
	MED Metric
	// Prepend is how many more times than once our AS number is in the AS_PATH that eBGP peers get. An iBGP peer would take the
	// path for a loop (RFC 4271, section 9.1.2), and gets none.
	Prepend int
}

// MaxPrepend is the greatest Prepend that makes sense: the Internet is hardly wider, and some routers drop long paths.
const MaxPrepend = 10

// Metric is a number that need not be there. The zero Metric is not; 0 that is there is something else.
type Metric struct {
	Set   bool
	Value uint32
}

// String is the number, or none.
func (m Metric) String() string {
	if !m.Set {
		return "none"
	}
	return strconv.FormatUint(uint64(m.Value), 10)
}

// Difference is an attribute, by the name that it has in a BGPAdvertisement, of which two preferences have different values.
type Difference struct {
	Attribute string
	A, B      Metric
}

// Differences are what two preferences contradict one another in; none: they are the same.
func (p Preference) Differences(o Preference) []Difference {
	unlessZero := func(n uint32) Metric { return Metric{n != 0, n} }
	var out []Difference
	for _, d := range []Difference{
		{"localPref", unlessZero(p.LocalPref), unlessZero(o.LocalPref)},
		{"med", p.MED, o.MED},
		{"asPathPrepend", unlessZero(uint32(p.Prepend)), unlessZero(uint32(o.Prepend))},
	} {
		if d.A != d.B {
			out = append(out, d)
		}
	}
	return out
}

// Best is of each attribute the value that is preferred: the greatest LOCAL_PREF, the least MED, where none counts as 0 (RFC
// 4271, section 9.1.2.2), and the shortest AS_PATH.
func (p Preference) Best(o Preference) Preference {
	out := Preference{LocalPref: max(p.LocalPref, o.LocalPref), MED: p.MED, Prepend: min(p.Prepend, o.Prepend)}
	if o.MED.Value < p.MED.Value || !o.MED.Set {
		out.MED = o.MED
	}
	return out
}
