package legacy

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
)

// Options of Convert.
type Options struct {
	// Namespace of the resources.
	Namespace string
}

// Convert turns a Configuration into resources that mean the same. It is deterministic, and what the API server would
// fill in by default is filled in, so that what is stored can be compared with it.
func Convert(cfg *Configuration, o Options) *Resources {
	c := converter{Options: o, Resources: &Resources{cfg: cfg, origins: map[target]origin{}}}
	for i := range cfg.Profiles {
		c.profile(&cfg.Profiles[i])
	}
	c.communities(cfg.Communities)
	addresses := map[string]bool{}
	for i := range cfg.Peers {
		c.peer(&cfg.Peers[i], addresses)
	}
	for i := range cfg.Pools {
		c.pool(&cfg.Pools[i])
	}
	return c.Resources
}

type converter struct {
	Options
	*Resources
}

// meta makes the head of a resource.
func (c *converter) meta(gv schema.GroupVersion, kind, name string) (metav1.TypeMeta, metav1.ObjectMeta) {
	return metav1.TypeMeta{APIVersion: gv.String(), Kind: kind}, metav1.ObjectMeta{Namespace: c.Namespace, Name: name}
}

func (c *converter) profile(in *Profile) {
	var out v1beta1.BFDProfile
	out.TypeMeta, out.ObjectMeta = c.meta(v1beta1.GroupVersion, "BFDProfile", objectName(in.Name))
	out.Spec = v1beta1.BFDProfileSpec{
		ReceiveInterval: in.ReceiveInterval, TransmitInterval: in.TransmitInterval, DetectMultiplier: in.DetectMultiplier,
		EchoInterval: in.EchoInterval, EchoMode: in.EchoMode, PassiveMode: in.PassiveMode, MinimumTTL: in.MinimumTTL,
	}
	c.came(&out, entryLabel(keyProfiles, "name", in.Name), in.Key,
		"metadata.name", "name", "spec.receiveInterval", "receive-interval", "spec.transmitInterval", "transmit-interval",
		"spec.detectMultiplier", "detect-multiplier", "spec.echoInterval", "echo-interval", "spec.echoMode", "echo-mode",
		"spec.passiveMode", "passive-mode", "spec.minimumTtl", "minimum-ttl")
	c.BFDProfiles = append(c.BFDProfiles, out)
}

func entryLabel(list, by, name string) string { return fmt.Sprintf("%s[%s=%s]", list, by, name) }

// communities makes one resource of all aliases, sorted by name.
func (c *converter) communities(in []Community) {
	if len(in) == 0 {
		return
	}
	in = slices.Clone(in)
	slices.SortFunc(in, func(a, b Community) int { return cmp.Compare(a.Name, b.Name) })
	var out v1beta1.Community
	out.TypeMeta, out.ObjectMeta = c.meta(v1beta1.GroupVersion, "Community", "communities")
	var pairs []string
	for i, a := range in {
		out.Spec.Communities = append(out.Spec.Communities, v1beta1.CommunityAlias{Name: a.Name, Value: a.Value.String()})
		pairs = append(pairs, fmt.Sprintf("spec.communities[%d]", i), a.Key)
	}
	c.came(&out, keyCommunities, keyCommunities, pairs...)
	c.Communities = append(c.Communities, out)
}

