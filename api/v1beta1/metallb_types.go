package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LogLevel is the least severe message that a process writes: "all" writes everything, "none" nothing.
//
// +kubebuilder:validation:Enum=all;debug;info;warn;error;none
type LogLevel string

// Values of LogLevel.
const (
	LogLevelAll   LogLevel = "all"
	LogLevelDebug LogLevel = "debug"
	LogLevelInfo  LogLevel = "info"
	LogLevelWarn  LogLevel = "warn"
	LogLevelError LogLevel = "error"
	LogLevelNone  LogLevel = "none"
)

// BGPBackend names the implementation of BGP that a manifest asks for. All values are served by the one
// implementation that there is, which has the features of each.
//
// +kubebuilder:validation:Enum="";native;frr;frr-k8s;frr-k8s-external
type BGPBackend string

// Values of BGPBackend.
const (
	BGPBackendNative         BGPBackend = "native"
	BGPBackendFRR            BGPBackend = "frr"
	BGPBackendFRRK8s         BGPBackend = "frr-k8s"
	BGPBackendFRRK8sExternal BGPBackend = "frr-k8s-external"
)

// WorkloadConfig shapes the pods of one workload.
type WorkloadConfig struct {
	// PriorityClassName is the pods' priority class.
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// RuntimeClassName is the pods' runtime class.
	// +optional
	RuntimeClassName string `json:"runtimeClassName,omitempty"`

	// Annotations are added to the pods.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// Affinity of the pods.
	// +kubebuilder:validation:XValidation:rule="!has(self.nodeAffinity) || !has(self.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution) || self.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution.all(p, p.weight >= 1 && p.weight <= 100)",fieldPath=".nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution",message="has a weight that is not from 1 to 100: write a number from 1 to 100"
	// +kubebuilder:validation:XValidation:rule="!has(self.podAffinity) || !has(self.podAffinity.preferredDuringSchedulingIgnoredDuringExecution) || self.podAffinity.preferredDuringSchedulingIgnoredDuringExecution.all(p, p.weight >= 1 && p.weight <= 100)",fieldPath=".podAffinity.preferredDuringSchedulingIgnoredDuringExecution",message="has a weight that is not from 1 to 100: write a number from 1 to 100"
	// +kubebuilder:validation:XValidation:rule="!has(self.podAntiAffinity) || !has(self.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution) || self.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution.all(p, p.weight >= 1 && p.weight <= 100)",fieldPath=".podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution",message="has a weight that is not from 1 to 100: write a number from 1 to 100"
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// Resources of the workload's container.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
}

// FRRK8sConfig holds settings of the frr-k8s backend. They are accepted so that existing manifests keep working.
type FRRK8sConfig struct {
	// AlwaysBlock lists prefixes (CIDR) that are never accepted from a router. No route that a router sends is
	// ever accepted here, so the list has no further effect. At most 1024 entries of 128 characters each.
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:XValidation:rule=`isCIDR(self) || self.matches('^[0:]+:[fF]{4}:[0-9a-fA-F.:]+/[0-9]+$')`,message="is not a prefix: write an address, a slash and a length, for instance 192.0.2.0/24 or 2001:db8::/64"
	// +optional
	AlwaysBlock []string `json:"alwaysBlock,omitempty"`

	// Namespace of an external frr-k8s. Not used: BGP runs inside the speaker.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// SecretPassthrough hands passwords to an external frr-k8s. Not used: BGP runs inside the speaker.
	// +optional
	SecretPassthrough bool `json:"secretPassthrough,omitempty"`
}

