package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MatchExpression is one requirement on a node's labels.
type MatchExpression struct {
	// Key of the label.
	Key string `json:"key"`
	// Operator is In, NotIn, Exists or DoesNotExist.
	Operator string `json:"operator"`
	// Values for In and NotIn.
	// +optional
	Values []string `json:"values,omitempty"`
}

// NodeSelector chooses nodes by their labels.
type NodeSelector struct {
	// MatchLabels that a node must have, each with this value.
	// +optional
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
	// MatchExpressions that must all hold.
	// +optional
	MatchExpressions []MatchExpression `json:"matchExpressions,omitempty"`
}

// BGPPeerSpec is version v1beta2's, as its first users wrote it. Zero durations mean unset. Where a peer says what only
// v1beta2 has, peerASN may be 0 and peerAddress empty here. Addresses and durations have at most 253 characters.
//
// +kubebuilder:validation:XValidation:rule="!has(self.ebgpMultiHop) || !self.ebgpMultiHop || !has(self.peerASN) || self.peerASN != self.myASN",fieldPath=".ebgpMultiHop",message="is for eBGP peers, but peerASN is the same as myASN: remove it, an iBGP peer may be any number of hops away"
// +kubebuilder:validation:XValidation:rule=`!has(self.holdTime) || !has(self.keepaliveTime) || !self.holdTime.matches(r'^[+]?(0|([0-9.]+(ns|us|µs|μs|ms|s|m|h))+)$') || !self.keepaliveTime.matches(r'^[+]?(0|([0-9.]+(ns|us|µs|μs|ms|s|m|h))+)$') || duration(self.holdTime) == duration('0s') || duration(self.keepaliveTime) <= duration(self.holdTime)`,fieldPath=".keepaliveTime",message="is longer than holdTime: write at most that, better a third of it, or remove the field"
type BGPPeerSpec struct {
	// MyASN is the AS number of our end of the session.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:XValidation:rule="self != 0",message="must not be 0: write the AS number of the nodes' end of the session, for instance 64512"
	MyASN uint32 `json:"myASN"`

	// ASN of the peer.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:validation:Format=int64
	ASN uint32 `json:"peerASN"`

	// Address of the peer.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || isIP(self) || self.matches('^[0:]+:[fF]{4}:[0-9a-fA-F.:]+$')`,message="is not an IP address: write one without a length or a port, for instance 192.0.2.1 or 2001:db8::1"
	Address string `json:"peerAddress"`

	// SrcAddress is the address of the node that the session starts from.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || isIP(self) || self.matches('^[0:]+:[fF]{4}:[0-9a-fA-F.:]+$')`,message="is not an IP address: write one without a length or a port, for instance 192.0.2.1 or 2001:db8::1"
	// +optional
	SrcAddress string `json:"sourceAddress,omitempty"`

	// Port of the peer (TCP); 0 for 179.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port uint16 `json:"peerPort,omitempty"`

	// HoldTime is the time without a message after which the session is over.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[+]?(0|([0-9.]+(ns|us|µs|μs|ms|s|m|h))+)$') && (duration(self) == duration('0s') || (duration(self) >= duration('3s') && duration(self) <= duration('65535s')))`,message="is no hold time: write one from 3s to 65535s, for instance 90s, or remove the field"
	// +optional
	HoldTime metav1.Duration `json:"holdTime,omitzero"`

	// KeepaliveTime is the time between keepalive messages.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[+]?(0|([0-9.]+(ns|us|µs|μs|ms|s|m|h))+)$') && (duration(self) >= duration('0s') && duration(self) <= duration('65535s'))`,message="is no keepalive time: write one from 0s to 65535s, for instance 30s, or remove the field for a third of the hold time"
	// +optional
	KeepaliveTime metav1.Duration `json:"keepaliveTime,omitzero"`

	// RouterID that we show to the peer, in the form of an IPv4 address.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || (isIP(self) && ip(self).family() == 4) || self.matches('^[0:]+:[fF]{4}:[0-9a-fA-F.:]+$')`,message="is not an IPv4 address: a router ID is written as one, for instance 192.0.2.1"
	// +optional
	RouterID string `json:"routerID,omitempty"`

	// NodeSelectors choose the nodes that open the session; one that matches is enough. Empty: all nodes.
	// +optional
	NodeSelectors []NodeSelector `json:"nodeSelectors,omitempty"`

	// Password of the session (TCP MD5, RFC 2385).
	// +optional
	Password string `json:"password,omitempty"`

	// BFDProfile names the BFDProfile by which the session's path is watched.
	// +optional
	BFDProfile string `json:"bfdProfile,omitempty"`

	// EBGPMultiHop is for an eBGP peer that is more than one hop away.
	// +optional
	EBGPMultiHop bool `json:"ebgpMultiHop,omitempty"`
}

// BGPPeerStatus is empty.
type BGPPeerStatus struct{}

// BGPPeer is a router that the speakers tell by BGP where addresses are.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=bgppeers,scope=Namespaced,singular=bgppeer,shortName=bgpp,categories=metallb-all
// +kubebuilder:deprecatedversion:warning="metallb.io/v1beta1 BGPPeer is deprecated: use v1beta2"
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
