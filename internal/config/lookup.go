package config

import (
	"net/netip"
)

// PoolOf returns the pool whose addresses contain a.
func (c *Config) PoolOf(a netip.Addr) (*Pool, bool) {
	for i := range c.Pools {
		for _, r := range c.Pools[i].Addresses {
			if r.Contains(a) {
				return &c.Pools[i], true
			}
		}
	}
	return nil, false
}

// Pool returns the pool of that name.
func (c *Config) Pool(name string) (*Pool, bool) {
	for i := range c.Pools {
		if c.Pools[i].Name == name {
			return &c.Pools[i], true
		}
	}
	return nil, false
}

// PoolFor returns the pool of an address that a Service has: the pool that contains it, else the one that it was given
// from, recorded by name, while something of that pool is dropped. A slip of the pen in a pool takes no address away.
func (c *Config) PoolFor(a netip.Addr, recorded string) (*Pool, bool) {
	if p, ok := c.PoolOf(a); ok {
		return p, true
	}
	if p, ok := c.Pool(recorded); ok && p.Incomplete {
		return p, true
	}
	return nil, false
}
