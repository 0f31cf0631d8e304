package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/bgp"
)

const (
	kindBGPPeer = "BGPPeer"
	// bgpPort is where routers listen (RFC 4271, section 8.2.1).
	bgpPort = 179
)

// peerDraft is a peer on its way into the Config.
type peerDraft struct {
	peer   Peer
	source Source
	age    age
	nodes  nodeSet
	// waits says that the peer's password is not there, or not usable.
	waits bool
}

// peers compiles the BGPPeers that the Config is for, sorted by age.
func (c *compiler) peers(in *Input) []*peerDraft {
	var drafts []*peerDraft
	for i := range in.BGPPeers {
		p := &in.BGPPeers[i]
		c.peerNames = append(c.peerNames, p.Name)
		if d, ok := c.peer(p); ok {
			drafts = append(drafts, d)
			d.waits = !c.password(d, p, in.Secrets)
		}
	}
	slices.Sort(c.peerNames)
	slices.SortFunc(drafts, func(a, b *peerDraft) int { return compareAges(a.age, b.age) })
	return c.compatible(drafts)
}

// peer compiles one BGPPeer; not ok is one that is not used, because a session that differs from what is written is not
// what was meant, or because it is not for the node.
func (c *compiler) peer(in *v1beta2.BGPPeer) (*peerDraft, bool) {
	source := Source{Kind: kindBGPPeer, Name: in.Name}
	spec := field.NewPath("spec")
	d := &peerDraft{source: source, age: c.age(source, in.CreationTimestamp)}
	d.peer = Peer{
		Name: in.Name, Interface: in.Spec.Interface, VRF: in.Spec.VRFName, Port: in.Spec.Port, MultiHop: in.Spec.EBGPMultiHop, TTLSecurityHops: in.Spec.TTLSecurityHops,
		GracefulRestart: in.Spec.EnableGracefulRestart, DualStack: in.Spec.DualStackAddressFamily, Passive: in.Spec.PassiveMode,
	}
	if d.peer.Port == 0 {
		d.peer.Port = bgpPort // not defaulted where it was stored by an old version
	}
	c.numbers(source, spec, &in.Spec, &d.peer)
	c.endpoints(source, spec, &in.Spec, &d.peer)
	c.times(source, spec, &in.Spec, &d.peer)
	c.device(source, spec.Child("vrf"), in.Spec.VRFName)
	c.device(source, spec.Child("interface"), in.Spec.Interface)
	c.passwordText(source, spec, in)
	ok := c.failures(source) == 0

	d.peer.NodeSelectors = c.selectors(source, spec.Child("nodeSelectors"), in.Spec.NodeSelectors)
	d.nodes = c.nodes.selected(d.peer.NodeSelectors)
	if !c.nodes.isHere(d.nodes) {
		c.forget(source)
		return nil, false
	}
	c.idle(source, spec.Child("nodeSelectors"), d.peer.NodeSelectors, d.nodes, "no session is opened")
	c.watched(source, spec.Child("bfdProfile"), in.Spec.BFDProfile, &d.peer)
	if in.Spec.DisableMP {
		c.warnings(source, field.Invalid(spec.Child("disableMP"), true, "has no effect: remove it"))
	}
	return d, ok
}

// numbers compiles the AS numbers, and what hangs on them.
func (c *compiler) numbers(source Source, spec *field.Path, in *v1beta2.BGPPeerSpec, p *Peer) {
	p.MyASN, p.LocalASN, p.ASN, p.Dynamic = in.MyASN, in.LocalASN, in.ASN, DynamicASN(in.DynamicASN)
	if in.MyASN == 0 {
		c.errors(source, field.Required(spec.Child("myASN"), "write the AS number of the nodes' end of the session, for instance 64512; 64512 to 65534 are for private use (RFC 6996)"))
	}
	if in.LocalASN != 0 && in.LocalASN == in.MyASN {
		c.warnings(source, field.Invalid(spec.Child("localASN"), in.LocalASN, "is myASN already, so it has no effect: remove it"))
	}
	dynamic := []v1beta2.DynamicASN{v1beta2.DynamicASNInternal, v1beta2.DynamicASNExternal}
	switch {
	case in.DynamicASN != "" && !slices.Contains(dynamic, in.DynamicASN):
		c.errors(source, field.NotSupported(spec.Child("dynamicASN"), in.DynamicASN, dynamic))
	case in.DynamicASN != "" && in.ASN != 0:
		c.errors(source, field.Forbidden(spec.Child("dynamicASN"), fmt.Sprintf("peerASN says already that the peer has the AS number %d: remove one of the two", in.ASN)))
	case in.DynamicASN == "" && in.ASN == 0:
		c.errors(source, field.Required(spec.Child("peerASN"), "write the AS number of the peer, or dynamicASN: internal or external"))
	}
	c.hops(source, spec, in)
}

