// Package bgp is the vocabulary of BGP that the rest of the project shares. It is pure and imports the standard library
// only.
package bgp

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Community is a BGP community (RFC 1997) or a large community (RFC 8092). It is comparable; the zero value is 0:0.
type Community struct {
	// Large tells the two kinds apart.
	Large bool
	// Parts are the two halves of a community, 16 bits each, or the three parts of a large one, 32 bits each.
	Parts [3]uint32
}

// GracefulShutdown is the community GRACEFUL_SHUTDOWN (RFC 8326, section 7).
var GracefulShutdown = Community{Parts: [3]uint32{65535, 0}}

const largePrefix = "large:"

// ParseCommunity reads 64512:100, or large:64512:1:2. The error says what to write instead.
func ParseCommunity(text string) (Community, error) {
	rest, large := strings.CutPrefix(text, largePrefix)
	parts, bits, example := 2, 16, "64512:100"
	if large {
		parts, bits, example = 3, 32, "large:64512:1:2"
	}
	fields := strings.Split(rest, ":")
	if len(fields) != parts {
		return Community{}, errors.New("is not a community: write two numbers, as in 64512:100 (RFC 1997), or three after large:, as in large:64512:1:2 (RFC 8092)")
	}
	c := Community{Large: large}
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, bits)
		if err != nil {
			return Community{}, fmt.Errorf("has the part %q, which is not a number from 0 to %d: write for instance %s", f, uint64(1)<<bits-1, example)
		}
		c.Parts[i] = uint32(n)
	}
	return c, nil
}

// String is the form that ParseCommunity reads.
func (c Community) String() string {
	if c.Large {
		return fmt.Sprintf("%s%d:%d:%d", largePrefix, c.Parts[0], c.Parts[1], c.Parts[2])
	}
	return fmt.Sprintf("%d:%d", c.Parts[0], c.Parts[1])
}

// CompareCommunities orders communities: the large ones last.
func CompareCommunities(a, b Community) int {
	if a.Large != b.Large {
		if a.Large {
			return 1
		}
		return -1
	}
	return slices.Compare(a.Parts[:], b.Parts[:])
}
