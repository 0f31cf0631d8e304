// Package lbservice turns Services, EndpointSlices and Nodes into what the allocator and the plan of announcements work with.
// It is the only place that knows the annotations of Services, current and deprecated, and the rule by which a Service is ours.
//
// It is pure: it imports the Kubernetes API types, ipam and announce, no client.
package lbservice
