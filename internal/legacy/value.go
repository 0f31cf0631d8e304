package legacy

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// fields returns the entries of a mapping by name. Keys that are not known are wrong, as they always were.
func (r *reader) fields(v value, example string, known ...string) map[string]value {
	out := map[string]value{}
	for _, e := range r.entries(v, example) {
		if slices.Contains(known, e.name) {
			out[e.name] = e.value
			continue
		}
		hint := "remove it"
		if near := nearest(e.name, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		r.errorf(e.value, "is not a key that is known here: %s", hint)
	}
	return out
}

// required returns a field that must be there.
func (r *reader) required(of value, fields map[string]value, name, hint string) value {
	v, ok := fields[name]
	if !ok {
		v = value{line: of.line, key: join(of.key, name)}
	}
	if !v.there() {
		r.errorf(v, "is missing: %s", hint)
	}
	return v
}

// scalar returns a single value as it is written, without its quotes.
func (r *reader) scalar(v value, hint string) (string, bool) {
	switch {
	case !v.there():
		return "", false
	case v.node.Kind != yaml.ScalarNode:
		r.errorf(v, "is %s: %s", what(v.node), hint)
		return "", false
	case v.node.ShortTag() == "!!binary":
		r.errorf(v, "is marked as !!binary: %s", hint)
		return "", false
	}
	return v.node.Value, true
}

// quoted says whether a value is a text for sure, which a number or a boolean may not be.
func quoted(v value) bool {
	return v.node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
}

// number reads a whole number from least to most. It takes the forms that YAML has: 0x10, 0b10, 1_000, 64512.0.
func (r *reader) number(v value, least, most uint64, example string) (uint64, bool) {
	text, ok := r.scalar(v, "write a number, for instance "+example)
	if !ok {
		return 0, false
	}
	n, ok := parseNumber(text)
	switch {
	case quoted(v) && ok:
		r.errorf(v, "is a text, not a number: write it without quotes")
	case !ok || n < least || n > most:
		r.errorf(v, "%s is not a whole number from %d to %d: write for instance %s", quote(text), least, most, example)
	default:
		return n, true
	}
	return 0, false
}

func parseNumber(text string) (uint64, bool) {
	text = strings.TrimPrefix(strings.ReplaceAll(text, "_", ""), "+")
	if n, err := strconv.ParseUint(text, 0, 64); err == nil {
		return n, true
	}
	if strings.ContainsAny(text, "xXpP") {
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f < 0 || f > math.MaxUint32 || f != math.Trunc(f) {
		return 0, false
	}
	return uint64(f), true
}

// booleans of YAML 1.1, which the text was read as.
var (
	yes = []string{"true", "yes", "on", "y"}
	no  = []string{"false", "no", "off", "n"}
)

// boolean reads a boolean; nil where there is none.
func (r *reader) boolean(v value) *bool {
	text, ok := r.scalar(v, "write true or false")
	if !ok {
		return nil
	}
	out, lower := false, strings.ToLower(text)
	switch {
	case quoted(v):
		r.errorf(v, "is a text, not true or false: write it without quotes")
		return nil
	case slices.Contains(yes, lower):
		out = true
	case !slices.Contains(no, lower):
		r.errorf(v, "%s is neither true nor false: write one of the two", quote(text))
		return nil
	}
	return &out
}

// duration reads what has a unit, or 0.
func (r *reader) duration(v value, example string) (time.Duration, bool) {
	text, ok := r.scalar(v, "write a time with its unit, for instance "+example)
	if !ok || text == "" {
		return 0, false
	}
	d, err := time.ParseDuration(text)
	switch _, bare := parseNumber(text); {
	case err != nil && bare:
		r.errorf(v, "%s has no unit: write for instance %s", quote(text), example)
		return 0, false
	case err != nil:
		r.errorf(v, "%s is not a time: write a number with its unit, for instance %s", quote(text), example)
		return 0, false
	}
	return d, true
}

// address reads an IP address; IPv4-mapped ones are IPv4.
func (r *reader) address(v value, example string) netip.Addr {
	text, ok := r.scalar(v, "write an IP address, for instance "+example)
	if !ok || text == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		r.errorf(v, "%s is not an IP address: write for instance %s", quote(text), example)
		return netip.Addr{}
	}
	return a.Unmap()
}

// quote shows a value of the text, cut where it is long.
func quote(text string) string {
	const most = 64
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return strconv.Quote(text)
}

// Beyond these a hint is not worth its time.
const longName, manyNames = 64, 64

// nearestKey finds the key of a map that was probably meant; "" if there is none.
func nearestKey[V any](name string, known map[string]V) string {
	if len(known) > manyNames {
		return ""
	}
	return nearest(name, slices.Sorted(maps.Keys(known)))
}

// nearest finds the known name that was probably meant, the first of several; "" if there is none.
func nearest(name string, known []string) string {
	if len(name) > longName {
		return ""
	}
	best, bestDistance := "", 3
	for _, k := range known {
		if len(k) > longName {
			continue
		}
		if d := distance(simple(name), simple(k)); d < bestDistance && d*3 <= len(k) {
			best, bestDistance = k, d
		}
	}
	return best
}

// simple is a key without what people confuse: case, dashes and underscores.
func simple(name string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))
}

// distance is the number of letters to insert, remove or replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
