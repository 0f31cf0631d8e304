package bgp

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/test/lab"
)

// A mail server behind eBGP: the address that was asked for, announced by the nodes with a pod only, with the user's
// community; the second pool on request only.
func TestMailServer(t *testing.T) {
	n := start(t, 64635, 64636, "")
	n.config("legacy/smtp-bgp.yaml", "172.22.35.1", n.address(lab.Router).String())
	ns := n.apply("bgp/smtp-backend.yaml", "bgp/smtp.yaml")
	n.must(n.WaitRollout(n.within(), ns, "smtp"))
	address, err := n.Address(n.within(), ns, "smtp")
	n.must(err)
	if address != netip.MustParseAddr("172.22.35.70") {
		t.Fatalf("the Service has %s, and asked for 172.22.35.70", address)
	}
	nodes, pods := n.nodesOf(ns, "smtp")
	if len(nodes) != 2 {
		t.Fatalf("pods on %v", nodes)
	}
	n.routed("the nodes with a pod announce it", "172.22.35.70/32", nodes)
	if out := n.vtysh("show bgp ipv4 unicast 172.22.35.70/32"); strings.Count(out, "Community: 64635:100") != 2 {
		t.Errorf("the community is not there: %s", out)
	}
	n.forwarded(address, 2)
	n.told(ns, "smtp", nodes)
	n.answered(netip.AddrPortFrom(address, 25), nodes)

	n.must(n.Delete(n.within(), &pods[0], client.GracePeriodSeconds(0)), n.WaitRollout(n.within(), ns, "smtp"))
	n.follows("the routes follow the pods", "172.22.35.70/32", ns, "smtp")

	second := &corev1.Service{}
	second.Namespace, second.Name = ns, "public"
	second.Annotations = map[string]string{"metallb.universe.tf/address-pool": "public"}
	second.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{"app": "smtp"}, Ports: []corev1.ServicePort{{Port: 25}}}
	n.must(n.Create(n.within(), second))
	address, err = n.Address(n.within(), ns, "public")
	n.must(err)
	if !netip.MustParsePrefix("200.1.154.64/26").Contains(address) {
		t.Errorf("the second Service has %s", address)
	}
	n.routed("every node announces what any node can deliver", address.String()+"/32", n.Nodes())
	if out := n.vtysh("show bgp ipv4 unicast " + address.String() + "/32"); !strings.Contains(out, "Community: 64635:200") {
		t.Errorf("the community is not there: %s", out)
	}
	n.must(n.Delete(n.within(), second))
	n.routed("it is withdrawn", address.String()+"/32", nil)
}

// iBGP with an AS number of more than 16 bits and a password; three replicas behind an address that is delivered where
// they are.
func TestWhoami(t *testing.T) {
	n := start(t, 65559, 65559, "foo")
	n.config("legacy/cyso.yaml", "10.0.0.1", n.address(lab.Router).String())
	ns := n.apply("bgp/whoami.yaml", "bgp/traefik.yaml")
	n.must(n.WaitRollout(n.within(), ns, "whoami"))
	address, err := n.Address(n.within(), ns, "whoami-lb")
	n.must(err)
	other, err := n.Address(n.within(), ns, "traefik-ingress")
	n.must(err)
	if address == other {
		t.Errorf("both Services have %s", address)
	}
	nodes, pods := n.nodesOf(ns, "whoami")
	prefix := address.String() + "/32"
	n.routed("one route for each node with a pod", prefix, nodes)
	n.told(ns, "whoami-lb", nodes)
	n.answered(netip.AddrPortFrom(address, 80), nodes)
	n.routed("a Service without a pod is not announced", other.String()+"/32", nil)

	n.must(n.Delete(n.within(), &pods[0], client.GracePeriodSeconds(0)), n.WaitRollout(n.within(), ns, "whoami"))
	n.follows("the routes follow the pods", prefix, ns, "whoami")
	_, err = n.Kubectl(n.within(), "scale", "-n", ns, "deployment/whoami", "--replicas=0")
	n.must(err)
	n.routed("nobody announces what nobody delivers", prefix, nil)
	_, err = n.Kubectl(n.within(), "scale", "-n", ns, "deployment/whoami", "--replicas=3")
	n.must(err, n.WaitRollout(n.within(), ns, "whoami"))
	n.answered(netip.AddrPortFrom(address, 80), n.follows("and again", prefix, ns, "whoami"))
}
