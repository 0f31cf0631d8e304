// Package lbservice turns Services and EndpointSlices into what the allocator and the speaker work with. It is the only
// place that knows the annotations of Services, current and deprecated, and the rule by which a Service is ours.
//
// It is pure: it imports the Kubernetes API types, ipam and announce, no client.
package lbservice
