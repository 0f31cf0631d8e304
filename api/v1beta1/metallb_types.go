package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
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

// ControllerConfig shapes the controller's pods.
type ControllerConfig struct {
	WorkloadConfig `json:",inline"`

	// Replicas of the controller, from 1 to 5. One works, the others wait to take over, on other nodes where there are
	// any. Unset: 1.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=5
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`
}

// SpeakerConfig shapes the speaker's pods.
type SpeakerConfig struct {
	WorkloadConfig `json:",inline"`

	// UpdateStrategy says how pods of an older specification are replaced. Unset: one node after the other, the new pod
	// beside the old one, so that no node is without a speaker.
	// +optional
	UpdateStrategy *SpeakerUpdateStrategy `json:"updateStrategy,omitempty"`
}

// UpdateStrategyType names a way to replace pods of an older specification.
//
// +kubebuilder:validation:Enum=RollingUpdate;OnDelete
type UpdateStrategyType string

// Values of UpdateStrategyType.
const (
	RollingUpdate UpdateStrategyType = "RollingUpdate"
	OnDelete      UpdateStrategyType = "OnDelete"
)

// SpeakerUpdateStrategy says how the speaker's pods are replaced.
//
// +kubebuilder:validation:XValidation:rule="!has(self.rollingUpdate) || !has(self.type) || self.type == 'RollingUpdate'",fieldPath=".rollingUpdate",message="is for the type RollingUpdate: remove rollingUpdate, or write type: RollingUpdate"
type SpeakerUpdateStrategy struct {
	// Type is RollingUpdate, or OnDelete: a pod is replaced only once somebody has deleted it. Unset: RollingUpdate.
	// +optional
	Type UpdateStrategyType `json:"type,omitempty"`

	// RollingUpdate bounds how many nodes are updated at a time.
	// +optional
	RollingUpdate *SpeakerRollingUpdate `json:"rollingUpdate,omitempty"`
}

// SpeakerRollingUpdate bounds how many nodes are updated at a time: by maxSurge, where new pods start beside the old
// ones, or by maxUnavailable, where the old ones go first. One of the two is more than 0.
//
// +kubebuilder:validation:XValidation:rule="!has(self.maxSurge) || !has(self.maxUnavailable) || (self.maxSurge == 0 || self.maxSurge == '0%') != (self.maxUnavailable == 0 || self.maxUnavailable == '0%')",fieldPath=".maxUnavailable",message="contradicts maxSurge: exactly one of the two must be more than 0, so remove one"
// +kubebuilder:validation:XValidation:rule="has(self.maxUnavailable) || !has(self.maxSurge) || !(self.maxSurge == 0 || self.maxSurge == '0%')",fieldPath=".maxSurge",message="is 0 and maxUnavailable is not given: write a maxUnavailable of 1 or more, or remove maxSurge"
type SpeakerRollingUpdate struct {
	// MaxUnavailable is how many nodes may be without a ready speaker because of the update: a number or a share of the
	// nodes, such as 10%. Their addresses move meanwhile. Unset: 0.
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 : self.matches('^(100|[1-9]?[0-9])%$')",message="is neither a number nor a share: write 1 or more, or for instance 10%"
	// +optional
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// MaxSurge is how many nodes may have a new speaker beside the old one: a number or a share of the nodes, such as
	// 10%. Unset: 1, or 0 where maxUnavailable is more than 0.
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 : self.matches('^(100|[1-9]?[0-9])%$')",message="is neither a number nor a share: write 1 or more, or for instance 10%"
	// +optional
	MaxSurge *intstr.IntOrString `json:"maxSurge,omitempty"`
}

// MemberlistConfig tunes how speakers find out that one of them is gone. Shorter times move addresses sooner off a node
// that failed, and take more often a slow node for one.
//
// +kubebuilder:validation:XValidation:rule="!has(self.probeTimeout) || !has(self.probeInterval) || duration(self.probeTimeout) < duration(self.probeInterval)",fieldPath=".probeTimeout",message="is not less than probeInterval: write less, or remove it for half of probeInterval"
// +kubebuilder:validation:XValidation:rule="!has(self.probeTimeout) || has(self.probeInterval) || duration(self.probeTimeout) < duration('300ms')",fieldPath=".probeTimeout",message="is not less than probeInterval, which is 300ms where it is not given: write less, or a longer probeInterval"
type MemberlistConfig struct {
	// HeartbeatInterval is the time between two heartbeats (BFD, UDP port 3784) of a speaker to each of its four neighbours,
	// from 50ms to 10s, or 0s for none. Who is missed twice by most neighbours, and whose node's kernel does not answer
	// either, counts as gone at once. Unset: 150ms.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s))+$') && (duration(self) == duration('0s') || duration(self) >= duration('50ms') && duration(self) <= duration('10s'))",message="is no heartbeat interval: write a time from 50ms to 10s, for instance 150ms, or 0s for none"
	// +optional
	HeartbeatInterval *metav1.Duration `json:"heartbeatInterval,omitempty"`

	// ProbeInterval is the time between two looks at another speaker, from 100ms to 10s. Unset: 300ms, with which a node
	// that is switched off is noticed within 2s; in general it takes up to 4 intervals and twice the suspicion.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s))+$') && duration(self) >= duration('100ms') && duration(self) <= duration('10s')",message="is no probe interval: write a time from 100ms to 10s, for instance 300ms"
	// +optional
	ProbeInterval *metav1.Duration `json:"probeInterval,omitempty"`

	// ProbeTimeout is how long the answer may take before it is asked for by other ways, from 20ms and less than
	// probeInterval. Unset: half of probeInterval.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s))+$') && duration(self) >= duration('20ms') && duration(self) <= duration('10s')",message="is no probe timeout: write a time from 20ms that is less than probeInterval, for instance 150ms"
	// +optional
	ProbeTimeout *metav1.Duration `json:"probeTimeout,omitempty"`

	// SuspicionMultiplier is for how many probe intervals a speaker that does not answer can speak up before it counts
	// as gone, from 2 to 20; twice as many where no other speaker confirms the suspicion. Unset: 3.
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=20
	// +optional
	SuspicionMultiplier *int32 `json:"suspicionMultiplier,omitempty"`
}

// KubeProxyHealth says what follows from kube-proxy's health endpoint.
//
// +kubebuilder:validation:Enum=Automatic;Required;Ignored
type KubeProxyHealth string

// Values of KubeProxyHealth.
const (
	KubeProxyHealthAutomatic KubeProxyHealth = "Automatic"
	KubeProxyHealthRequired  KubeProxyHealth = "Required"
	KubeProxyHealthIgnored   KubeProxyHealth = "Ignored"
)

// KubeProxyConfig says how speakers find out that a node does not deliver what arrives there. Such a node announces only
// what no other node can.
type KubeProxyConfig struct {
	// Health is Automatic: once kube-proxy has been healthy, a node where it has not answered for 10 seconds, or has said for 3
	// that it is not healthy, does not deliver; clusters without kube-proxy are not concerned. Required: nor does a node where
	// it has not been healthy yet. Ignored: it is not asked. Unset: Automatic.
	// +optional
	Health KubeProxyHealth `json:"health,omitempty"`

	// HealthURL is where kube-proxy answers on each node. Unset: http://127.0.0.1:10256/healthz.
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^http://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}(/[A-Za-z0-9._/-]*)?$')`,message="is no address of an HTTP health endpoint: write for instance http://127.0.0.1:10256/healthz"
	// +optional
	HealthURL string `json:"healthURL,omitempty"`
}

