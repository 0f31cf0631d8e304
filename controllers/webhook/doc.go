// Package webhook answers the API server's questions: whether a MetalLB resource or one of the configuration may be created,
// changed or deleted as asked, and how a BGPPeer reads in another version. It gathers what the answer depends on, lets
// internal/config or the conversions of the api packages decide, and puts the answer into the API's words. It stores
// nothing. It must not import the controller's or the speaker's packages.
package webhook

// What answers depend on: the configuration of any namespace, because it may be made in any, and the MetalLB resource that
// says which of them counts; nodes and what speakers reported about their networks; and, where a pool or MetalLB itself is
// deleted, the Services that have addresses.
//
// +kubebuilder:rbac:groups=metallb.io,resources=ipaddresspools;addresspools;l2advertisements;bgpadvertisements;bgppeers;bfdprofiles;communities;configurationstates,verbs=list
// +kubebuilder:rbac:groups="",resources=nodes;services,verbs=list
