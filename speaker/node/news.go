package node

// news tells what begins and what ends from one round to the next, so that each is told once: a round notes all that holds in
// it. The zero news has heard of nothing.
type news[K comparable, V any] struct {
	before, now map[K]V
}

// note takes something that holds, and reports whether it has just begun.
func (n *news[K, V]) note(k K, v V) (begins bool) {
	if n.now == nil {
		n.now = make(map[K]V, len(n.before))
	}
	_, held := n.before[k]
	_, noted := n.now[k]
	n.now[k] = v
	return !held && !noted
}

// holds reports whether something held in the last round that has ended.
func (n *news[K, V]) holds(k K) bool {
	_, ok := n.before[k]
	return ok
}

// end ends a round, and returns what does not hold any more.
func (n *news[K, V]) end() (ended map[K]V) {
	for k, v := range n.before {
		if _, still := n.now[k]; !still {
			if ended == nil {
				ended = map[K]V{}
			}
			ended[k] = v
		}
	}
	n.before, n.now = n.now, nil
	return ended
}