// peer names the first peer of an address by the address alone; of others a hash of what tells them apart is part of the
// name. addresses are those that have had a peer.
func (c *converter) peer(in *Peer, addresses map[string]bool) {
	name := peerName(in.Address)
	if addresses[name] {
		name += "-" + hash(in.identity())
	}
	addresses[name] = true
	var out v1beta2.BGPPeer
	out.TypeMeta, out.ObjectMeta = c.meta(v1beta2.GroupVersion, "BGPPeer", name)
	out.Spec = v1beta2.BGPPeerSpec{
		MyASN: in.MyASN, ASN: in.ASN, Address: in.Address.String(), Port: in.Port,
		// The hold time is said even where it is the default: it must not change with what the default is.
		HoldTime:      &metav1.Duration{Duration: in.HoldTime},
		NodeSelectors: in.NodeSelectors,
		EBGPMultiHop:  in.MultiHop,
	}
	if in.Source.IsValid() {
		out.Spec.SrcAddress = in.Source.String()
	}
	if in.RouterID.IsValid() {
		out.Spec.RouterID = in.RouterID.String()
	}
	if in.KeepaliveTime != nil {
		out.Spec.KeepaliveTime = &metav1.Duration{Duration: *in.KeepaliveTime}
	}
	if in.BFDProfile != "" {
		out.Spec.BFDProfile = objectName(in.BFDProfile)
	}
	pairs := []string{"spec.myASN", "my-asn", "spec.peerASN", "peer-asn", "spec.peerAddress", "peer-address", "spec.peerPort", "peer-port",
		"spec.sourceAddress", "source-address", "spec.routerID", "router-id", "spec.holdTime", "hold-time", "spec.keepaliveTime", "keepalive-time",
		"spec.nodeSelectors", "node-selectors", "spec.bfdProfile", "bfd-profile", "spec.ebgpMultiHop", "ebgp-multihop", "spec.passwordSecret", "password"}
	for i := range in.NodeSelectors {
		pairs = append(pairs, selectorKeys(fmt.Sprintf("spec.nodeSelectors[%d]", i), in.SelectorKeys[i], len(in.NodeSelectors[i].MatchExpressions))...)
	}
	label := entryLabel(keyPeers, "peer-address", in.Address.String())
	if in.Password != "" {
		out.Spec.PasswordSecret.Name = PasswordSecret(name)
		c.secret(in, out.Spec.PasswordSecret.Name, label)
	}
	c.came(&out, label, in.Key, pairs...)
	c.BGPPeers = append(c.BGPPeers, out)
}

func selectorKeys(field, key string, expressions int) []string {
	out := []string{field, key, field + ".matchLabels", key + ".match-labels", field + ".matchExpressions", key + ".match-expressions"}
	for i := range expressions {
		at := fmt.Sprintf("[%d]", i)
		for _, f := range []string{"", ".key", ".operator", ".values"} {
			out = append(out, field+".matchExpressions"+at+f, key+".match-expressions"+at+f)
		}
	}
	return out
}

// secret holds the password, the one place where it is.
func (c *converter) secret(in *Peer, name, label string) {
	var out corev1.Secret
	out.TypeMeta, out.ObjectMeta = c.meta(corev1.SchemeGroupVersion, "Secret", name)
	out.Type = corev1.SecretTypeBasicAuth
	out.Data = map[string][]byte{corev1.BasicAuthPasswordKey: []byte(in.Password.Reveal())}
	c.came(&out, label+".password", in.Key+".password")
	c.Secrets = append(c.Secrets, out)
}

// pool makes an IPAddressPool and its advertisements. Services ask for a pool by name, so a name stays exactly what it
// was: one that no object can have becomes the spec.name of an AddressPool, which includes its advertisements.
func (c *converter) pool(in *Pool) {
	if len(validation.IsDNS1123Subdomain(in.Name)) > 0 && !in.AvoidBuggyIPs { // which an AddressPool does not have
		c.addressPool(in)
		return
	}
	var out v1beta1.IPAddressPool
	out.TypeMeta, out.ObjectMeta = c.meta(v1beta1.GroupVersion, "IPAddressPool", objectName(in.Name))
	out.Spec = v1beta1.IPAddressPoolSpec{Addresses: texts(in.Addresses), AutoAssign: &in.AutoAssign, AvoidBuggyIPs: in.AvoidBuggyIPs}
	label := entryLabel(keyPools, "name", in.Name)
	c.came(&out, label, in.Key, append(entryKeys("spec.addresses", in.Addresses),
		"metadata.name", "name", "spec.addresses", c.addressesKey(in), "spec.autoAssign", "auto-assign", "spec.avoidBuggyIPs", "avoid-buggy-ips")...)
	c.IPAddressPools = append(c.IPAddressPools, out)
	if !in.BGP {
		var l2 v1beta1.L2Advertisement
		l2.TypeMeta, l2.ObjectMeta = c.meta(v1beta1.GroupVersion, "L2Advertisement", out.Name)
		l2.Spec.IPAddressPools = []string{out.Name}
		c.came(&l2, label+".protocol", in.Key, "spec", "protocol")
		c.L2Advertisements = append(c.L2Advertisements, l2)
		return
	}
	names := map[string]int{}
	for i, a := range in.advertisements() {
		c.advertisement(out.Name, a, fmt.Sprintf("%s.bgp-advertisements[%d]", label, i), names)
	}
}