// hops checks what is said about how far away the peer is.
func (c *compiler) hops(source Source, spec *field.Path, in *v1beta2.BGPPeerSpec) {
	if at := spec.Child("ttlSecurityHops"); in.TTLSecurityHops > mostHops {
		c.errors(source, field.Invalid(at, in.TTLSecurityHops, fmt.Sprintf("write 1 for a peer on the same network, or how many hops it is away at most, up to %d", mostHops)))
	} else if in.TTLSecurityHops > 0 && in.EBGPMultiHop {
		c.errors(source, field.Forbidden(at, "ebgpMultiHop takes packets from any number of hops away, and this only those from so many: remove ebgpMultiHop, and write here how many hops the peer is away"))
	}
	ours := in.MyASN
	if in.LocalASN != 0 {
		ours = in.LocalASN
	}
	if !in.EBGPMultiHop {
		return
	}
	at := spec.Child("ebgpMultiHop")
	switch {
	case in.ASN != 0 && in.ASN == in.MyASN && in.LocalASN == 0:
		c.errors(source, field.Invalid(at, true, "the peer has the same AS number as the nodes, and such a session (iBGP) may take any number of hops anyway: remove ebgpMultiHop, or put the AS numbers right"))
	case in.ASN != 0 && in.ASN == ours, in.DynamicASN == v1beta2.DynamicASNInternal:
		c.warnings(source, field.Invalid(at, true, "has no effect: the peer has the AS number that the nodes show it, and such a session (iBGP) may take any number of hops anyway"))
	}
}

// mostHops leave a TTL of 2.
const mostHops = 254

