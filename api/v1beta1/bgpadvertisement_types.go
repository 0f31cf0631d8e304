package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BGPAdvertisementSpec says which pools' addresses are told to routers, how, by which nodes and for which Services.
//
// +kubebuilder:validation:XValidation:rule="!has(self.serviceSelectors) || self.serviceSelectors.size() == 0 || !has(self.aggregationLength) || self.aggregationLength == 32",fieldPath=".aggregationLength",message="must be 32 beside serviceSelectors, which choose single addresses: remove it, or remove serviceSelectors"
// +kubebuilder:validation:XValidation:rule="!has(self.serviceSelectors) || self.serviceSelectors.size() == 0 || !has(self.aggregationLengthV6) || self.aggregationLengthV6 == 128",fieldPath=".aggregationLengthV6",message="must be 128 beside serviceSelectors, which choose single addresses: remove it, or remove serviceSelectors"
type BGPAdvertisementSpec struct {
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

	// LocalPref is the LOCAL_PREF attribute, sent to iBGP peers (RFC 4271, section 5.1.5). 0: the peer's default.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:validation:Format=int64
	// +optional
	LocalPref uint32 `json:"localPref,omitempty"`

	// MED is the MULTI_EXIT_DISC attribute (RFC 4271, section 5.1.4): of the nodes' routes, routers that compare it prefer the one
	// with the least. Unset: none is sent, which most routers take for 0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:validation:Format=int64
	// +optional
	MED *uint32 `json:"med,omitempty"`

	// ASPathPrepend is how many more times than once the nodes' AS number is in the path that eBGP peers get, so that they prefer
	// shorter ones.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	// +optional
	ASPathPrepend int32 `json:"asPathPrepend,omitempty"`

	// Communities are aliases from Community resources, or literals: 64512:100 (RFC 1997) or large:64512:1:2 (RFC 8092).
	// +optional
	Communities []string `json:"communities,omitempty"`

	// IPAddressPools names pools. With no name and no selector the advertisement is for all pools.
	// +optional
	IPAddressPools []string `json:"ipAddressPools,omitempty"`

	// IPAddressPoolSelectors choose further pools by their labels.
	// +optional
	IPAddressPoolSelectors []metav1.LabelSelector `json:"ipAddressPoolSelectors,omitempty"`

	// NodeSelectors choose the nodes that announce; one that matches is enough. Empty: all nodes.
	// +optional
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`

	// Peers names the BGPPeers that are told. Empty: all.
	// +optional
	Peers []string `json:"peers,omitempty"`

	// ServiceSelectors choose the Services that are announced; one that matches is enough. Empty: all Services. Only with
	// the aggregation lengths 32 and 128.
	// +optional
	ServiceSelectors []metav1.LabelSelector `json:"serviceSelectors,omitempty"`
}

// BGPAdvertisementStatus is empty so far.
type BGPAdvertisementStatus struct{}

// BGPAdvertisement announces the addresses of pools to routers.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=bgpadvertisements,scope=Namespaced,singular=bgpadvertisement,shortName=bgpadv,categories=metallb-all
// +kubebuilder:printcolumn:name="IPAddressPools",type=string,JSONPath=`.spec.ipAddressPools`
// +kubebuilder:printcolumn:name="IPAddressPool Selectors",type=string,JSONPath=`.spec.ipAddressPoolSelectors`
// +kubebuilder:printcolumn:name="Peers",type=string,JSONPath=`.spec.peers`
// +kubebuilder:printcolumn:name="Node Selectors",type=string,JSONPath=`.spec.nodeSelectors`,priority=10
type BGPAdvertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec BGPAdvertisementSpec `json:"spec,omitempty"`
	// +optional
	Status BGPAdvertisementStatus `json:"status,omitempty"`
}

// BGPAdvertisementList is a list of BGPAdvertisement.
//
// +kubebuilder:object:root=true
type BGPAdvertisementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BGPAdvertisement `json:"items"`
}
