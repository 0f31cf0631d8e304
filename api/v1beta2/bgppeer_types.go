package v1beta2

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DynamicASN says which AS number a peer may have where none is given.
//
// +kubebuilder:validation:Enum=internal;external
type DynamicASN string

// Values of DynamicASN.
const (
	// DynamicASNInternal: the peer has our own AS number (iBGP).
	DynamicASNInternal DynamicASN = "internal"
	// DynamicASNExternal: the peer has any other AS number (eBGP).
	DynamicASNExternal DynamicASN = "external"
)

// BGPPeerSpec says how the speakers open a BGP session with a router. Addresses, durations and the name of the interface
// have at most 253 characters.
//
// +kubebuilder:validation:XValidation:rule="(has(self.peerASN) && self.peerASN != 0) || has(self.dynamicASN)",fieldPath=".peerASN",message="write the AS number of the peer, or dynamicASN: external (any but ours) or internal (ours)",reason="FieldValueRequired"
// +kubebuilder:validation:XValidation:rule="!has(self.peerASN) || self.peerASN == 0 || !has(self.dynamicASN)",fieldPath=".dynamicASN",message="peerASN says already which AS number the peer has: remove one of the two",reason="FieldValueForbidden"
// +kubebuilder:validation:XValidation:rule="(has(self.peerAddress) && self.peerAddress.size() > 0) || (has(self.interface) && self.interface.size() > 0)",fieldPath=".peerAddress",message="write the address of the peer, or in interface the interface over which it is found",reason="FieldValueRequired"
// +kubebuilder:validation:XValidation:rule="!has(self.peerAddress) || self.peerAddress.size() == 0 || !has(self.interface) || self.interface.size() == 0",fieldPath=".interface",message="peerAddress says already where the peer is: remove one of the two",reason="FieldValueForbidden"
// +kubebuilder:validation:XValidation:rule="!has(self.password) || self.password.size() == 0 || !has(self.passwordSecret) || !has(self.passwordSecret.name) || self.passwordSecret.name.size() == 0",fieldPath=".password",message="passwordSecret names a Secret with the password already: remove one of the two, better this one",reason="FieldValueForbidden"
// +kubebuilder:validation:XValidation:rule="!has(self.ebgpMultiHop) || !self.ebgpMultiHop || !has(self.peerASN) || has(self.localASN) || self.peerASN != self.myASN",fieldPath=".ebgpMultiHop",message="is for eBGP peers, but peerASN is the same as myASN: remove it, an iBGP peer may be any number of hops away"
// +kubebuilder:validation:XValidation:rule="!has(self.ttlSecurityHops) || !has(self.ebgpMultiHop) || !self.ebgpMultiHop",fieldPath=".ttlSecurityHops",message="contradicts ebgpMultiHop, which takes packets from any number of hops away: remove ebgpMultiHop, and write here how many hops the peer is away",reason="FieldValueForbidden"
// +kubebuilder:validation:XValidation:rule=`!has(self.holdTime) || !has(self.keepaliveTime) || !self.holdTime.matches(r'^[+]?(0|([0-9.]+(ns|us|µs|μs|ms|s|m|h))+)$') || !self.keepaliveTime.matches(r'^[+]?(0|([0-9.]+(ns|us|µs|μs|ms|s|m|h))+)$') || duration(self.holdTime) == duration('0s') || duration(self.keepaliveTime) <= duration(self.holdTime)`,fieldPath=".keepaliveTime",message="is longer than holdTime: write at most that, better a third of it, or remove the field"
// +kubebuilder:validation:XValidation:rule="(has(self.enableGracefulRestart) && self.enableGracefulRestart) == (has(oldSelf.enableGracefulRestart) && oldSelf.enableGracefulRestart)",fieldPath=".enableGracefulRestart",message="cannot be changed: delete the BGPPeer and create it anew, which ends its sessions for a moment",reason="FieldValueForbidden"
type BGPPeerSpec struct {
	// MyASN is the AS number of our end of the session.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:XValidation:rule="self != 0",message="must not be 0: write the AS number of the nodes' end of the session, for instance 64512"
	MyASN uint32 `json:"myASN"`

	// LocalASN replaces myASN towards this peer alone.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:validation:Format=int64
	// +optional
	LocalASN uint32 `json:"localASN,omitempty"`

	// ASN of the peer. Write it or dynamicASN.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:validation:Format=int64
	// +optional
	ASN uint32 `json:"peerASN,omitempty"`

	// DynamicASN accepts whatever AS number the peer has: internal, the same as ours; external, any other. Write it or
	// peerASN.
	// +optional
	DynamicASN DynamicASN `json:"dynamicASN,omitempty"`

	// Address of the peer. Write it or interface.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || isIP(self) || self.matches('^[0:]+:[fF]{4}:[0-9a-fA-F.:]+$')`,message="is not an IP address: write one without a length or a port, for instance 192.0.2.1 or 2001:db8::1"
	// +optional
	Address string `json:"peerAddress,omitempty"`

	// Interface of the node over which the peer is found by its IPv6 link-local address ("unnumbered"). Write it or
	// peerAddress.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Interface string `json:"interface,omitempty"`

	// SrcAddress is the address of the node that the session starts from. Unset: the kernel chooses.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || isIP(self) || self.matches('^[0:]+:[fF]{4}:[0-9a-fA-F.:]+$')`,message="is not an IP address: write one without a length or a port, for instance 192.0.2.1 or 2001:db8::1"
	// +optional
	SrcAddress string `json:"sourceAddress,omitempty"`

	// Port of the peer (TCP).
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:default=179
	// +optional
	Port uint16 `json:"peerPort,omitempty"`

	// HoldTime is the time without a message after which the session is over (RFC 4271, section 4.2): 0s for never, or
	// from 3s to 65535s. Unset: 90s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[+]?(0|([0-9.]+(ns|us|µs|μs|ms|s|m|h))+)$') && (duration(self) == duration('0s') || (duration(self) >= duration('3s') && duration(self) <= duration('65535s')))`,message="is no hold time: write one from 3s to 65535s, for instance 90s, or 0s for a session that never times out"
	// +optional
	HoldTime *metav1.Duration `json:"holdTime,omitempty"`

	// KeepaliveTime is the time between keepalive messages. Unset: a third of the hold time.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[+]?(0|([0-9.]+(ns|us|µs|μs|ms|s|m|h))+)$') && (duration(self) >= duration('0s') && duration(self) <= duration('65535s'))`,message="is no keepalive time: write one from 0s to 65535s, for instance 30s, or remove the field for a third of the hold time"
	// +optional
	KeepaliveTime *metav1.Duration `json:"keepaliveTime,omitempty"`

	// ConnectTime is the time between attempts to connect: whole seconds from 1s to 65535s. Unset: as soon as it makes
	// sense.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[+]?(0|([0-9.]+(ns|us|µs|μs|ms|s|m|h))+)$') && (duration(self) >= duration('1s') && duration(self) <= duration('65535s') && duration(self).getMilliseconds() % 1000 == 0)`,message="is no connect time: write whole seconds from 1s to 65535s, for instance 10s"
	// +optional
	ConnectTime *metav1.Duration `json:"connectTime,omitempty"`

	// RouterID that we show to the peer, in the form of an IPv4 address. Unset: an address of the node.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || (isIP(self) && ip(self).family() == 4) || self.matches('^[0:]+:[fF]{4}:[0-9a-fA-F.:]+$')`,message="is not an IPv4 address: a router ID is written as one, for instance 192.0.2.1"
	// +optional
	RouterID string `json:"routerID,omitempty"`

	// NodeSelectors choose the nodes that open the session; one that matches is enough. Empty: all nodes.
	// +optional
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`

	// Password of the session (TCP MD5, RFC 2385). Write it or, better, passwordSecret.
	// +optional
	Password string `json:"password,omitempty"`

	// PasswordSecret names a Secret of type kubernetes.io/basic-auth in the same namespace; its key "password" is the
	// password of the session.
	// +optional
	PasswordSecret corev1.SecretReference `json:"passwordSecret,omitzero"`

	// BFDProfile names the BFDProfile by which the session's path is watched. Unset: no BFD.
	// +optional
	BFDProfile string `json:"bfdProfile,omitempty"`

	// EnableGracefulRestart keeps routes at the peer while a speaker restarts (RFC 4724). It cannot be changed later.
	// +optional
	EnableGracefulRestart bool `json:"enableGracefulRestart,omitempty"`

	// EBGPMultiHop is for an eBGP peer that is more than one hop away.
	// +optional
	EBGPMultiHop bool `json:"ebgpMultiHop,omitempty"`

	// TTLSecurityHops is how many hops the peer is away at most (GTSM, RFC 5082): 1 for one on the same network. Packets to it
	// leave with TTL 255, and packets from it that come from further away, by their TTL, are dropped; the peer must be set up
	// alike. Not with ebgpMultiHop. Unset: TTLs are not looked at.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=254
	// +optional
	TTLSecurityHops uint8 `json:"ttlSecurityHops,omitempty"`

	// PassiveMode leaves it to the peer to open the connection. The speakers must listen then: spec.bgp.listenPort of MetalLB.
	// +optional
	PassiveMode bool `json:"passiveMode,omitempty"`

	// VRFName is the VRF of the node in which the session runs. Unset: the default one.
	// +optional
	VRFName string `json:"vrf,omitempty"`

	// DisableMP has no effect. Accepted for manifests of old.
	// +kubebuilder:default=false
	// +optional
	DisableMP bool `json:"disableMP,omitempty"`

	// DualStackAddressFamily carries IPv4 and IPv6 routes over this one session, whatever the family of its addresses.
	// +kubebuilder:default=false
	// +optional
	DualStackAddressFamily bool `json:"dualStackAddressFamily,omitempty"`
}

// BGPPeerStatus is empty: BGPSessionState tells how each node's session is.
type BGPPeerStatus struct{}

// BGPPeer is a router that the speakers tell by BGP where addresses are.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=bgppeers,scope=Namespaced,singular=bgppeer,shortName=bgpp,categories=metallb-all
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.spec.peerAddress`
// +kubebuilder:printcolumn:name="ASN",type=string,JSONPath=`.spec.peerASN`
// +kubebuilder:printcolumn:name="BFD Profile",type=string,JSONPath=`.spec.bfdProfile`
// +kubebuilder:printcolumn:name="Multi Hops",type=string,JSONPath=`.spec.ebgpMultiHop`
// +kubebuilder:validation:XValidation:rule="has(self.spec)",fieldPath=".spec",message="write myASN, peerASN and peerAddress under spec",reason="FieldValueRequired"
type BGPPeer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec BGPPeerSpec `json:"spec,omitempty"`
	// +optional
	Status BGPPeerStatus `json:"status,omitempty"`
}

// BGPPeerList is a list of BGPPeer.
//
// +kubebuilder:object:root=true
type BGPPeerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BGPPeer `json:"items"`
}
