package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ServiceAllocation says which Services a pool is meant for.
type ServiceAllocation struct {
	// Priority orders the pools that fit a Service: the lowest number first, 0 (unset) last.
	// +optional
	Priority int `json:"priority,omitempty"`

	// Namespaces whose Services may use the pool.
	// +optional
	Namespaces []string `json:"namespaces,omitempty"`

	// NamespaceSelectors choose further namespaces by their labels; one that matches is enough.
	// +optional
	NamespaceSelectors []metav1.LabelSelector `json:"namespaceSelectors,omitempty"`

	// ServiceSelectors choose Services by their labels; one that matches is enough. A Service must pass the
	// namespaces and the selectors, where both are given.
	// +optional
	ServiceSelectors []metav1.LabelSelector `json:"serviceSelectors,omitempty"`
}

// IPAddressPoolSpec is a set of addresses and the Services that may have them.
type IPAddressPoolSpec struct {
	// Addresses of the pool. Each entry is a prefix (192.0.2.0/24) or a range with both ends included
	// (192.0.2.10-192.0.2.20); IPv4 and IPv6 may be mixed between entries, not within one. A pool has at most 4096 entries
	// of 128 characters each.
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

	// AvoidBuggyIPs leaves out IPv4 addresses that end in .0 or .255, which some old equipment refuses.
	// +kubebuilder:default=false
	// +optional
	AvoidBuggyIPs bool `json:"avoidBuggyIPs,omitempty"`

	// ServiceAllocation restricts the pool to some Services.
	// +optional
	ServiceAllocation *ServiceAllocation `json:"serviceAllocation,omitempty"`
}

// IPAddressPoolStatus counts the pool's addresses. An address that Services share counts once.
type IPAddressPoolStatus struct {
	// AssignedIPv4 is the number of IPv4 addresses that Services have.
	AssignedIPv4 int64 `json:"assignedIPv4"`
	// AssignedIPv6 is the number of IPv6 addresses that Services have.
	AssignedIPv6 int64 `json:"assignedIPv6"`
	// AvailableIPv4 is the number of free IPv4 addresses.
	AvailableIPv4 int64 `json:"availableIPv4"`
	// AvailableIPv6 is the number of free IPv6 addresses; the largest int64 stands for "that many or more".
	AvailableIPv6 int64 `json:"availableIPv6"`
}

// IPAddressPool is a set of addresses that Services of type LoadBalancer get theirs from.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=ipaddresspools,scope=Namespaced,singular=ipaddresspool,shortName=ipap,categories=metallb-all
// +kubebuilder:printcolumn:name="Auto Assign",type=boolean,JSONPath=`.spec.autoAssign`
// +kubebuilder:printcolumn:name="Avoid Buggy IPs",type=boolean,JSONPath=`.spec.avoidBuggyIPs`
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.spec.addresses`
type IPAddressPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec IPAddressPoolSpec `json:"spec"`
	// +optional
	Status *IPAddressPoolStatus `json:"status,omitempty"`
}

// IPAddressPoolList is a list of IPAddressPool.
//
// +kubebuilder:object:root=true
type IPAddressPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []IPAddressPool `json:"items"`
}
