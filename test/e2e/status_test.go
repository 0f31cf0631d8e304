package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/test/e2e/product"
)

// placeController has the controller run on the nodes of a selector.
func placeController(t *testing.T, p *product.Product, selector string) {
	t.Helper()
	patch(t, p, &v1beta1.MetalLB{}, "metallb-system", "metallb", `{"spec":{"controllerNodeSelector":`+selector+`}}`)
	product.Must(t, p.WaitAvailable(product.Within(t, time.Minute), "metallb-system"))
}

// saysWho waits until exactly one ServiceL2Status is about the Service, that of the node, and the condition says the same.
func saysWho(ctx context.Context, t *testing.T, p *product.Product, ns, node string, address netip.Addr) {
	t.Helper()
	selector := "metallb.io/service-name=aspera-tcp-proxy,metallb.io/service-namespace=" + ns
	product.Must(t, product.Until(ctx, "one ServiceL2Status, of "+node, func() (bool, error) {
		out, err := p.Kubectl(ctx, "get", "servicel2statuses", "-n", "metallb-system", "-l", selector, "-o", "jsonpath={.items[*].status.node}")
		return err == nil && out == node, fmt.Errorf("%q %w", out, err)
	}))
	out, err := p.Kubectl(ctx, "get", "servicel2statuses", "-n", "metallb-system", "-l", selector, "-o", "wide")
	product.Must(t, err)
	t.Logf("\n%s", out)
	said(ctx, t, p, ns, node, address)
}

// said waits until the Service's condition says that the node announces it.
func said(ctx context.Context, t *testing.T, p *product.Product, ns, node string, address netip.Addr) {
	t.Helper()
	want := fmt.Sprintf("Node %s answers for %s on ", node, address)
	product.Must(t, product.Until(ctx, "the condition to say "+want, func() (bool, error) {
		svc := &corev1.Service{}
		if err := p.Get(ctx, client.ObjectKey{Namespace: ns, Name: "aspera-tcp-proxy"}, svc); err != nil {
			return false, err
		}
		c := meta.FindStatusCondition(svc.Status.Conditions, "metallb.io/Announced")
		return c != nil && c.Status == "True" && strings.HasPrefix(c.Message, want), fmt.Errorf("it is %+v", c)
	}))
}
