package bgp

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/test/lab"
)

// A row of the matrix is one way to use BGP: what is configured at both ends, and what the router must have in the end. It is
// tried with each judge over IPv4 and IPv6, beside all others at the same time, on a network of its own.
type row struct {
	name string
	// only one kind of router can do it.
	only lab.RouterKind
	// nodes that are peers of the router; none: the first.
	nodes []string
	// router is what differs from a plain eBGP router.
	router neighbour
	// peer changes a BGPPeer with our AS number, the router's, and its address on the row's network.
	peer func(*instance, *v1beta2.BGPPeerSpec)
	// advertisements of the row's pool to the row's peer, each changed by one of these; none: one of all defaults.
	advertisements []func(*v1beta1.BGPAdvertisementSpec)
	// services with an address each, the first, the second, ... of the pool; none: one of all defaults.
	services []service
	// routes that the router must have, and no other. Nil: one of all defaults.
	routes []route
	// session says what is wrong with a session as the router sees it.
	session func(seen) error
	// then are changes that follow.
	then []change
}

// neighbour is the router's end of the sessions of a row.
type neighbour struct {
	as, nodes             uint32 // AS numbers of the router and of the nodes, as the router has them
	password              string
	both, hops, twoOctets bool
	gtsm                  bool // it wants packets with a TTL of 255
	second                bool // it knows the nodes by their second address
}

type service struct {
	labels        map[string]string
	address, port int
	shared, local bool
}

// route is what the router must have of an address of the pool.
type route struct {
	address int
	// short is an aggregate of 16 addresses.
	short       bool
	nodes       []string // none: all of the row
	path        string   // none: the nodes' AS number
	localPref   uint32   // 0: no matter
	med         string   // none: none
	communities []string
}

type change struct {
	name   string
	do     func(*matrix, *instance)
	routes []route
}

// instance is a row over IPv4 or IPv6 transport.
type instance struct {
	row
	name   string
	number int
	six    bool
}

const (
	routerID = "172.30.0.60"
	// number is of the machines on the networks of rows, as on the LAN: nodes from 11 on, the router 60; a hundred more is a
	// node's second address there.
	firstNode, routerNumber, second = 10, 60, 100
	// port of the router that is not 179.
	otherPort = 1790
)

// at is a machine's address on the network of a row.
func (in *instance) at(number int, six bool) netip.Addr {
	if six {
		return netip.MustParseAddr(fmt.Sprintf("fd00:29:%d::%d", in.number, number))
	}
	return netip.MustParseAddr(fmt.Sprintf("172.29.%d.%d", in.number, number))
}

func (in *instance) peerAddress() netip.Addr { return in.at(routerNumber, in.six) }

// of is the address that the router knows a node by.
func (in *instance) of(node string) netip.Addr {
	number := firstNode + int(node[len(node)-1]-'0')
	if in.router.second {
		number += second
	}
	return in.at(number, in.six)
}

func (in *instance) nodeAt(address string) string {
	for _, node := range in.nodes {
		if in.of(node).String() == address {
			return node
		}
	}
	return ""
}

// address of the row's pool.
func (in *instance) address(number int, six bool) netip.Addr {
	if six {
		return netip.MustParseAddr(fmt.Sprintf("fd00:64:%d::%d", in.number, 1+number))
	}
	return netip.MustParseAddr(fmt.Sprintf("100.64.%d.%d", in.number, 1+number))
}

// families of the row's addresses.
func (in *instance) families() []bool {
	if in.router.both {
		return []bool{false, true}
	}
	return []bool{in.six}
}

// wanted are the routes that the router must have, by prefix and node.
func (in *instance) wanted(routes []route) map[netip.Prefix]map[string]heard {
	out := map[netip.Prefix]map[string]heard{}
	for _, r := range routes {
		for _, six := range in.families() {
			a := in.address(r.address, six)
			bits := a.BitLen()
			if r.short {
				bits -= 4
			}
			prefix, _ := a.Prefix(bits)
			nodes := r.nodes
			if nodes == nil {
				nodes = in.nodes
			}
			for _, node := range nodes {
				h := heard{path: r.path, localPref: r.localPref, med: r.med, communities: slices.Clone(r.communities)}
				if h.path == "" && in.router.as != in.router.nodes {
					h.path = fmt.Sprint(in.router.nodes)
				}
				if six == in.six {
					h.nextHop = in.of(node)
				}
				put(out, prefix, node, h)
			}
		}
	}
	return out
}

// differs says what is not as wanted; a next hop, or a LOCAL_PREF, that is not said does not matter.
func differs(got, want map[netip.Prefix]map[string]heard) error {
	same := func(g, w heard) bool {
		return g.path == w.path && g.med == w.med && slices.Equal(g.communities, w.communities) && (w.localPref == 0 || g.localPref == w.localPref) &&
			(!w.nextHop.IsValid() || g.nextHop == w.nextHop) && g.nextHop.IsValid()
	}
	if maps.EqualFunc(got, want, func(g, w map[string]heard) bool { return maps.EqualFunc(g, w, same) }) {
		return nil
	}
	return fmt.Errorf("the router has %+v, and should have %+v", got, want)
}

func (in *instance) String() string {
	if in.six {
		return in.row.name + " over IPv6"
	}
	return in.row.name + " over IPv4"
}

// instances are the rows for a kind of router with what they do not say filled in. Unless they are to be whole, a row that is for
// each kind is there over one family for one of them, and over the other for the other.
func instances(kind lab.RouterKind, whole bool) (all []*instance) {
	number := 0
	for i, r := range slices.Concat(sessionRows, pathRows) {
		for _, six := range []bool{false, true} {
			number++
			if r.only != "" && r.only != kind || !whole && r.only == "" && six == ((kind == lab.FRR) == (i%2 == 0)) {
				continue
			}
			in := &instance{r, fmt.Sprintf("r%02d", number), number, six}
			if in.nodes == nil {
				in.nodes = []string{"node1"}
			}
			if in.router.as == 0 {
				in.router.as = lab.RouterAS
			}
			if in.router.nodes == 0 {
				in.router.nodes = lab.NodeAS
			}
			if in.advertisements == nil {
				in.advertisements = []func(*v1beta1.BGPAdvertisementSpec){func(*v1beta1.BGPAdvertisementSpec) {}}
			}
			if in.services == nil {
				in.services = []service{{}}
			}
			if in.routes == nil {
				in.routes = []route{{}}
			}
			all = append(all, in)
		}
	}
	return all
}