// MetalLBSpec says how the load balancer is installed.
type MetalLBSpec struct {
	// Image has no effect: the operator deploys the image that it runs itself. Accepted for manifests of old.
	// +optional
	Image string `json:"image,omitempty"`

	// NodeSelector chooses the nodes that run a speaker. Empty: all nodes.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// SpeakerTolerations are tolerated by the speaker's pods, besides the control-plane taints; at most 1024.
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:XValidation:rule="!has(self.tolerationSeconds) || self.tolerationSeconds <= 0 || (has(self.effect) && self.effect == 'NoExecute')",fieldPath=".tolerationSeconds",message="is for the effect NoExecute: set effect to NoExecute, or remove tolerationSeconds"
	// +optional
	SpeakerTolerations []corev1.Toleration `json:"speakerTolerations,omitempty"`

	// ControllerNodeSelector chooses the nodes that may run the controller.
	// +optional
	ControllerNodeSelector map[string]string `json:"controllerNodeSelector,omitempty"`

	// ControllerTolerations are tolerated by the controller's pod; at most 1024.
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:XValidation:rule="!has(self.tolerationSeconds) || self.tolerationSeconds <= 0 || (has(self.effect) && self.effect == 'NoExecute')",fieldPath=".tolerationSeconds",message="is for the effect NoExecute: set effect to NoExecute, or remove tolerationSeconds"
	// +optional
	ControllerTolerations []corev1.Toleration `json:"controllerTolerations,omitempty"`

	// LogLevel of controller and speaker; info where unset.
	// +optional
	LogLevel LogLevel `json:"logLevel,omitempty"`

	// LoadBalancerClass restricts the load balancer to Services of this spec.loadBalancerClass. Unset: Services
	// without a class.
	// +kubebuilder:validation:Pattern=`^([a-z0-9A-Z]([\w.\-]*[a-z0-9A-Z])?/)?[a-z0-9A-Z]([\w.\-]*[a-z0-9A-Z])?$`
	// +optional
	LoadBalancerClass string `json:"loadBalancerClass,omitempty"`

	// BGPBackend is accepted with every value that manifests carry and changes nothing: one implementation serves all.
	// +optional
	BGPBackend BGPBackend `json:"bgpBackend,omitempty"`

	// FRRK8sConfig is accepted for manifests that ask for the frr-k8s backend.
	// +optional
	FRRK8sConfig *FRRK8sConfig `json:"frrk8sConfig,omitempty"`

	// ControllerConfig shapes the controller's pod.
	// +optional
	ControllerConfig *WorkloadConfig `json:"controllerConfig,omitempty"`

	// SpeakerConfig shapes the speaker's pods.
	// +optional
	SpeakerConfig *WorkloadConfig `json:"speakerConfig,omitempty"`
}

// Condition types of a MetalLB resource.
const (
	// ConditionAvailable is True while a controller is ready and every node that should have a ready speaker has one.
	// Reasons: AsExpected, and those of Progressing and Degraded when False.
	ConditionAvailable = "Available"
	// ConditionProgressing is True while workloads are rolled out. Reasons: AsExpected, RollingOut, ApplyFailed.
	ConditionProgressing = "Progressing"
	// ConditionDegraded is True when something needs a person or has failed. Reasons: AsExpected, ApplyFailed,
	// RolloutStuck, NotTheOldest, IncorrectMetalLBResourceName, PodSecurity.
	ConditionDegraded = "Degraded"
)

// MetalLBStatus reports on the installation.
type MetalLBStatus struct {
	// Conditions: Available, Progressing, Degraded.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// MetalLB installs the load balancer in its own namespace. There is one per cluster, named metallb.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=metallbs,scope=Namespaced,singular=metallb,shortName=mlb,categories=metallb-all
// +kubebuilder:printcolumn:name="Available",type=string,JSONPath=`.status.conditions[?(@.type=='Available')].status`
// +kubebuilder:printcolumn:name="Degraded",type=string,JSONPath=`.status.conditions[?(@.type=='Degraded')].status`
// +kubebuilder:printcolumn:name="Progressing",type=string,JSONPath=`.status.conditions[?(@.type=='Progressing')].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type MetalLB struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec MetalLBSpec `json:"spec,omitempty"`
	// +optional
	Status MetalLBStatus `json:"status,omitempty"`
}

// MetalLBList is a list of MetalLB.
//
// +kubebuilder:object:root=true
type MetalLBList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MetalLB `json:"items"`
}
