// Package metallb is the operator: it brings the cluster into the state that the one MetalLB resource asks for, keeps it
// there, and reports on it in the resource's status. It gathers a snapshot, lets internal/render and internal/rollout
// decide, and applies the difference. It must not import the controller's or the speaker's packages.
package metallb

// The operator's rights. What it may write in any namespace is named, so that nobody else's objects are within its
// reach; a name that is given up stays here for as long as it is to be pruned after an upgrade. It may bind exactly the
// four roles of the workloads, and has no right to any Secret. The Role's namespace is set by kustomize.
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
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,resourceNames=metallb-controller;metallb-speaker,verbs=get;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterrolebindings,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,resourceNames=metallb-controller;metallb-speaker;metallb-controller-local;metallb-speaker-local,verbs=bind
//
// +kubebuilder:rbac:groups="",namespace=metallb-system,resources=pods,verbs=get
// +kubebuilder:rbac:groups="",namespace=metallb-system,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=events.k8s.io,namespace=metallb-system,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=metallb-system,resources=leases,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=metallb-system,resources=leases,resourceNames=metallb-operator,verbs=get;update
