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

	// NamespaceQuota is how many addresses of each family the Services of one namespace may have of this pool; an address
	// that they share counts once. Unset: any number. Who has more keeps it.
	// +kubebuilder:validation:XValidation:rule="self > 0",message="write a number from 1, or remove the field to have no quota"
	// +optional
	NamespaceQuota *int32 `json:"namespaceQuota,omitempty"`

	// Reservations keep addresses of the pool for some Services, also while those do not exist; at most 512. A Service
	// that has such an address already keeps it.
	// +kubebuilder:validation:MaxItems=512
	// +optional
	Reservations []Reservation `json:"reservations,omitempty"`
}

// Reservation keeps addresses for the Services of one namespace, for one of them, or for those with certain labels. Such a
// Service is given one of the addresses without asking for it, also where autoAssign is false.
//
// +kubebuilder:validation:XValidation:rule="!has(self.serviceName) || !has(self.serviceSelector)",fieldPath=".serviceSelector",message="stands beside serviceName: remove one of the two",reason="FieldValueForbidden"
type Reservation struct {
	// Addresses of the pool, at most 256.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="isIP(self)",message="is not an IP address: write for instance 192.0.2.10 or 2001:db8::10"
	Addresses []string `json:"addresses"`

	// Namespace of the Services.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`

	// ServiceName is the name of the only Service that may have the addresses.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	ServiceName string `json:"serviceName,omitempty"`

	// ServiceSelector chooses the Services that may have the addresses by their labels. With neither this nor serviceName
	// all Services of the namespace may.
	// +optional
	ServiceSelector *metav1.LabelSelector `json:"serviceSelector,omitempty"`

	// ExpiresAt is the time from which the reservation no longer counts. Unset: never.
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`
}

// Conditions of an IPAddressPool.
const (
	// ConditionAdvertised: something announces the pool's addresses. Positive; reasons Advertised, and NotAdvertised: they
	// are given to Services, but nobody answers for them.
	ConditionAdvertised = "Advertised"
	// ConditionNearlyExhausted: more than nine of ten addresses of a family are not free any more. Negative; reasons
	// NearlyExhausted, Exhausted, and AddressesFree.
	ConditionNearlyExhausted = "NearlyExhausted"
)

// IPAddressPoolStatus counts the pool's addresses and says how it is with them. An address that Services share counts once.
type IPAddressPoolStatus struct {
	// AssignedIPv4 is the number of IPv4 addresses that Services have.
	AssignedIPv4 int64 `json:"assignedIPv4"`
	// AssignedIPv6 is the number of IPv6 addresses that Services have.
	AssignedIPv6 int64 `json:"assignedIPv6"`
	// AvailableIPv4 is the number of free IPv4 addresses.
	AvailableIPv4 int64 `json:"availableIPv4"`
	// AvailableIPv6 is the number of free IPv6 addresses; the largest int64 stands for "that many or more".
	AvailableIPv6 int64 `json:"availableIPv6"`
	// ReservedIPv4 is the number of IPv4 addresses that nobody has and that spec.reservations keep for some.
	// +optional
	ReservedIPv4 int64 `json:"reservedIPv4,omitempty"`
	// ReservedIPv6 is the number of such IPv6 addresses.
	// +optional
	ReservedIPv6 int64 `json:"reservedIPv6,omitempty"`
	// Conditions Advertised and NearlyExhausted.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// IPAddressPool is a set of addresses that Services of type LoadBalancer get theirs from.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=ipaddresspools,scope=Namespaced,singular=ipaddresspool,shortName=ipap,categories=metallb-all
// +kubebuilder:printcolumn:name="Auto Assign",type=boolean,JSONPath=`.spec.autoAssign`
// +kubebuilder:printcolumn:name="Avoid Buggy IPs",type=boolean,JSONPath=`.spec.avoidBuggyIPs`
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.spec.addresses`
// +kubebuilder:printcolumn:name="Advertised",type=string,JSONPath=`.status.conditions[?(@.type=="Advertised")].status`
// +kubebuilder:printcolumn:name="Nearly Exhausted",type=string,JSONPath=`.status.conditions[?(@.type=="NearlyExhausted")].status`,priority=1
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
