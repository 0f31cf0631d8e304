package legacy

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/internal/bgp"
)

const (
	defaultPort     = 179
	defaultHoldTime = 90 * time.Second
	// leastHoldTime and mostHoldTime are what a BGP OPEN message takes (RFC 4271, section 4.2).
	leastHoldTime, mostHoldTime = 3 * time.Second, math.MaxUint16 * time.Second
	// longestPassword is what the TCP MD5 option takes on Linux, in bytes.
	longestPassword = 80
)

// peer reads an entry of peers; one that is wrong is left out.
func (r *reader) peer(cfg *Configuration, v value) {
	before := len(r.problems)
	f := r.fields(v, "write my-asn:, peer-asn: and peer-address:", "my-asn", "peer-asn", "peer-address", "source-address",
		"peer-port", "hold-time", "keepalive-time", "router-id", "node-selectors", "password", "bfd-profile", "ebgp-multihop")
	if !v.there() || v.node.Kind != yaml.MappingNode {
		r.absent(v)
		return
	}
	p := Peer{
		Key:      v.key,
		MyASN:    r.asn(v, f, "my-asn", "write the AS number of the nodes, for instance 64512"),
		ASN:      r.asn(v, f, "peer-asn", "write the AS number of the peer, for instance 64513"),
		Address:  r.address(r.required(v, f, "peer-address", "write the IP address of the peer"), "192.0.2.1"),
		Source:   r.address(f["source-address"], "192.0.2.1"),
		RouterID: r.routerID(f["router-id"]),
		Port:     defaultPort,
		Password: r.password(f["password"]),
	}
	if a := f["peer-address"]; a.there() && a.node.Kind == yaml.ScalarNode && a.node.Value == "" {
		r.errorf(a, "is empty: write the IP address of the peer")
	}
	if n, ok := r.number(f["peer-port"], 0, math.MaxUint16, "179"); ok && n != 0 {
		p.Port = uint16(n) //nolint:gosec // MaxUint16 at most
	}
	p.HoldTime, p.KeepaliveTime = r.timers(f)
	p.BFDProfile = r.bfdProfile(f["bfd-profile"])
	if b := r.boolean(f["ebgp-multihop"]); b != nil {
		p.MultiHop = *b
	}
	r.nodeSelectors(&p, f["node-selectors"])
	if len(r.problems) > before {
		return
	}
	if other := r.peers[p.identity()]; other != "" {
		r.errorf(v, "is the same peer as %s (line %d): remove one of them", other, r.lines[other])
		return
	}
	r.peers[p.identity()] = v.key
	cfg.Peers = append(cfg.Peers, p)
}

// identity tells a peer from others: what differs in timers, password and the like only is the same peer.
func (p *Peer) identity() string {
	return fmt.Sprint(p.Address, p.Port, p.MyASN, p.ASN, p.Source, p.RouterID, selectorTexts(p.NodeSelectors))
}

func selectorTexts(in []metav1.LabelSelector) []string {
	out := make([]string, len(in))
	for i := range in {
		out[i] = selectorText(&in[i])
	}
	slices.Sort(out)
	return out
}

// selectorText is the same for selectors that say the same.
func selectorText(s *metav1.LabelSelector) string {
	var parts []string
	for k, v := range s.MatchLabels {
		parts = append(parts, fmt.Sprintf("%q=%q", k, v))
	}
	for _, e := range s.MatchExpressions {
		parts = append(parts, fmt.Sprintf("%q %q %q", e.Key, e.Operator, slices.Sorted(slices.Values(e.Values))))
	}
	slices.Sort(parts)
	return strings.Join(slices.Compact(parts), ",")
}

func (r *reader) asn(of value, f map[string]value, name, hint string) uint32 {
	n, _ := r.number(r.required(of, f, name, hint), 1, math.MaxUint32, "64512")
	return uint32(n) //nolint:gosec // MaxUint32 at most
}

// routerID has the form of an IPv4 address (RFC 4271, section 4.2).
func (r *reader) routerID(v value) netip.Addr {
	a := r.address(v, "192.0.2.1")
	if a.IsValid() && !a.Is4() {
		r.errorf(v, "%s is not an IPv4 address, which a router ID looks like: write for instance 192.0.2.1", quote(a.String()))
	}
	return a
}

