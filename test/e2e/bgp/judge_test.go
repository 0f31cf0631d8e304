package bgp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"metallb.io/operator/test/lab"
)

// judge is a router with a table of its own for each of many sets of sessions: what it says of them counts.
type judge interface {
	kind() lab.RouterKind
	// config has it take the sessions of the cases.
	config([]*instance) string
	// heard are the paths in the table of a case, by prefix and node.
	heard(*network, *instance) (map[netip.Prefix]map[string]heard, error)
	// seen are the sessions of cases, by the case's name and the node.
	seen(*network, []*instance) (map[string]map[string]seen, error)
}

var judges = []judge{frr{}, bird{}}

// heard is a path that the router has.
type heard struct {
	nextHop     netip.Addr
	path        string // AS path
	localPref   uint32 // 0: none
	med         string // empty: none
	communities []string
}

// seen is a session as the router sees it.
type seen struct {
	// life tells one life of a session from the next.
	life       string
	holdTime   int // in seconds, as agreed on
	routerID   string
	asn        uint32
	graceful   bool // we have offered graceful restart
	keepalives int  // received; -1: it does not say
}

// frr has a view for each case: an instance of BGP that installs nothing.
type frr struct{}

func (frr) kind() lab.RouterKind { return lab.FRR }

func (frr) config(all []*instance) string {
	var out strings.Builder
	out.WriteString("hostname router\nlog stdout\n")
	for _, in := range all {
		fmt.Fprintf(&out, "router bgp %d view %s\n bgp router-id %s\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n", in.router.as, in.name, routerID)
		families := []string{"ipv4", "ipv6"}
		switch {
		case in.router.both:
		case in.six:
			families = families[1:]
		default:
			families = families[:1]
		}
		var active string
		for _, node := range in.nodes {
			at := in.of(node)
			fmt.Fprintf(&out, " neighbor %s remote-as %d\n", at, in.router.nodes)
			if in.router.password != "" {
				fmt.Fprintf(&out, " neighbor %s password %s\n", at, in.router.password)
			}
			if in.router.hops {
				fmt.Fprintf(&out, " neighbor %s ebgp-multihop 5\n", at)
			}
			if in.router.gtsm {
				fmt.Fprintf(&out, " neighbor %s ttl-security hops 1\n", at)
			}
			active += fmt.Sprintf("  neighbor %s activate\n", at)
		}
		for _, f := range families {
			fmt.Fprintf(&out, " address-family %s unicast\n%s exit-address-family\n", f, active)
		}
		out.WriteString("exit\n")
	}
	return out.String()
}

// frrPath is a path of `show bgp ... json detail`; the first of a prefix is about the prefix itself, and has no peer.
type frrPath struct {
	Valid                     bool
	ASPath                    struct{ String string } `json:"aspath"`
	LocalPref                 uint32                  `json:"locPrf"`
	MED                       *uint32                 `json:"metric"`
	Community, LargeCommunity struct{ String string }
	Peer                      struct{ PeerID string }
	NextHops                  []struct{ IP, Scope string } `json:"nexthops"`
}

func (frr) heard(n *network, in *instance) (map[netip.Prefix]map[string]heard, error) {
	answers := n.vtysh(fmt.Sprintf("show bgp view %s ipv4 unicast json detail", in.name), fmt.Sprintf("show bgp view %s ipv6 unicast json detail", in.name))
	out := map[netip.Prefix]map[string]heard{}
	for d := json.NewDecoder(strings.NewReader(answers)); ; {
		var table struct{ Routes map[netip.Prefix][]frrPath }
		if err := d.Decode(&table); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("%w: %s", err, answers)
		}
		for prefix, paths := range table.Routes {
			for _, p := range paths {
				node := in.nodeAt(p.Peer.PeerID)
				if node == "" || !p.Valid {
					continue
				}
				h := heard{path: p.ASPath.String, localPref: p.LocalPref, communities: strings.Fields(p.Community.String)}
				if h.path == "Local" { // FRR's word for an empty one
					h.path = ""
				}
				if p.MED != nil {
					h.med = fmt.Sprint(*p.MED)
				}
				for c := range strings.FieldsSeq(p.LargeCommunity.String) {
					h.communities = append(h.communities, "large:"+c)
				}
				for _, hop := range p.NextHops {
					if hop.Scope != "link-local" {
						h.nextHop, _ = netip.ParseAddr(hop.IP)
					}
				}
				put(out, prefix, node, h)
			}
		}
	}
}

func (frr) seen(n *network, all []*instance) (map[string]map[string]seen, error) {
	commands := make([]string, len(all))
	for i, in := range all {
		commands[i] = fmt.Sprintf("show bgp view %s neighbors json", in.name)
	}
	answers := n.vtysh(commands...)
	d := json.NewDecoder(strings.NewReader(answers))
	out := map[string]map[string]seen{}
	for _, in := range all {
		out[in.name] = map[string]seen{}
		var about map[string]json.RawMessage // of neighbours, and of the view
		if err := d.Decode(&about); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", in.name, err, answers)
		}
		for _, node := range in.nodes {
			var s struct {
				State       string `json:"bgpState"`
				HoldTime    int    `json:"bgpTimerHoldTimeMsecs"`
				RouterID    string `json:"remoteRouterId"`
				AS          uint32 `json:"remoteAs"`
				Established int    `json:"connectionsEstablished"`
				Messages    struct {
					Keepalives int `json:"keepalivesRecv"`
				} `json:"messageStats"`
				Capabilities struct{ GracefulRestart string } `json:"neighborCapabilities"`
			}
			if text, ok := about[in.of(node).String()]; !ok {
				continue
			} else if err := json.Unmarshal(text, &s); err != nil {
				return nil, err
			}
			if s.State == "Established" {
				out[in.name][node] = seen{fmt.Sprint(s.Established), s.HoldTime / 1000, s.RouterID, s.AS,
					strings.Contains(strings.ToLower(s.Capabilities.GracefulRestart), "received"), s.Messages.Keepalives}
			}
		}
	}
	return out, nil
}

