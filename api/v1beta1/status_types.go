package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The kinds of this file are written by the load balancer and read by people and tools.

// InterfaceInfo names an interface.
type InterfaceInfo struct {
	// Name of the interface.
	// +optional
	Name string `json:"name,omitempty"`
}

// StatusSpec is empty: the load balancer's reports are not configured.
type StatusSpec struct{}

// ServiceL2StatusStatus says where a Service is announced by ARP and NDP.
type ServiceL2StatusStatus struct {
	// Node that answers.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: the resource is about this node"
	// +optional
	Node string `json:"node,omitempty"`
	// ServiceName is the name of the Service.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: the resource is about this Service"
	// +optional
	ServiceName string `json:"serviceName,omitempty"`
	// ServiceNamespace is the namespace of the Service.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: the resource is about this Service"
	// +optional
	ServiceNamespace string `json:"serviceNamespace,omitempty"`
	// Interfaces that answer. Empty: all.
	// +optional
	Interfaces []InterfaceInfo `json:"interfaces,omitempty"`
	// Addresses of the Service that the node answers for.
	// +optional
	Addresses []string `json:"addresses,omitempty"`
	// Problems of these addresses on the LAN: others that have them too, and answers that do not arrive.
	// +listType=atomic
	// +optional
	Problems []AddressProblem `json:"problems,omitempty"`
}

// AddressProblem is something wrong with an address on the LAN.
type AddressProblem struct {
	// Address that it is about.
	Address string `json:"address"`
	// Interface on which it was noticed, of this node or of the one that looked.
	// +optional
	Interface string `json:"interface,omitempty"`
	// Reason is ForeignHolder (a machine that is no node of the cluster has the address), OtherNodeAnswers (another node answers
	// for it too) or NotAnswered (this node's answers do not arrive).
	Reason string `json:"reason"`
	// Message says it in words, and what to do.
	// +optional
	Message string `json:"message,omitempty"`
	// Since when it has been noticed.
	// +optional
	Since metav1.Time `json:"since,omitempty"`
}

// Labels of a ServiceL2Status: what its status says, for selectors.
const (
	// LabelNode is the node that announces.
	LabelNode = "metallb.io/node"
	// LabelServiceName and LabelServiceNamespace are the Service.
	LabelServiceName      = "metallb.io/service-name"
	LabelServiceNamespace = "metallb.io/service-namespace"
)

// ServiceL2Status tells that a node answers for a Service on the LAN: there is one for each Service and node that does.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=servicel2statuses,scope=Namespaced,singular=servicel2status,shortName=svcl2,categories=metallb-all
// +kubebuilder:printcolumn:name="Allocated Node",type=string,JSONPath=`.status.node`
// +kubebuilder:printcolumn:name="Service Name",type=string,JSONPath=`.status.serviceName`
// +kubebuilder:printcolumn:name="Service Namespace",type=string,JSONPath=`.status.serviceNamespace`
// +kubebuilder:printcolumn:name="Addresses",type=string,priority=1,JSONPath=`.status.addresses`
type ServiceL2Status struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec StatusSpec `json:"spec,omitempty"`
	// +optional
	Status ServiceL2StatusStatus `json:"status,omitempty"`
}

// ServiceL2StatusList is a list of ServiceL2Status.
//
// +kubebuilder:object:root=true
type ServiceL2StatusList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ServiceL2Status `json:"items"`
}

// ServiceBGPStatusStatus says to whom a node announces a Service by BGP.
type ServiceBGPStatusStatus struct {
	// Node that announces.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: the resource is about this node"
	// +optional
	Node string `json:"node,omitempty"`
	// ServiceName is the name of the Service.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: the resource is about this Service"
	// +optional
	ServiceName string `json:"serviceName,omitempty"`
	// ServiceNamespace is the namespace of the Service.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: the resource is about this Service"
	// +optional
	ServiceNamespace string `json:"serviceNamespace,omitempty"`
	// Peers are names of the BGPPeers that are told.
	// +optional
	Peers []string `json:"peers,omitempty"`
	// Routes that they are told, one for each prefix: those in the Adj-RIB-Out of Established sessions (RFC 4271, section 3.2).
	// +listType=atomic
	// +optional
	Routes []BGPRoute `json:"routes,omitempty"`
	// Problems that keep the node from announcing addresses of the Service.
	// +listType=atomic
	// +optional
	Problems []BGPProblem `json:"problems,omitempty"`
}

// BGPRoute is a prefix with those who are told.
type BGPRoute struct {
	// Prefix (CIDR) around one or more addresses of the Service.
	Prefix string `json:"prefix"`
	// Peers are names of the BGPPeers that are told of it.
	// +listType=atomic
	// +optional
	Peers []string `json:"peers,omitempty"`
}

// BGPProblem is something that keeps an address from being announced by BGP.
type BGPProblem struct {
	// Address that it is about.
	Address string `json:"address"`
	// Reason is ConflictingAdvertisements: two BGPAdvertisements contradict one another.
	Reason string `json:"reason"`
	// Message says it in words, and what to do.
	// +optional
	Message string `json:"message,omitempty"`
}

