package announce

import (
	"cmp"
	"net/netip"
	"slices"

	"metallb.io/operator/internal/election"
	"metallb.io/operator/internal/l2"
)

// check is what this node has to check about an address; nil: nothing.
func (c *cluster) check(a netip.Addr, users []use, v verdict) *Check {
	if v.reason == Announced {
		return &Check{Address: a, Owner: v.owner, Interfaces: c.common(v.interfaces, nil)}
	}
	if v.reason != OtherNode || len(c.Interfaces) == 0 {
		return nil
	}
	i, _ := slices.BinarySearchFunc(c.nodes, v.owner, func(n node, name string) int { return cmp.Compare(n.Name, name) })
	if v.next != "" && v.next != c.Node {
		return nil
	}
	names := c.interfaces(users, i)
	if v.next == "" && !c.witness(a, v.owner, names) {
		return nil
	}
	owner := &c.nodes[i]
	out := &Check{Address: a, Owner: v.owner, Interfaces: c.common(names, owner)}
	for _, beside := range owner.Addresses {
		if !out.Beside.IsValid() || !sameFamily(out.Beside, a) && sameFamily(beside, a) {
			out.Beside = beside
		}
	}
	return out
}

func sameFamily(a, b netip.Addr) bool { return a.Is4() == b.Is4() }

// witness reports whether this node is the one to check an address that no other node could own: elected among those that
// have a speaker and one of the interfaces.
func (c *cluster) witness(a netip.Addr, owner string, names []string) bool {
	c.found = c.found[:0]
	for i := range c.nodes {
		if n := &c.nodes[i]; n.alive && n.Name != owner && n.has(names) {
			c.found = append(c.found, election.Candidate{Node: n.named})
		}
	}
	name, ok := election.Owner(a, c.found)
	return ok && name == c.Node
}

// common are the interfaces of this node by which it meets those that the owner announces on: of the same name. Nodes of
// different makes may have no name in common; then it is all of them.
func (c *cluster) common(names []string, owner *node) []string {
	on := l2.Entry{Interfaces: names}
	var out []string
	for _, name := range c.Interfaces {
		if on.On(name) && (owner == nil || !owner.tells || slices.Contains(owner.interfaces, name)) {
			out = append(out, name)
		}
	}
	if len(out) == 0 || len(out) == len(c.Interfaces) {
		return c.Interfaces
	}
	return out
}
