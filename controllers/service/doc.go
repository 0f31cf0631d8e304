// Package service gives Services their addresses and says on each why it has them or has none. It is the only owner of
// the allocator and the only writer of Services' status.
//
// Two loops share one state. The configuration loop reads the pools and rebuilds the allocator; what each Service has
// stays wherever a pool still has it. The Service loop gathers one Service, decides under the lock, and acts without it:
// one status write at most, none where nothing changes. Truth is in the Services: after a restart their addresses are
// adopted before any is given.
//
// Whether an address is announced is what the speakers say in ServiceL2Statuses and ServiceBGPStatuses. Where none says so, a third loop, which asks
// the API server and so is nobody's to wait for, finds out why: as the speakers would, by package announce.
package service