// ServiceBGPStatus tells to which peers a node announces a Service.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=servicebgpstatuses,scope=Namespaced,singular=servicebgpstatus,shortName=svcbgp,categories=metallb-all
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.status.node`
// +kubebuilder:printcolumn:name="Service Name",type=string,JSONPath=`.status.serviceName`
// +kubebuilder:printcolumn:name="Service Namespace",type=string,JSONPath=`.status.serviceNamespace`
type ServiceBGPStatus struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec StatusSpec `json:"spec,omitempty"`
	// +optional
	Status ServiceBGPStatusStatus `json:"status,omitempty"`
}

// ServiceBGPStatusList is a list of ServiceBGPStatus.
//
// +kubebuilder:object:root=true
type ServiceBGPStatusList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ServiceBGPStatus `json:"items"`
}

// BGPSessionStateStatus is the state of one session.
type BGPSessionStateStatus struct {
	// BGPStatus is the state of the session's state machine (RFC 4271, section 8.2.2), for instance Established.
	// +optional
	BGPStatus string `json:"bgpStatus,omitempty"`
	// BFDStatus is the state of the BFD session that watches the path, or N/A without one.
	// +optional
	BFDStatus string `json:"bfdStatus,omitempty"`
	// Node of our end.
	// +optional
	Node string `json:"node,omitempty"`
	// Peer is the address or the interface of the other end.
	// +optional
	Peer string `json:"peer,omitempty"`
	// BGPPeer is the name of the resource that the session is made from.
	// +optional
	BGPPeer string `json:"bgpPeer,omitempty"`
	// VRF in which the session runs; empty for the default one.
	// +optional
	VRF string `json:"vrf,omitempty"`
	// Since is when the session came into this state.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// LastError says in words why the session ended last or cannot begin; empty: it never did.
	// +optional
	LastError string `json:"lastError,omitempty"`
}

// BGPSessionState tells how one node's session with one peer is.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=bgpsessionstates,scope=Namespaced,singular=bgpsessionstate,shortName=bgpsess,categories=metallb-all
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.status.node`
// +kubebuilder:printcolumn:name="Peer",type=string,JSONPath=`.status.peer`
// +kubebuilder:printcolumn:name="VRF",type=string,JSONPath=`.status.vrf`
// +kubebuilder:printcolumn:name="BGP",type=string,JSONPath=`.status.bgpStatus`
// +kubebuilder:printcolumn:name="BFD",type=string,JSONPath=`.status.bfdStatus`
// +kubebuilder:printcolumn:name="Since",type=date,JSONPath=`.status.since`
// +kubebuilder:printcolumn:name="BGPPeer",type=string,priority=1,JSONPath=`.status.bgpPeer`
// +kubebuilder:printcolumn:name="Last Error",type=string,priority=1,JSONPath=`.status.lastError`
type BGPSessionState struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec StatusSpec `json:"spec,omitempty"`
	// +optional
	Status BGPSessionStateStatus `json:"status,omitempty"`
}

// BGPSessionStateList is a list of BGPSessionState.
//
// +kubebuilder:object:root=true
type BGPSessionStateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BGPSessionState `json:"items"`
}

// ConfigurationResult sums up a ConfigurationState.
//
// +kubebuilder:validation:Enum=Valid;Invalid;Unknown
type ConfigurationResult string

// Values of ConfigurationResult.
const (
	// ConfigurationValid: all configuration is in use. There may be warnings.
	ConfigurationValid ConfigurationResult = "Valid"
	// ConfigurationInvalid: something is wrong and not used; the rest is.
	ConfigurationInvalid ConfigurationResult = "Invalid"
	// ConfigurationUnknown: the configuration has not been read yet.
	ConfigurationUnknown ConfigurationResult = "Unknown"
)

// ConfigurationState condition types. Each is True while what its name says holds good; reasons at each.
const (
	// ConditionConfigurationValid is about the resources of the configuration, as the process that reports reads them.
	// Reasons: Reconciled, ConfigurationError.
	ConditionConfigurationValid = "configReconcilerValid"
	// ConditionPoolsValid is the controller's, about the pools alone. Reasons: Reconciled, ConfigurationError.
	ConditionPoolsValid = "poolReconcilerValid"
	// ConditionLegacyConfigMapValid is the controller's, about the ConfigMap of old, where there is one.
	// Reasons: Reconciled, ConfigurationError.
	ConditionLegacyConfigMapValid = "legacyConfigMapValid"
)

// Labels of a ConfigurationState.
const (
	// LabelComponentType is controller or speaker.
	LabelComponentType = "metallb.io/component-type"
	// LabelNodeName is the speaker's node.
	LabelNodeName = "metallb.io/node-name"
)

// ConfigurationStateStatus says what became of the configuration in one process.
type ConfigurationStateStatus struct {
	// Result is Invalid if something is wrong.
	// +optional
	Result ConfigurationResult `json:"result,omitempty"`
	// ErrorSummary holds all that is wrong, a line each.
	// +optional
	ErrorSummary string `json:"errorSummary,omitempty"`
	// Warnings hold what is used but probably does not do what was meant.
	// +optional
	Warnings []string `json:"warnings,omitempty"`
	// Subnets (CIDR) of the node's interfaces that a speaker announces on.
	// +optional
	Subnets []string `json:"subnets,omitempty"`
	// Gateways are the addresses of the node's default routers.
	// +optional
	Gateways []string `json:"gateways,omitempty"`
	// Conditions: configReconcilerValid; of the controller also poolReconcilerValid and legacyConfigMapValid.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ConfigurationState tells whether the controller, or the speaker of one node, could use all of the configuration.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=configurationstates,scope=Namespaced,singular=configurationstate,shortName=configstate,categories=metallb-all
// +kubebuilder:printcolumn:name="Result",type=string,JSONPath=`.status.result`
// +kubebuilder:printcolumn:name="ErrorSummary",type=string,JSONPath=`.status.errorSummary`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ConfigurationState struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Status ConfigurationStateStatus `json:"status,omitempty"`
}

// ConfigurationStateList is a list of ConfigurationState.
//
// +kubebuilder:object:root=true
type ConfigurationStateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ConfigurationState `json:"items"`
}
