// Package election decides which node owns an address. It is pure and imports the standard library only: whether a node
// may own an address at all, and how much it is preferred, is decided before.
//
// Every speaker computes the owner for itself, so speakers that see the same candidates agree without talking. The
// method is rendezvous hashing (highest random weight): each pair of node and address has a weight, and of the most
// preferred candidates the one with the highest weight owns the address. A node that leaves therefore moves its own
// addresses only, a node that comes takes only what it wins, and an address that is added moves no other.
package election

import "net/netip"

// Candidate is a node that may own an address.
type Candidate struct {
	// Node by name.
	Node string
	// Score is the preference for the node: a candidate with a higher score always wins over one with a lower.
	Score int
}

// Owner returns the node that owns the address; ok is false when there is no candidate. The order of the candidates does
// not matter. The only key is the address: Services that share it cannot have two owners.
func Owner(address netip.Addr, candidates []Candidate) (node string, ok bool) {
	var best Candidate
	var bestWeight uint64
	for _, c := range candidates {
		w := weight(c.Node, address)
		if !ok || above(c, w, best, bestWeight) {
			best, bestWeight, ok = c, w, true
		}
	}
	return best.Node, ok
}

// above is the order of candidates; names settle the case of equal weights so that the order is total.
func above(a Candidate, aWeight uint64, b Candidate, bWeight uint64) bool {
	switch {
	case a.Score != b.Score:
		return a.Score > b.Score
	case aWeight != bWeight:
		return aWeight > bWeight
	default:
		return a.Node < b.Node
	}
}

// weight of a node for an address: FNV-1a over the name, a zero byte and the address, finished by the 64-bit mixer of
// MurmurHash3, without which addresses that differ in the last byte only would spread badly. IPv4 addresses and their
// IPv4-mapped form are the same.
//
// The function is a protocol: speakers of two releases that computed different weights would disagree on every owner
// during an upgrade. It must never change.
func weight(node string, address netip.Addr) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(node) {
		h = (h ^ uint64(node[i])) * prime
	}
	h *= prime // the zero byte
	for _, b := range address.As16() {
		h = (h ^ uint64(b)) * prime
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return h
}
