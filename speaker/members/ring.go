package members

import (
	"cmp"
	"hash/fnv"
	"slices"
)

// reach is how many nodes on either side of it in the ring a node watches. All pairs would be 99 000 packets a second for
// 100 nodes; so it is four sessions a node, however many there are, and three of a node's four watchers must agree.
const reach = 2

// ring puts nodes in the order in which they watch each other, the same for all members: by a hash of their names, so that
// machines that are numbered and fail together, as those of a rack, are not all of a node's watchers.
func ring(nodes []string) []string {
	type place struct {
		hash uint64
		node string
	}
	places := make([]place, 0, len(nodes))
	for _, n := range nodes {
		h := fnv.New64a()
		_, _ = h.Write([]byte(n))
		places = append(places, place{h.Sum64(), n})
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.node, b.node)) })
	out := make([]string, 0, len(places))
	for _, p := range slices.Compact(places) {
		out = append(out, p.node)
	}
	return out
}

// neighbours are the nodes of a ring that watch one of it, and that it watches; nil if it is not there.
func neighbours(ring []string, node string) []string {
	at := slices.Index(ring, node)
	if at < 0 {
		return nil
	}
	var out []string
	for d := 1; d <= reach; d++ {
		for _, i := range [2]int{at + d, at - d + len(ring)} {
			if n := ring[i%len(ring)]; n != node && !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

// gone says which of the nodes count as gone although gossip has not found it out yet: those of whose watchers more than
// half say that they have fallen silent. silent is what the watchers say, by node.
//
// So of two nodes the word of one is enough. Who has lost its cable hears nobody and convinces nobody: it is the one that
// goes. Where two say it of each other, only that one is believed of whom fewer say it, or whose name comes first: one word
// counts for each pair at most, so they can never all be gone.
func gone(nodes []string, silent map[string][]string) map[string]bool {
	if len(silent) == 0 {
		return nil
	}
	order := ring(nodes)
	accusers := map[string][]string{}
	for _, n := range order {
		for _, w := range neighbours(order, n) {
			if slices.Contains(silent[w], n) {
				accusers[n] = append(accusers[n], w)
			}
		}
	}
	believed := func(who, of string) bool {
		mutual := slices.Contains(accusers[who], of)
		return !mutual || cmp.Or(cmp.Compare(len(accusers[who]), len(accusers[of])), cmp.Compare(who, of)) < 0
	}
	out := map[string]bool{}
	for n, by := range accusers {
		votes := 0
		for _, w := range by {
			if believed(w, n) {
				votes++
			}
		}
		if 2*votes > len(neighbours(order, n)) {
			out[n] = true
		}
	}
	return out
}
