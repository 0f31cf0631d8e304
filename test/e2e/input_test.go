package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// Whatever is wrong is said at the object that is wrong, and what ran before goes on.
func TestBadInputIsExplainedAndHarmless(t *testing.T) {
	p := metallb(t, "metallb-system", "aspera/metallb.yaml")
	ctx := within(t, 3*time.Minute)
	must(t, p.Apply(ctx, "metallb-system", "aspera/addresspool.yaml"))
	ns := namespace(t, p)
	address := netip.MustParseAddr(asperaService(t, p, ns))

	pool := func(name, addresses string) string {
		return fmt.Sprintf("apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: %s, namespace: metallb-system}\nspec: {addresses: [%q]}\n", name, addresses)
	}
	for name, bad := range map[string]struct{ manifest, object, says string }{
		"a range that is none":              {pool("bad-range", "172.30.1.300-172.30.1.310"), "IPAddressPool/bad-range", "spec.addresses[0]"},
		"a range with its ends swapped":     {pool("swapped", "172.30.1.20-172.30.1.10"), "IPAddressPool/swapped", "spec.addresses[0]"},
		"a pool that overlaps an older one": {pool("overlap", "172.30.0.200-172.30.0.210"), "IPAddressPool/overlap", "spec.addresses[0]"},
		"a Service that asks for an address outside every pool": {
			"apiVersion: v1\nkind: Service\nmetadata: {name: outside, namespace: " + ns + ", annotations: {metallb.io/loadBalancerIPs: 198.51.100.7}}\n" +
				"spec: {type: LoadBalancer, ports: [{port: 80}]}\n", "Service/outside", "198.51.100.7"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.KubectlInput(ctx, bad.manifest, "apply", "-f", "-")
			t.Cleanup(func() {
				if _, err := p.KubectlInput(ctx, bad.manifest, "delete", "--ignore-not-found", "-f", "-"); err != nil {
					t.Error(err)
				}
			})
			if err != nil { // refused before it is stored: even better, if it says why
				if !strings.Contains(err.Error(), bad.says) {
					t.Errorf("refused without naming %s: %v", bad.says, err)
				}
				return
			}
			message := warning(t, p, bad.object, bad.says)
			t.Log(message)
			answer, err := p.Answer(ctx, lab.Client, "tcp", netip.AddrPortFrom(address, 33001))
			must(t, err)
			answeredBy(t, answer, "tcp", "aspera-tcp-proxy")
		})
	}
	// A new Service is served while the bad pools are there.
	for _, m := range []string{pool("bad-range", "172.30.1.300-172.30.1.310"), pool("overlap", "172.30.0.200-172.30.0.210")} {
		_, err := p.KubectlInput(ctx, m, "apply", "-f", "-")
		must(t, err)
		t.Cleanup(func() {
			if _, err := p.KubectlInput(ctx, m, "delete", "-f", "-"); err != nil {
				t.Error(err)
			}
		})
	}
	_, err := p.Kubectl(ctx, "create", "service", "loadbalancer", "late", "-n", ns, "--tcp=80")
	must(t, err)
	late, err := p.Address(ctx, ns, "late")
	must(t, err)
	t.Logf("a Service made beside two bad pools got %s", late)
}

// warning waits for a Warning event on the object (Kind/name) whose message contains the text.
func warning(t *testing.T, p *product.Product, object, text string) string {
	t.Helper()
	kind, name, _ := strings.Cut(object, "/")
	ctx := within(t, 15*time.Second)
	var message string
	must(t, product.Until(ctx, "a Warning on "+object, func() (bool, error) {
		events := &corev1.EventList{}
		if err := p.List(ctx, events); err != nil {
			return false, err
		}
		for _, e := range events.Items {
			if e.InvolvedObject.Kind == kind && e.InvolvedObject.Name == name && e.Type == corev1.EventTypeWarning && strings.Contains(e.Message, text) {
				message = e.Reason + ": " + e.Message
				return true, nil
			}
		}
		return false, fmt.Errorf("none of %d events", len(events.Items))
	}))
	return message
}

// condition waits until the Service's condition metallb.io/AddressAllocated has the status, and returns its message.
func condition(t *testing.T, p *product.Product, namespace, name, status string) string {
	t.Helper()
	ctx := within(t, 15*time.Second)
	var message string
	must(t, product.Until(ctx, "condition AddressAllocated of "+name, func() (bool, error) {
		s := &corev1.Service{}
		if err := p.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, s); err != nil {
			return false, err
		}
		for _, c := range s.Status.Conditions {
			if c.Type == "metallb.io/AddressAllocated" && string(c.Status) == status {
				message = c.Reason + ": " + c.Message
				return true, nil
			}
		}
		return false, fmt.Errorf("conditions: %v", s.Status.Conditions)
	}))
	return message
}

func errOr(err error, text string) error {
	if err != nil {
		return err
	}
	return errors.New(text)
}
