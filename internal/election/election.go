// Package election decides which node owns an address. It is pure and imports the standard library only: whether a node
// may own an address at all, and how much it is preferred, is decided before.
//
// Every speaker computes the owner for itself, so speakers that see the same candidates agree without talking. The
// method is rendezvous hashing (highest random weight): each pair of node and address has a weight, and of the most
// preferred candidates the one with the highest weight owns the address. A node that leaves therefore moves its own
// addresses only, a node that comes takes only what it wins, and an address that is added moves no other.
package election

import "net/netip"

// Node is a node with what its name adds to each of its weights, which is computed once.
type Node struct {
	name string
	// Hashes of the name and what precedes the bytes that differ, in an IPv6 address and in an IPv4 one.
	ipv6, ipv4 uint64
}

// NewNode returns the node of that name.
func NewNode(name string) Node {
	h := hash(hash(offset, []byte(name)...), 0)
	return Node{name: name, ipv6: h, ipv4: hash(h, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff)}
}

// Name returns the node's name.
func (n Node) Name() string { return n.name }

// Candidate is a node that may own an address.
type Candidate struct {
	Node Node
	// Score is the preference for the node: a candidate with a higher score always wins over one with a lower.
	Score int
}

// Owner returns the name of the node that owns the address; ok is false when there is no candidate. The order of the
// candidates does not matter. The only key is the address: Services that share it cannot have two owners.
func Owner(address netip.Addr, candidates []Candidate) (node string, ok bool) {
	first, _ := Two(address, candidates)
	if first == nil {
		return "", false
	}
	return first.Node.name, true
}

// Two returns the candidate that owns the address and, of the other nodes, the one that would own it if that node were not
// there. They are nil where there are none.
func Two(address netip.Addr, candidates []Candidate) (first, second *Candidate) {
	var firstWeight, secondWeight uint64
	for i := range candidates {
		c := &candidates[i]
		switch w := c.Node.weight(address); {
		case first == nil || above(c, w, first, firstWeight):
			if first != nil && first.Node.name != c.Node.name {
				second, secondWeight = first, firstWeight
			}
			first, firstWeight = c, w
		case first.Node.name != c.Node.name && (second == nil || above(c, w, second, secondWeight)):
			second, secondWeight = c, w
		}
	}
	return first, second
}

// above is the order of candidates; names settle the case of equal weights so that the order is total.
func above(a *Candidate, aWeight uint64, b *Candidate, bWeight uint64) bool {
	switch {
	case a.Score != b.Score:
		return a.Score > b.Score
	case aWeight != bWeight:
		return aWeight > bWeight
	default:
		return a.Node.name < b.Node.name
	}
}

// The parameters of FNV-1a, 64 bits.
const offset, prime = 14695981039346656037, 1099511628211

// hash goes on with one, over more bytes.
func hash(h uint64, bytes ...byte) uint64 {
	for _, b := range bytes {
		h = (h ^ uint64(b)) * prime
	}
	return h
}

// weight of a node for an address: FNV-1a over the name, a zero byte and the 16 bytes of the address, finished by the
// 64-bit mixer of MurmurHash3, without which addresses that differ in the last byte only would spread badly. IPv4
// addresses and their IPv4-mapped form are the same.
//
// The function is a protocol: speakers of two releases that computed different weights would disagree on every owner
// during an upgrade. It must never change.
func (n Node) weight(address netip.Addr) uint64 {
	var h uint64
	if address.Is4() {
		b := address.As4()
		h = hash(n.ipv4, b[:]...)
	} else {
		b := address.As16()
		h = hash(n.ipv6, b[:]...)
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return h
}