// BGPConfig says how speakers take part in BGP.
type BGPConfig struct {
	// ListenPort is the TCP port of the nodes where BGPPeers can open connections, usually 179. Others are refused. A port below
	// 1024 needs the capability NET_BIND_SERVICE, which the speaker's pods then get. Unset: speakers open all connections
	// themselves, and do not listen.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	ListenPort int32 `json:"listenPort,omitempty"`
}

// TLSVersion is a version of TLS, as Kubernetes names it.
//
// +kubebuilder:validation:Enum=VersionTLS12;VersionTLS13
type TLSVersion string

// Values of TLSVersion.
const (
	VersionTLS12 TLSVersion = "VersionTLS12"
	VersionTLS13 TLSVersion = "VersionTLS13"
)

// TLSCipherSuite is a cipher suite of TLS 1.2 that is secure. Those of TLS 1.3 are not a matter of choice.
//
// +kubebuilder:validation:Enum=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384;TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
type TLSCipherSuite string

// MetricsConfig says how controller and speakers serve their metrics: over TLS, to who may get the path /metrics.
//
// +kubebuilder:validation:XValidation:rule="!has(self.tlsCipherSuites) || size(self.tlsCipherSuites) == 0 || (has(self.tlsMinVersion) && self.tlsMinVersion == 'VersionTLS12')",fieldPath=".tlsCipherSuites",message="cannot be chosen for TLS 1.3: write tlsMinVersion: VersionTLS12, or remove tlsCipherSuites"
// +kubebuilder:validation:XValidation:rule="!has(self.port) || !(self.port in [7946, 17472])",fieldPath=".port",message="is taken by the speaker itself (7946: gossip, 17472: probes): write another port"
type MetricsConfig struct {
	// Port of controller and speakers; speakers have it on all addresses of their nodes. 0: no metrics. Unset: 9120.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port *int32 `json:"port,omitempty"`

	// TLSMinVersion is the oldest version of TLS that is spoken. Unset: VersionTLS13.
	// +optional
	TLSMinVersion TLSVersion `json:"tlsMinVersion,omitempty"`

	// TLSCipherSuites are those used with TLS 1.2. Unset: Go's choice.
	// +kubebuilder:validation:MaxItems=6
	// +listType=set
	// +optional
	TLSCipherSuites []TLSCipherSuite `json:"tlsCipherSuites,omitempty"`
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

	// LoadBalancerClassIsDefault serves Services without a class too, besides those of loadBalancerClass.
	// +optional
	LoadBalancerClassIsDefault bool `json:"loadBalancerClassIsDefault,omitempty"`

	// BGPBackend is accepted with every value that manifests carry and changes nothing: one implementation serves all.
	// +optional
	BGPBackend BGPBackend `json:"bgpBackend,omitempty"`

	// BGP says how speakers take part in BGP. Unset: they open connections to the BGPPeers, and accept none.
	// +optional
	BGP *BGPConfig `json:"bgp,omitempty"`

	// FRRK8sConfig is accepted for manifests that ask for the frr-k8s backend.
	// +optional
	FRRK8sConfig *FRRK8sConfig `json:"frrk8sConfig,omitempty"`

	// ControllerConfig shapes the controller's pods.
	// +optional
	ControllerConfig *ControllerConfig `json:"controllerConfig,omitempty"`

	// SpeakerConfig shapes the speaker's pods.
	// +optional
	SpeakerConfig *SpeakerConfig `json:"speakerConfig,omitempty"`

	// ExcludeInterfaces are network interfaces on which nothing is announced, besides those that lead to containers and
	// virtual machines, which are always left out: names such as eth1, or patterns that begin with ^ such as
	// ^wg.* or ^eth[34]$ (a regular expression without groups); at most 64.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule=`self.matches(r'^([A-Za-z0-9_.:@-]{1,15}|\^(([A-Za-z0-9_:@.-]|\\[.]|\[([A-Za-z0-9_.]|0-9|a-z|A-Z)+\])[*+?]?)+[$]?)$')`,message="is neither the name of an interface nor a pattern: write a name such as eth1, or a pattern that begins with ^, such as ^eth[34]$ or ^wg.*"
	// +kubebuilder:validation:items:XValidation:rule=`!self.matches(r'^\^[.*+?$]+$')`,message="would exclude every interface: name those to exclude, or announce nothing by having no L2Advertisement"
	// +listType=set
	// +optional
	ExcludeInterfaces []string `json:"excludeInterfaces,omitempty"`

	// Memberlist tunes how speakers find out that one of them is gone. Unset: within 2 seconds.
	// +optional
	Memberlist *MemberlistConfig `json:"memberlist,omitempty"`

	// KubeProxy says how speakers find out that a node does not deliver what arrives there. Unset: by kube-proxy's health
	// endpoint, where kube-proxy is.
	// +optional
	KubeProxy *KubeProxyConfig `json:"kubeProxy,omitempty"`

	// Metrics says how controller and speakers serve their metrics.
	// +optional
	Metrics *MetricsConfig `json:"metrics,omitempty"`
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

// ControllerStatus counts the controller's replicas.
type ControllerStatus struct {
	// Replicas that are wanted.
	Replicas int32 `json:"replicas"`
	// Ready ones among them: one works, the others can take over.
	Ready int32 `json:"ready"`
	// Updated ones among them have the present specification.
	Updated int32 `json:"updated"`
}

// SpeakerStatus counts the nodes by whether they have a speaker.
type SpeakerStatus struct {
	// Nodes that should have a speaker.
	Nodes int32 `json:"nodes"`
	// Ready: nodes with a ready speaker.
	Ready int32 `json:"ready"`
	// Updated: nodes with a speaker of the present specification.
	Updated int32 `json:"updated"`
	// WithoutReady are nodes that should have a ready speaker and have none, in order of name, with the reason in short;
	// at most 10 of them.
	// +listType=map
	// +listMapKey=name
	// +optional
	WithoutReady []NodeWithoutSpeaker `json:"withoutReady,omitempty"`
}

// NodeWithoutSpeaker is a node whose speaker is not ready.
type NodeWithoutSpeaker struct {
	// Name of the node.
	Name string `json:"name"`
	// Reason in short, as Kubernetes gives it: for instance ImagePullBackOff, CrashLoopBackOff, Unschedulable, NotReady.
	Reason string `json:"reason"`
}

// MetalLBStatus reports on the installation.
type MetalLBStatus struct {
	// ObservedVersion is the version of the operator that wrote the status.
	// +optional
	ObservedVersion string `json:"observedVersion,omitempty"`

	// Controller counts the controller's replicas.
	// +optional
	Controller *ControllerStatus `json:"controller,omitempty"`

	// Speaker counts the nodes by whether they have a speaker.
	// +optional
	Speaker *SpeakerStatus `json:"speaker,omitempty"`

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
// +kubebuilder:printcolumn:name="Nodes",type=integer,JSONPath=`.status.speaker.nodes`,description="Nodes that should have a speaker"
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.speaker.ready`,description="Nodes with a ready speaker"
// +kubebuilder:printcolumn:name="Controllers",type=integer,JSONPath=`.status.controller.ready`,priority=1,description="Ready replicas of the controller"
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.observedVersion`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=='Available')].message`,priority=1
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
