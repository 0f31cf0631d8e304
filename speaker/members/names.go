package members

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// longestName is the most bytes that the name of a network interface has (IFNAMSIZ of Linux, without the zero byte).
const longestName = 15

// packNames writes the names of network interfaces into as few bytes as it can, since a member has 512 for all that it
// tells: sorted, each as the number of bytes that it has in common with the one before, as a hexadecimal digit, and the
// rest. Between two is a slash, which is in no name. A VLAN of an interface with hundreds takes four bytes. Names that are not
// UTF-8 are left out, since nothing that is configured can name them.
func packNames(names []string) string {
	var b strings.Builder
	last := ""
	for _, name := range slices.Sorted(slices.Values(names)) {
		if name == last || len(name) > longestName || strings.Contains(name, "/") || !utf8.ValidString(name) {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('/')
		}
		n := common(last, name)
		b.WriteString(strconv.FormatInt(int64(n), 16))
		b.WriteString(name[n:])
		last = name
	}
	return b.String()
}

// common is the length of what two names begin with, in whole characters.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	for n < len(b) && n > 0 && !utf8.RuneStart(b[n]) {
		n--
	}
	return n
}

// unpackNames is the inverse. What it cannot read gives no names.
func unpackNames(packed string) []string {
	var out []string
	last := ""
	for part := range strings.SplitSeq(packed, "/") {
		if part == "" {
			return nil
		}
		n, err := strconv.ParseUint(part[:1], 16, 8)
		if err != nil || int(n) > len(last) {
			return nil
		}
		last = last[:n] + part[1:]
		out = append(out, last)
	}
	return out
}
