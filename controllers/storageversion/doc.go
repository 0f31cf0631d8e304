// Package storageversion has every object written in the version in which its CRD stores new ones, so that a later version
// of the CRDs can leave the older versions out. It looks at the CRDs that have more than one version, and it knows nothing
// of what is in an object: nothing is read of it but its name, and the write that has the API server encode it anew is
// empty. It must not import the API types.
package storageversion

// It may write an object, but by no verb that replaces one, and it may not change what a CRD says.
//
// +kubebuilder:rbac:groups=metallb.io,resources=addresspools;bgppeers,verbs=list;patch
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,resourceNames=addresspools.metallb.io;bgppeers.metallb.io,verbs=get;list;watch
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions/status,resourceNames=addresspools.metallb.io;bgppeers.metallb.io,verbs=patch
//
// An event about an object is in the object's namespace, and that may be any.
//
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch
