package ipam

import "net/netip"

// holdings are the addresses in use, by block. Addresses are given one after the other: neighbours that lie together cost fewer
// misses of the processor's caches than a map entry each, somewhere.
type holdings map[netip.Addr]*block

// blockBits is the number of bits in which the addresses of a block differ.
const blockBits = 4

// block has the holdings of the addresses that begin like its first one.
type block [1 << blockBits]*holding

// locate returns the first address of an address's block, and its number in that.
func locate(addr netip.Addr) (first netip.Addr, number byte) {
	bytes := addr.As16()
	return netip.PrefixFrom(addr, addr.BitLen()-blockBits).Masked().Addr(), bytes[15] % (1 << blockBits)
}

// of returns the holding of an address, nil if it is not in use.
func (h holdings) of(addr netip.Addr) *holding {
	first, number := locate(addr)
	if b := h[first]; b != nil {
		return b[number]
	}
	return nil
}

func (h holdings) put(of *holding) {
	first, number := locate(of.addr)
	b := h[first]
	if b == nil {
		b = &block{}
		h[first] = b
	}
	b[number] = of
}

func (h holdings) remove(addr netip.Addr) {
	first, number := locate(addr)
	b := h[first]
	if b[number] = nil; *b == (block{}) {
		delete(h, first)
	}
}
