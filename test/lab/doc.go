// Package lab is a real Kubernetes cluster on one Linux machine: no container
// engine, no virtual machine, no registry. Every machine of it (control plane,
// nodes, a client and a router on the LAN, a remote machine behind the router)
// is a set of Linux namespaces; the Kubernetes in it is the real one, built from
// source by [Build].
//
// Two networks join the machines:
//
//	LAN         172.30.0.0/24, fd00:30::/64   nodes .11 and on, client .50, router .60
//	management  172.31.N.0/24, fd00:31:N::/64 control plane .2, nodes .11 and on, this host .1
//
// N is [Options.Instance]. Nodes talk to the API over the management network
// and to each other, to the client and to the router over the LAN, so each can
// be cut while the other lives. The machine `remote` (172.30.9.2, fd00:30:9::2)
// is one hop beyond the router. There is no cluster DNS, and the CNI plugin (a
// bridge for each node) enforces no NetworkPolicy.
//
// A test binary brings up one cluster with [Shared] or [Up]; a cluster that a
// test binary made is torn down when that binary ends, however it ends. Traffic
// is made from the client or the remote machine: [Cluster.Dial],
// [Cluster.ListenPacket] and [Cluster.InNamespace] need no fork for it.
//
// The package needs root. It imports neither Kubernetes nor the product: what it
// asks of the API server it asks in plain JSON over HTTPS.
package lab
