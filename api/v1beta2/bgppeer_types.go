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

// BGPPeerSpec says how the speakers open a BGP session with a router.
type BGPPeerSpec struct {
	// MyASN is the AS number of our end of the session.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:validation:Format=int64
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
	// +optional
	Address string `json:"peerAddress,omitempty"`

	// Interface of the node over which the peer is found by its IPv6 link-local address ("unnumbered"). Write it or
	// peerAddress.
	// +optional
	Interface string `json:"interface,omitempty"`

	// SrcAddress is the address of the node that the session starts from. Unset: the kernel chooses.
	// +optional
	SrcAddress string `json:"sourceAddress,omitempty"`

	// Port of the peer (TCP).
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:default=179
	// +optional
	Port uint16 `json:"peerPort,omitempty"`

	// HoldTime is the time without a message after which the session is over (RFC 4271, section 4.2): 0 for never, or at
	// least 3s. Unset: 90s.
	// +optional
	HoldTime *metav1.Duration `json:"holdTime,omitempty"`

	// KeepaliveTime is the time between keepalive messages. Unset: a third of the hold time.
	// +optional
	KeepaliveTime *metav1.Duration `json:"keepaliveTime,omitempty"`

	// ConnectTime is the time between attempts to connect: whole seconds from 1s to 65535s. Unset: as soon as it makes
	// sense.
	// +optional
	ConnectTime *metav1.Duration `json:"connectTime,omitempty"`

	// RouterID that we show to the peer, in the form of an IPv4 address. Unset: an address of the node.
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

// Hub marks v1beta2 as the version that others convert from and to.
func (*BGPPeer) Hub() {}
