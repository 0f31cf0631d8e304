// Package ipam owns ranges of addresses, pools and the allocator that gives each Service its addresses: who holds
// what, who may share, which address is next, and for which reason there is none.
//
// It is pure: no clock, no goroutine, no socket, no logger. It imports the standard library only and knows neither
// Kubernetes types nor labels: selectors come in already decided (Request.Refused).
package ipam
