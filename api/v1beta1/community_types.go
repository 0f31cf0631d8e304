package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CommunityAlias gives a BGP community a name.
//
// +kubebuilder:validation:XValidation:rule="has(self.value)",fieldPath=".value",message="write the community that the alias stands for, for instance 64512:100",reason="FieldValueRequired"
type CommunityAlias struct {
	// Name of the alias, once in all Community resources; at most 128 characters.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	Name string `json:"name,omitempty"`
	// Value of the community: 64512:100 (RFC 1997) or large:64512:1:2 (RFC 8092).
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]{1,18}|large:[0-9]{1,18}:[0-9]{1,18}):[0-9]{1,18}$')`,message="is not a community: write two numbers, as in 64512:100 (RFC 1997), or three after large:, as in large:64512:1:2 (RFC 8092)"
	// +kubebuilder:validation:XValidation:rule=`!self.matches('^[0-9]{1,18}:[0-9]{1,18}$') || (int(self.substring(0, self.indexOf(':'))) <= 65535 && int(self.substring(self.indexOf(':') + 1)) <= 65535)`,message="has a part over 65535: write two numbers from 0 to 65535, or a large community, as in large:64512:1:2"
	// +kubebuilder:validation:XValidation:rule=`!self.matches('^large:[0-9]{1,18}:[0-9]{1,18}:[0-9]{1,18}$') || (int(self.substring(6, self.indexOf(':', 6))) <= 4294967295 && int(self.substring(self.indexOf(':', 6) + 1, self.lastIndexOf(':'))) <= 4294967295 && int(self.substring(self.lastIndexOf(':') + 1)) <= 4294967295)`,message="has a part over 4294967295: write three numbers from 0 to 4294967295 after large:"
	// +optional
	Value string `json:"value,omitempty"`
}

// CommunitySpec is a list of aliases.
type CommunitySpec struct {
	// Communities that BGPAdvertisements may name, at most 1024 in one resource.
	// +kubebuilder:validation:MaxItems=1024
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
