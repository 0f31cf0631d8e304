// Package metallb is the operator: it brings the cluster into the state that the one MetalLB resource asks for, keeps it
// there, and reports on it in the resource's status. It gathers a snapshot, lets internal/render and internal/rollout
// decide, and applies the difference. It must not import the controller's or the speaker's packages.
package metallb

// The operator's rights. What it may write in any namespace is named, so that nobody else's objects are within its
// reach; a name that is given up stays here for as long as it is to be pruned after an upgrade. It may bind exactly the
// roles that are installed beside it: four of the workloads, one with which the speaker uses its SecurityContextConstraints on
// OpenShift, and one with which it sees, itself, the pods in the MetalLB resource's namespace. It has no right to any Secret. The Role's namespace is set by kustomize.
//
// +kubebuilder:rbac:groups=metallb.io,resources=metallbs,verbs=get;list;watch
// +kubebuilder:rbac:groups=metallb.io,resources=metallbs/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=serviceaccounts,resourceNames=controller;speaker,verbs=get;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=deployments;daemonsets,verbs=list;watch
// +kubebuilder:rbac:groups=apps,resources=deployments,resourceNames=controller,verbs=get;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=daemonsets,resourceNames=speaker,verbs=get;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,verbs=list;watch
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,resourceNames=metallb-controller;metallb-speaker;metallb-operator-local;metallb-speaker-scc,verbs=get;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterrolebindings,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,resourceNames=metallb-controller;metallb-speaker;metallb-controller-local;metallb-speaker-local;metallb-operator-local;metallb-speaker-scc,verbs=bind
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,resourceNames=metallb-controller;metallb-speaker;metallb-speaker-scc,verbs=get
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=list;watch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,resourceNames=metallb-controller,verbs=get;create;patch;delete
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=list;watch
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,resourceNames=metallb-controller,verbs=get;create;patch;delete
// +kubebuilder:rbac:groups=security.openshift.io,resources=securitycontextconstraints,verbs=list;watch
// +kubebuilder:rbac:groups=security.openshift.io,resources=securitycontextconstraints,resourceNames=metallb-speaker,verbs=get;create;patch;delete
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,resourceNames=kubernetes,verbs=get
//
// Who asks for the operator's metrics is looked up, and whether they may have them.
//
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create
//
// +kubebuilder:rbac:groups="",namespace=metallb-system,resources=pods,verbs=get
// +kubebuilder:rbac:groups="",namespace=metallb-system,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=events.k8s.io,namespace=metallb-system,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=metallb-system,resources=leases,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=metallb-system,resources=leases,resourceNames=metallb-operator,verbs=get;update