// advertisements of a pool of protocol bgp: without any there is one with all defaults.
func (p *Pool) advertisements() []Advertisement {
	if len(p.Advertisements) == 0 {
		return []Advertisement{{Key: p.Key + ".protocol", Length4: 32, Length6: 128}}
	}
	return p.Advertisements
}

// advertisement is to all peers, on all nodes. Of several with the same lengths all but the first have a number, after a
// dot, which no other name of an advertisement has.
func (c *converter) advertisement(pool string, in Advertisement, label string, names map[string]int) {
	name := advertisementName(pool, in)
	names[name]++
	if n := names[name]; n > 1 {
		name = fits(fmt.Sprintf("%s.%d", name, n))
	}
	var out v1beta1.BGPAdvertisement
	out.TypeMeta, out.ObjectMeta = c.meta(v1beta1.GroupVersion, "BGPAdvertisement", name)
	out.Spec = v1beta1.BGPAdvertisementSpec{
		AggregationLength: &in.Length4, AggregationLengthV6: &in.Length6, LocalPref: in.LocalPref,
		Communities: texts(in.Communities), IPAddressPools: []string{pool},
	}
	c.came(&out, label, in.Key, append(entryKeys("spec.communities", in.Communities),
		"spec.aggregationLength", "aggregation-length", "spec.aggregationLengthV6", "aggregation-length-v6",
		"spec.localPref", "localpref", "spec.communities", "communities")...)
	c.BGPAdvertisements = append(c.BGPAdvertisements, out)
}

// addressPool keeps a name that no object can have.
func (c *converter) addressPool(in *Pool) {
	var out v1beta1.AddressPool
	out.TypeMeta, out.ObjectMeta = c.meta(v1beta1.GroupVersion, "AddressPool", objectName(in.Name))
	out.Spec = v1beta1.AddressPoolSpec{Name: in.Name, Protocol: v1beta1.ProtocolLayer2, Addresses: texts(in.Addresses), AutoAssign: &in.AutoAssign}
	pairs := append(entryKeys("spec.addresses", in.Addresses), "metadata.name", "name", "spec.name", "name", "spec.protocol", "protocol",
		"spec.addresses", c.addressesKey(in), "spec.autoAssign", "auto-assign", "spec.bgpAdvertisements", "bgp-advertisements")
	if in.BGP {
		out.Spec.Protocol = v1beta1.ProtocolBGP
		for i, a := range in.advertisements() {
			out.Spec.BGPAdvertisements = append(out.Spec.BGPAdvertisements, v1beta1.LegacyBGPAdvertisement{
				AggregationLength: &a.Length4, AggregationLengthV6: &a.Length6, LocalPref: a.LocalPref, Communities: texts(a.Communities),
			})
			at := fmt.Sprintf("spec.bgpAdvertisements[%d]", i)
			pairs = append(pairs, at, a.Key, at+".aggregationLength", a.Key+".aggregation-length",
				at+".aggregationLengthV6", a.Key+".aggregation-length-v6", at+".localPref", a.Key+".localpref")
			pairs = append(pairs, entryKeys(at+".communities", a.Communities)...)
		}
	}
	c.came(&out, entryLabel(keyPools, "name", in.Name), in.Key, pairs...)
	c.AddressPools = append(c.AddressPools, out)
}

// addressesKey is addresses, or cidr where that is what the text says.
func (c *converter) addressesKey(in *Pool) string {
	if c.cfg.lines[in.Key+".addresses"] == 0 && c.cfg.lines[in.Key+".cidr"] > 0 {
		return "cidr"
	}
	return "addresses"
}

func texts(in []Entry) []string {
	var out []string
	for _, e := range in {
		out = append(out, e.Text)
	}
	return out
}

func entryKeys(field string, in []Entry) []string {
	var out []string
	for i, e := range in {
		out = append(out, fmt.Sprintf("%s[%d]", field, i), e.Key)
	}
	return out
}
