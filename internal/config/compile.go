package config

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Compile turns resources into one Config, and says everything that is wrong with them. What is wrong is dropped and
// the rest stays; of two resources in conflict the younger loses, by creation time and then by name. An invalid
// selector matches nothing: dropping it could open to all what was meant for some. The order of the input does not
// matter.
func Compile(in Input) (*Config, []Problem) {
	return compile(in, Source{})
}

// compile is Compile, where one resource counts as younger than all others.
func compile(in Input, youngest Source) (*Config, []Problem) {
	c := &compiler{
		youngest: youngest, now: in.Now, nodes: newNodes(&in), problems: map[problemKey]field.ErrorList{}, communities: map[string]alias{},
		bfd: map[string]*BFDProfile{}, poolsByName: map[string]*draft{}, poolsBySelector: map[selectorKey][]*draft{},
	}
	c.aliases(in.Communities)
	c.profiles(in.BFDProfiles)
	c.setPools(c.addresses(c.uniqueNames(c.drafts(in.IPAddressPools, in.AddressPools))))
	peers := c.peers(&in)
	c.l2(in.L2Advertisements)
	c.routes(in.BGPAdvertisements)
	c.unannounced()
	c.surroundings(in.Nodes)

	out := &Config{Pools: make([]Pool, len(c.pools))}
	for i, d := range c.pools {
		out.Pools[i] = d.pool
	}
	for _, p := range peers {
		if !p.waits {
			out.Peers = append(out.Peers, p.peer)
		}
	}
	slices.SortFunc(out.Peers, func(a, b Peer) int { return cmp.Compare(a.Name, b.Name) })
	return out, c.sorted()
}

// compiler holds what Compile has found so far.
type compiler struct {
	youngest Source
	now      time.Time
	nodes    *nodes
	problems map[problemKey]field.ErrorList

	communities    map[string]alias
	communityNames []string
	bfd            map[string]*BFDProfile
	bfdNames       []string
	// peerNames are those of all BGPPeers, good or not.
	peerNames []string

	// pools that are used, sorted by name, and those of them that an advertisement is for if it does not say.
	pools, ipAddressPools []*draft
	poolNames             []string
	poolsByName           map[string]*draft
	poolsBySelector       map[selectorKey][]*draft
}

func (c *compiler) setPools(pools []*draft) {
	slices.SortFunc(pools, compareNames)
	c.pools = pools
	for _, d := range pools {
		c.poolsByName[d.pool.Name] = d
		c.poolNames = append(c.poolNames, d.pool.Name)
		if d.legacy == nil {
			c.ipAddressPools = append(c.ipAddressPools, d)
		}
	}
}

type problemKey struct {
	source   Source
	severity Severity
}

func (c *compiler) errors(s Source, errs ...*field.Error) {
	c.add(problemKey{s, Error}, errs)
}

func (c *compiler) warnings(s Source, errs ...*field.Error) {
	c.add(problemKey{s, Warning}, errs)
}

func (c *compiler) add(key problemKey, errs field.ErrorList) {
	if len(errs) > 0 {
		c.problems[key] = append(c.problems[key], errs...)
	}
}

// failures is the number of errors that a resource has.
func (c *compiler) failures(s Source) int { return len(c.problems[problemKey{s, Error}]) }

// forget drops what is known of a resource that turns out not to be meant for the node.
func (c *compiler) forget(s Source) {
	delete(c.problems, problemKey{s, Error})
	delete(c.problems, problemKey{s, Warning})
}

func (c *compiler) sorted() []Problem {
	var out []Problem
	for k, errs := range c.problems {
		out = append(out, Problem{Source: k.source, Severity: k.severity, Errors: errs})
	}
	slices.SortFunc(out, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Source.Kind, b.Source.Kind), cmp.Compare(a.Source.Name, b.Source.Name), cmp.Compare(a.Severity, b.Severity))
	})
	return out
}