// endpoints compiles the addresses of the session's two ends.
func (c *compiler) endpoints(source Source, spec *field.Path, in *v1beta2.BGPPeerSpec, p *Peer) {
	at := spec.Child("peerAddress")
	switch {
	case in.Address == "" && in.Interface == "":
		c.errors(source, field.Required(at, "write the address of the peer, or in interface the interface over which it is found"))
	case in.Address != "" && in.Interface != "":
		c.errors(source, field.Forbidden(spec.Child("interface"), "peerAddress says already where the peer is: remove one of the two"))
	}
	if in.Address != "" {
		p.Address = c.unicast(source, at, in.Address)
		switch {
		case p.Address.IsLoopback():
			c.warnings(source, field.Invalid(at, in.Address, "is a loopback address, where every node finds itself: write the address of the router, unless one runs on each node"))
		case p.Address.Is6() && p.Address.IsLinkLocalUnicast():
			c.warnings(source, field.Invalid(at, in.Address, "is a link-local address, which does not say over which interface: write that in interface and remove peerAddress"))
		}
	}
	if in.Interface != "" && in.SrcAddress != "" {
		c.warnings(source, field.Invalid(spec.Child("sourceAddress"), in.SrcAddress, "has no effect: a session over an interface is between the link-local addresses of its two ends, so remove it"))
	}
	if in.Interface != "" && in.EBGPMultiHop {
		c.warnings(source, field.Invalid(spec.Child("ebgpMultiHop"), true, "has no effect: what is found over an interface is on the same link, so remove it"))
	}
	if in.SrcAddress != "" {
		at = spec.Child("sourceAddress")
		p.Source = c.unicast(source, at, in.SrcAddress)
		if p.Source.IsValid() && p.Address.IsValid() && p.Source.Is4() != p.Address.Is4() {
			c.errors(source, field.Invalid(at, in.SrcAddress, fmt.Sprintf("is not of the same family as peerAddress %s: write an %s address", p.Address, family(p.Address))))
		}
	}
	if in.RouterID != "" {
		id, err := netip.ParseAddr(in.RouterID)
		if p.RouterID = id.Unmap(); err != nil || !p.RouterID.Is4() || p.RouterID.IsUnspecified() {
			c.errors(source, field.Invalid(spec.Child("routerID"), in.RouterID, "is not an IPv4 address other than 0.0.0.0: write one that no other router has, or nothing to use an address of the node"))
		}
	}
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// unicast reads an address that a session may have; not valid: it is none, and that has been said.
func (c *compiler) unicast(source Source, at *field.Path, text string) netip.Addr {
	a, err := netip.ParseAddr(text)
	a = a.Unmap()
	what := ""
	switch {
	case err != nil:
		what = "is not an IP address: write one such as 192.0.2.1 or 2001:db8::1"
	case a.Zone() != "":
		what = "has a zone, and interfaces are called differently on each node: write the address without it"
	case a.IsUnspecified():
		what = "is the unspecified address: write the one that is meant"
	case a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		what = "is an address of many: write the one that is meant"
	default:
		return a
	}
	c.errors(source, field.Invalid(at, text, what))
	return netip.Addr{}
}

// device checks the name of an interface or VRF of a node; they are called as Linux allows (dev_valid_name).
func (c *compiler) device(source Source, at *field.Path, name string) {
	const longest = 15
	switch {
	case len(name) > longest:
		c.errors(source, field.Invalid(at, name, fmt.Sprintf("is longer than the %d characters that a Linux interface may have: write the name that ip link shows", longest)))
	case name == "." || name == ".." || strings.ContainsAny(name, "/:") || strings.ContainsFunc(name, unicode.IsSpace):
		c.errors(source, field.Invalid(at, name, "cannot be the name of a Linux interface: write the name that ip link shows, without blanks, slashes and colons"))
	}
}

// watched finds the BFD profile. Without one, the session runs all the same.
func (c *compiler) watched(source Source, at *field.Path, name string, p *Peer) {
	if name == "" {
		return
	}
	if p.BFD = c.bfd[name]; p.BFD == nil {
		c.warnings(source, missing(at, name, "there is no BFDProfile of this name, so the session runs without BFD until it is there", c.bfdNames, "create the BFDProfile"))
	}
}

// passwordText checks what the specification says about the password. No error has it in it.
func (c *compiler) passwordText(source Source, spec *field.Path, in *v1beta2.BGPPeer) {
	secret := spec.Child("passwordSecret")
	if in.Spec.Password != "" && in.Spec.PasswordSecret.Name != "" {
		c.errors(source, field.Forbidden(spec.Child("password"), "passwordSecret names a Secret with the password already: remove one of the two, better this one"))
	}
	if len(in.Spec.Password) > longestPassword {
		c.errors(source, tooLong(spec.Child("password")))
	}
	switch namespace := in.Spec.PasswordSecret.Namespace; {
	case namespace != "" && in.Spec.PasswordSecret.Name == "":
		c.warnings(source, field.Required(secret.Child("name"), "the namespace alone has no effect: write the name of the Secret"))
	case namespace != "" && in.Namespace != "" && namespace != in.Namespace:
		c.warnings(source, field.Invalid(secret.Child("namespace"), namespace, "has no effect: the Secret is read from the peer's own namespace "+in.Namespace+": put it there and remove this"))
	}
}

// longestPassword is what Linux takes for TCP MD5 (TCP_MD5SIG_MAXKEYLEN).
const longestPassword = 80

func tooLong(at *field.Path) *field.Error {
	e := field.TooLong(at, "", longestPassword)
	e.Detail = fmt.Sprintf("a password of a BGP session has at most %d bytes: choose a shorter one", longestPassword)
	return e
}

// password fills in the password; false: the session has to wait for it.
func (c *compiler) password(d *peerDraft, in *v1beta2.BGPPeer, secrets map[string]Secret) bool {
	d.peer.Password = bgp.Password(in.Spec.Password)
	name := in.Spec.PasswordSecret.Name
	if name == "" || secrets == nil {
		return true
	}
	at := field.NewPath("spec", "passwordSecret", "name")
	secret, ok := secrets[name]
	password := secret.Password.Reveal()
	switch {
	case !ok:
		e := field.NotFound(at, name)
		e.Detail = "there is no Secret of this name in the namespace of the peer, so no session is opened until it is there: create it with type kubernetes.io/basic-auth and the key password"
		c.warnings(d.source, e)
	case secret.Type != secretType:
		c.errors(d.source, field.Invalid(at, name, fmt.Sprintf("this Secret is of type %s, so no session is opened: create it anew with type %s", secret.Type, secretType)))
	case password == "":
		c.errors(d.source, field.Invalid(at, name, "this Secret has no password, so no session is opened: write one under the key password"))
	case len(password) > longestPassword:
		e := tooLong(at)
		e.Detail = "the password in this Secret is too long, so no session is opened: " + e.Detail
		c.errors(d.source, e)
	default:
		if strings.HasSuffix(password, "\n") {
			c.warnings(d.source, field.Invalid(at, name, "the password in this Secret ends with a line break, which is part of it: unless the router has that too, write it without one (printf, or echo -n)"))
		}
		d.peer.Password = secret.Password
		return true
	}
	return false
}

const secretType = "kubernetes.io/basic-auth"