// bird has a table for each case and family, and a protocol for each case and node.
type bird struct{}

func (bird) kind() lab.RouterKind { return lab.BIRD }

func (bird) config(all []*instance) string {
	var out strings.Builder
	fmt.Fprintf(&out, "log stderr all;\nrouter id %s;\nprotocol device {}\nprotocol direct { ipv4; ipv6; }\n", routerID)
	for _, in := range all {
		fmt.Fprintf(&out, "ipv4 table %[1]s_4;\nipv6 table %[1]s_6;\n", in.name)
		for _, node := range in.nodes {
			fmt.Fprintf(&out, "protocol bgp %s_%s { local %s as %d; neighbor %s as %d; ", in.name, node, in.peerAddress(), in.router.as, in.of(node), in.router.nodes)
			if in.router.password != "" {
				fmt.Fprintf(&out, "password \"%s\"; ", in.router.password)
			}
			if in.router.hops {
				out.WriteString("multihop 5; ")
			} else {
				out.WriteString("direct; ")
			}
			if in.router.gtsm {
				out.WriteString("ttl security on; ")
			}
			if in.router.twoOctets {
				out.WriteString("enable as4 off; ")
			}
			for _, f := range []string{"4", "6"} {
				if in.router.both || in.six == (f == "6") {
					fmt.Fprintf(&out, "ipv%s { table %s_%[1]s; igp table master%[1]s; import all; export none; }; ", f, in.name)
				}
			}
			out.WriteString("}\n")
		}
	}
	return out.String()
}

// The first line of a path, with its prefix where it is the first of that; and what a path or a session is said to have.
var (
	birdPath  = regexp.MustCompile(`^(\S*)\s+\S+ \[(\w+) `)
	birdBGP   = regexp.MustCompile(`^(\w+)_(node\d+)\s+BGP\s+\S+\s+up\s+(\S+)\s+Established`)
	birdField = regexp.MustCompile(`^\s+([^:]+):\s*(.*)`)
	birdTuple = regexp.MustCompile(`\(([^)]*)\)`)
)

func (bird) heard(n *network, in *instance) (map[netip.Prefix]map[string]heard, error) {
	out := map[netip.Prefix]map[string]heard{}
	for _, f := range []string{"4", "6"} {
		var prefix netip.Prefix
		var node string
		for line := range strings.Lines(n.birdc("show route all table " + in.name + "_" + f)) {
			if m := birdPath.FindStringSubmatch(line); m != nil {
				if m[1] != "" {
					var err error
					if prefix, err = netip.ParsePrefix(m[1]); err != nil {
						return nil, err
					}
				}
				node = strings.TrimPrefix(m[2], in.name+"_")
				put(out, prefix, node, heard{})
				continue
			}
			m := birdField.FindStringSubmatch(line)
			if m == nil || node == "" {
				continue
			}
			h, value := out[prefix][node], strings.TrimSpace(m[2])
			switch m[1] {
			case "BGP.as_path":
				h.path = value
			case "BGP.next_hop":
				hop, _, _ := strings.Cut(value, " ") // a link-local one may follow
				h.nextHop, _ = netip.ParseAddr(hop)
			case "BGP.med":
				h.med = value
			case "BGP.local_pref":
				_, _ = fmt.Sscan(value, &h.localPref)
			case "BGP.community", "BGP.large_community":
				for _, t := range birdTuple.FindAllStringSubmatch(value, -1) {
					h.communities = append(h.communities, community(t[1], m[1] == "BGP.large_community"))
				}
			}
			put(out, prefix, node, h)
		}
	}
	return out, nil
}

// community in the words of a BGPAdvertisement, and of FRR.
func community(tuple string, large bool) string {
	c := strings.ReplaceAll(strings.ReplaceAll(tuple, " ", ""), ",", ":")
	switch {
	case large:
		return "large:" + c
	case c == "65535:65281":
		return "no-export"
	case c == "65535:0":
		return "graceful-shutdown"
	}
	return c
}

func (bird) seen(n *network, all []*instance) (map[string]map[string]seen, error) {
	out := map[string]map[string]seen{}
	for _, in := range all {
		out[in.name] = map[string]seen{}
	}
	var name, node string
	ours := false // what is said is of the other end's capabilities
	for line := range strings.Lines(n.birdc("show protocols all")) {
		if !strings.HasPrefix(line, " ") {
			name, ours = "", false
			if m := birdBGP.FindStringSubmatch(line); m != nil && out[m[1]] != nil {
				name, node = m[1], m[2]
				out[name][node] = seen{life: m[3], keepalives: -1}
			}
			continue
		}
		if name == "" {
			continue
		}
		s := out[name][node]
		field, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch field {
		case "Neighbor AS":
			_, _ = fmt.Sscan(value, &s.asn)
		case "Neighbor ID":
			s.routerID = value
		case "Neighbor capabilities":
			ours = true
		case "Session":
			ours = false
		case "Graceful restart":
			s.graceful = s.graceful || ours
		case "Hold timer":
			_, agreed, _ := strings.Cut(value, "/")
			_, _ = fmt.Sscan(agreed, &s.holdTime)
		}
		out[name][node] = s
	}
	return out, nil
}

func put(all map[netip.Prefix]map[string]heard, prefix netip.Prefix, node string, h heard) {
	if all[prefix] == nil {
		all[prefix] = map[string]heard{}
	}
	slices.Sort(h.communities)
	all[prefix][node] = h
}
