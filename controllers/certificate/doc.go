// Package certificate makes the certificates with which the operator serves admission and conversion, and tells API servers
// which authority to trust: in the webhook configuration and in the CRD of BGPPeer. Both are renewed long before they
// expire, without a restart and without a request that fails. It knows nothing of what is served.
//
// Every replica of the operator does this for itself, leader or not. They meet in one Secret: whoever notices first writes,
// and who comes second reads again.
package certificate

// The Secret is the only one that the operator may read, and the only one that it may change. The Role's namespace is set
// by kustomize. Listing and watching by name is listing and watching with a field selector on metadata.name.
//
// +kubebuilder:rbac:groups="",namespace=metallb-system,resources=secrets,resourceNames=metallb-webhook-cert,verbs=get;list;watch;update
// +kubebuilder:rbac:groups="",namespace=metallb-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingwebhookconfigurations,resourceNames=metallb-webhook-configuration,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,resourceNames=bgppeers.metallb.io,verbs=get;list;watch;patch
