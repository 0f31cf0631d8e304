package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CommunityAlias gives a BGP community a name.
type CommunityAlias struct {
	// Name of the alias, once in all Community resources.
	// +optional
	Name string `json:"name,omitempty"`
	// Value of the community: 64512:100 (RFC 1997) or large:64512:1:2 (RFC 8092).
	// +optional
	Value string `json:"value,omitempty"`
}

// CommunitySpec is a list of aliases.
type CommunitySpec struct {
	// Communities that BGPAdvertisements may name.
	// +optional
	Communities []CommunityAlias `json:"communities,omitempty"`
}

// CommunityStatus is empty so far.
type CommunityStatus struct{}

// Community names BGP communities, so that advertisements need not repeat numbers.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=communities,scope=Namespaced,singular=community,shortName=bgpcom,categories=metallb-all
type Community struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec CommunitySpec `json:"spec,omitempty"`
	// +optional
	Status CommunityStatus `json:"status,omitempty"`
}

// CommunityList is a list of Community.
//
// +kubebuilder:object:root=true
type CommunityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Community `json:"items"`
}
