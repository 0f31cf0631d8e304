package config

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// nodes are the nodes of an Input.
type nodes struct {
	list []Node
	// known is false if Input.Nodes is nil.
	known bool
	// here is the place of Input.Node in the list, -1 for none. A node that is not among Input.Nodes has the place after
	// the last; nobody knows its labels, and only what is for all nodes is for it.
	here int
	// sets by selector: many resources select the same nodes.
	sets map[selectorKey]nodeSet
}

// nodeSet is a set of nodes by their places in the list, a bit for each.
type nodeSet []uint64

func newNodes(in *Input) *nodes {
	n := &nodes{list: in.Nodes, known: in.Nodes != nil, here: -1, sets: map[selectorKey]nodeSet{}}
	if in.Node != "" {
		n.here = slices.IndexFunc(in.Nodes, func(node Node) bool { return node.Name == in.Node })
		if n.here < 0 {
			n.here = len(in.Nodes)
		}
	}
	return n
}

func (n *nodes) empty() nodeSet { return make(nodeSet, len(n.list)/64+1) }

func (s nodeSet) add(i int) { s[i/64] |= 1 << (i % 64) }

func (s nodeSet) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

// selected returns the nodes that one of the selectors matches; all, if there is no selector.
func (n *nodes) selected(selectors []labels.Selector) nodeSet {
	set := n.empty()
	if len(selectors) == 0 {
		for i := range n.list {
			set.add(i)
		}
		if n.here >= 0 {
			set.add(n.here)
		}
	}
	for _, s := range selectors {
		for i, word := range n.matched(s) {
			set[i] |= word
		}
	}
	return set
}

func (n *nodes) matched(s labels.Selector) nodeSet {
	key := keyOf(s)
	set, ok := n.sets[key]
	if !ok {
		set = n.empty()
		for i := range n.list {
			if s.Matches(n.list[i].Labels) {
				set.add(i)
			}
		}
		n.sets[key] = set
	}
	return set
}

// share says whether the two have a node in common that the Config is for. Of nodes that are not known one is shared.
func (n *nodes) share(a, b nodeSet) bool {
	if !n.known || n.here >= 0 {
		return n.isHere(a) && n.isHere(b)
	}
	for i := range a {
		if a[i]&b[i] != 0 {
			return true
		}
	}
	return false
}

// isHere says whether the set holds the node that the Config is for; any does, if it is for all.
func (n *nodes) isHere(set nodeSet) bool { return n.here < 0 || set.has(n.here) }

// idle warns of node selectors that match no node.
func (c *compiler) idle(source Source, at *field.Path, selectors []labels.Selector, set nodeSet, consequence string) {
	if !c.nodes.known || len(selectors) == 0 || slices.ContainsFunc(selectors, invalid) || slices.ContainsFunc(set, func(word uint64) bool { return word != 0 }) {
		return
	}
	c.warnings(source, field.Invalid(at, describe(selectors), "no node has such labels, so "+consequence+": write labels that nodes have, as kubectl get nodes --show-labels prints them"))
}
