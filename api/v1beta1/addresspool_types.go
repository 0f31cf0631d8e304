package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AddressPoolProtocol says how an AddressPool is announced.
//
// +kubebuilder:validation:Enum=layer2;bgp
type AddressPoolProtocol string

// Values of AddressPoolProtocol.
const (
	ProtocolLayer2 AddressPoolProtocol = "layer2"
	ProtocolBGP    AddressPoolProtocol = "bgp"
)

// LegacyBGPAdvertisement is one way in which the addresses of an AddressPool are announced to all peers.
type LegacyBGPAdvertisement struct {
	// AggregationLength is the length of the prefix announced for an IPv4 address.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=32
	// +kubebuilder:default=32
	// +optional
	AggregationLength *int32 `json:"aggregationLength,omitempty"`

	// AggregationLengthV6 is the length of the prefix announced for an IPv6 address.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=128
	// +kubebuilder:default=128
	// +optional
	AggregationLengthV6 *int32 `json:"aggregationLengthV6,omitempty"`

	// LocalPref is the LOCAL_PREF attribute, sent to iBGP peers (RFC 4271, section 5.1.5).
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:validation:Format=int64
	// +optional
	LocalPref uint32 `json:"localPref,omitempty"`

	// Communities are names of Community resources' entries, or literals (64512:100).
	// +optional
	Communities []string `json:"communities,omitempty"`
}

// AddressPoolSpec is a set of addresses and the way in which they are announced.
//
// +kubebuilder:validation:XValidation:rule="self.protocol != 'layer2' || !has(self.bgpAdvertisements) || self.bgpAdvertisements.size() == 0",fieldPath=".bgpAdvertisements",message="belong to protocol bgp: remove them, or set protocol to bgp",reason="FieldValueForbidden"
type AddressPoolSpec struct {
	// Name by which Services find the pool. The first users of AddressPool had to set it; where it is empty the
	// resource's own name is the pool's.
	// +optional
	Name string `json:"name,omitempty"`

	// Protocol by which the addresses are announced, on all nodes.
	Protocol AddressPoolProtocol `json:"protocol"`

	// Addresses of the pool, written as in an IPAddressPool, with the same bounds.
	// +kubebuilder:validation:MaxItems=4096
	// +kubebuilder:validation:XValidation:rule="self.size() > 0",message="write at least one entry, for instance 192.0.2.0/24 or 192.0.2.10-192.0.2.20",reason="FieldValueRequired"
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:XValidation:rule=`!isIP(self.trim())`,message="is a single address: add /32 (IPv4) or /128 (IPv6)",messageExpression=`'is a single address: write ' + self.trim() + (self.contains(':') ? '/128' : '/32')`
	// +kubebuilder:validation:items:XValidation:rule=`self.contains('/') || self.contains('-') || isIP(self.trim())`,message="is neither a prefix nor a range: write for instance 192.0.2.0/24 or 192.0.2.10-192.0.2.20"
	// +kubebuilder:validation:items:XValidation:rule=`!self.contains('/') || isCIDR(self.trim()) || self.matches(r'^\s*[0:]+:[fF]{4}:[0-9a-fA-F.:]+/[0-9]+\s*$')`,message="is not a prefix: write an address, a slash and a length, for instance 192.0.2.0/24 or 2001:db8::/64"
	// +kubebuilder:validation:items:XValidation:rule=`self.contains('/') || !self.contains('-') || (self.matches('^[0-9a-fA-F.: ]+-[0-9a-fA-F.: ]+$') && (self.contains(':') || (isIP(self.substring(0, self.indexOf('-')).trim()) && isIP(self.substring(self.indexOf('-') + 1).trim()))))`,message="is not a range: write two addresses with a dash between them, for instance 192.0.2.10-192.0.2.20"
	Addresses []string `json:"addresses"`

	// AutoAssign false keeps the pool for Services that ask for it or for one of its addresses.
	// +kubebuilder:default=true
	// +optional
	AutoAssign *bool `json:"autoAssign,omitempty"`

	// AutoAssignLegacy is autoAssign in an older spelling. False in either keeps the pool from automatic use.
	// +optional
	AutoAssignLegacy *bool `json:"auto-assign,omitempty"`

	// BGPAdvertisements of a pool of protocol bgp. None: one with all defaults.
	// +optional
	BGPAdvertisements []LegacyBGPAdvertisement `json:"bgpAdvertisements,omitempty"`
}

// AddressPoolStatus is empty.
type AddressPoolStatus struct{}

// AddressPool is the older form of IPAddressPool, with its advertisement included.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=addresspools,scope=Namespaced,singular=addresspool,shortName=apool,categories=metallb-all
// +kubebuilder:deprecatedversion:warning="metallb.io/v1beta1 AddressPool is deprecated: use IPAddressPool with L2Advertisement or BGPAdvertisement"
type AddressPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec AddressPoolSpec `json:"spec"`
	// +optional
	Status AddressPoolStatus `json:"status,omitempty"`
}

// AddressPoolList is a list of AddressPool.
//
// +kubebuilder:object:root=true
type AddressPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AddressPool `json:"items"`
}
