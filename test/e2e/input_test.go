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

// Whatever is wrong is refused, or said at the object that is wrong, and what ran before goes on.
func TestBadInputIsExplainedAndHarmless(t *testing.T) {
	p := metallb(t, "metallb-system", "aspera/metallb.yaml")
	ctx := product.Within(t, 3*time.Minute)
	withoutPools(t, p)
	product.Must(t, p.Apply(ctx, "metallb-system", "aspera/addresspool.yaml"))
	ns := namespace(t, p)
	address := asperaService(t, p, ns)

	resource := func(kind, version, name, spec string) string {
		return fmt.Sprintf("apiVersion: metallb.io/%s\nkind: %s\nmetadata: {name: %s, namespace: metallb-system}\nspec: %s\n", version, kind, name, spec)
	}
	for name, bad := range map[string]struct {
		manifest string
		says     []string
	}{
		"a range that is none": {
			resource("IPAddressPool", "v1beta1", "bad-range", `{addresses: ["172.30.1.300-172.30.1.310"]}`),
			[]string{`The IPAddressPool "bad-range" is invalid`, "spec.addresses[0]", "172.30.1.300-172.30.1.310"}},
		"a range with its ends swapped": {
			resource("IPAddressPool", "v1beta1", "swapped", `{addresses: ["172.30.1.20-172.30.1.10"]}`),
			[]string{"spec.addresses[0]", "has its ends swapped: write 172.30.1.10-172.30.1.20"}},
		"a pool that overlaps an AddressPool, and itself": {
			resource("IPAddressPool", "v1beta1", "overlap", `{addresses: ["172.30.0.200-172.30.0.210", 198.51.100.0/28, 198.51.100.1/32]}`),
			[]string{"spec.addresses[0]", "overlaps 172.30.0.100-172.30.0.255 of AddressPool addresspool-sample1", "spec.addresses[2]", "of the same pool"}},
		"a peer of version v1beta1 with a hold time of a second": {
			resource("BGPPeer", "v1beta1", "short", `{myASN: 64512, peerASN: 64513, peerAddress: 172.30.0.1, holdTime: 1s}`),
			[]string{"spec.holdTime", "3s"}},
		"a second MetalLB resource": {
			"apiVersion: metallb.io/v1beta1\nkind: MetalLB\nmetadata: {name: metallb, namespace: default}\n",
			[]string{`The MetalLB "metallb" is invalid`, "metallb-system"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.KubectlInput(ctx, bad.manifest, "apply", "-f", "-")
			if err == nil {
				_, err = p.KubectlInput(ctx, bad.manifest, "delete", "-f", "-")
				t.Fatalf("accepted (and deleted again: %v)", err)
			}
			t.Log(err)
			for _, text := range bad.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("the answer does not say %s", text)
				}
			}
			answer, err := p.Answer(ctx, lab.Client, "tcp", netip.AddrPortFrom(address, 33001))
			product.Must(t, err)
			answeredBy(t, answer, "tcp", "aspera-tcp-proxy")
		})
	}
	outside := "apiVersion: v1\nkind: Service\nmetadata: {name: outside, namespace: " + ns + ", annotations: {metallb.io/loadBalancerIPs: 198.51.100.7}}\n" +
		"spec: {type: LoadBalancer, ports: [{port: 80}]}\n"
	_, err := p.KubectlInput(ctx, outside, "apply", "-f", "-")
	product.Must(t, err)
	t.Log(warning(t, p, "Service/outside", "198.51.100.7"))

	_, err = p.Kubectl(ctx, "create", "service", "loadbalancer", "late", "-n", ns, "--tcp=80")
	product.Must(t, err)
	late, err := p.Address(ctx, ns, "late")
	product.Must(t, err)
	t.Logf("a Service made afterwards got %s", late)
}

// warning waits for a Warning event on the object (Kind/name) whose message contains the text.
func warning(t *testing.T, p *product.Product, object, text string) string {
	t.Helper()
	kind, name, _ := strings.Cut(object, "/")
	ctx := product.Within(t, 15*time.Second)
	var message string
	product.Must(t, product.Until(ctx, "a Warning on "+object, func() (bool, error) {
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
	ctx := product.Within(t, 15*time.Second)
	var message string
	product.Must(t, product.Until(ctx, "condition AddressAllocated of "+name, func() (bool, error) {
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
