package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/api/v1beta1"
)

// AddressPool is a set of addresses with its advertisement included.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=addresspools,scope=Namespaced,singular=addresspool,shortName=apool,categories=metallb-all
// +kubebuilder:deprecatedversion:warning="metallb.io/v1alpha1 AddressPool is deprecated: use IPAddressPool with L2Advertisement or BGPAdvertisement"
type AddressPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec v1beta1.AddressPoolSpec `json:"spec"`
	// +optional
	Status v1beta1.AddressPoolStatus `json:"status,omitempty"`
}

// AddressPoolList is a list of AddressPool.
//
// +kubebuilder:object:root=true
type AddressPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AddressPool `json:"items"`
}