// password takes the text as it is. Nothing that is said of it quotes it.
func (r *reader) password(v value) bgp.Password {
	text, _ := r.scalar(v, "write a text, in quotes")
	if len(text) > longestPassword {
		r.errorf(v, "is longer than %d bytes, which TCP MD5 does not take: agree on a shorter one with the peer", longestPassword)
		return ""
	}
	return bgp.Password(text)
}

// timers reads the hold time, 90 s by default and in whole seconds as ever, and the keepalive time.
func (r *reader) timers(f map[string]value) (hold time.Duration, keepalive *time.Duration) {
	hold = defaultHoldTime
	if d, ok := r.duration(f["hold-time"], "90s"); ok {
		hold = d.Truncate(time.Second)
		if hold != 0 && (hold < leastHoldTime || hold > mostHoldTime) || d < 0 {
			r.errorf(f["hold-time"], "%s is not a hold time: write 0s for none, or %s to %s", d, leastHoldTime, "65535s")
		}
	}
	d, ok := r.duration(f["keepalive-time"], "30s")
	switch {
	case !ok:
		return hold, nil
	case d < 0 || d > mostHoldTime:
		r.errorf(f["keepalive-time"], "%s is not a keepalive time: write for instance 30s", d)
	case hold != 0 && d > hold:
		r.errorf(f["keepalive-time"], "%s is longer than the hold time of %s, so that the session would end before the next keepalive: write a third of it", d, hold)
	}
	return hold, &d
}

func (r *reader) bfdProfile(v value) string {
	name, ok := r.scalar(v, "write the name of a profile")
	if !ok || name == "" || r.profiles[name] != "" {
		return name
	}
	hint := "add it there, or remove the key"
	if near := nearestKey(name, r.profiles); near != "" {
		hint = "did you mean " + near + "?"
	}
	r.errorf(v, "%s is not one of bfd-profiles: %s", quote(name), hint)
	return ""
}

var operators = []metav1.LabelSelectorOperator{
	metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist,
}

// nodeSelectors reads what chooses the nodes of a peer. What is said twice is kept once: now it would be refused.
func (r *reader) nodeSelectors(p *Peer, v value) {
	seen := map[string]bool{}
	for _, item := range r.list(v, "write - before each entry") {
		s, ok := r.nodeSelector(item)
		if text := selectorText(&s); ok && !seen[text] {
			seen[text] = true
			p.NodeSelectors = append(p.NodeSelectors, s)
			p.SelectorKeys = append(p.SelectorKeys, item.key)
		}
	}
}

// nodeSelector reads an entry of node-selectors. One without anything matches every node.
func (r *reader) nodeSelector(v value) (metav1.LabelSelector, bool) {
	before := len(r.problems)
	f := r.fields(v, "write match-labels: or match-expressions:", "match-labels", "match-expressions")
	var out metav1.LabelSelector
	for _, e := range r.entries(f["match-labels"], "write for instance rack: a") {
		text, ok := r.scalar(e.value, "write the value of the label")
		if !ok && e.there() {
			continue
		}
		if out.MatchLabels == nil {
			out.MatchLabels = map[string]string{}
		}
		out.MatchLabels[e.name] = text
	}
	for _, item := range r.list(f["match-expressions"], "write - before each entry") {
		out.MatchExpressions = append(out.MatchExpressions, r.requirement(item))
	}
	return out, len(r.problems) == before
}

func (r *reader) requirement(v value) metav1.LabelSelectorRequirement {
	var out metav1.LabelSelectorRequirement
	r.absent(v)
	f := r.fields(v, "write key:, operator: and values:", "key", "operator", "values")
	if !v.there() || v.node.Kind != yaml.MappingNode {
		return out
	}
	out.Key, _ = r.scalar(r.required(v, f, "key", "write the key of a label of nodes"), "write the key of a label")
	text, ok := r.scalar(r.required(v, f, "operator", "write In, NotIn, Exists or DoesNotExist"), "write In, NotIn, Exists or DoesNotExist")
	out.Operator = metav1.LabelSelectorOperator(text)
	if ok && !slices.Contains(operators, out.Operator) {
		r.errorf(f["operator"], "%s is not an operator: write In, NotIn, Exists or DoesNotExist", quote(text))
	}
	seen := map[string]bool{}
	for _, item := range r.list(f["values"], "write - before each value") {
		if text, ok := r.scalar(item, "write the value of a label"); (ok || !item.there()) && !seen[text] {
			seen[text] = true
			out.Values = append(out.Values, text)
		}
	}
	return out
}
