package olm

import (
	"bytes"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/test/e2e/product"
)

// admission asks the operator through the webhooks that OLM wrote, with the certificates that OLM made.
func admission(t *testing.T, o *OLM) {
	t.Helper()
	ctx := product.Within(t, patience)
	secret := &corev1.Secret{}
	product.Must(t, o.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: operatorDeployment + "-service-cert"}, secret))
	for _, c := range webhooks(t, o) {
		for _, w := range c.Webhooks {
			if !bytes.Equal(w.ClientConfig.CABundle, secret.Data["olmCAKey"]) {
				t.Errorf("%s does not trust the authority that OLM made", c.Name)
			}
		}
		if c.Labels["olm.owner"] != csv {
			t.Errorf("webhook configuration %s is not OLM's: labels %v", c.Name, c.Labels)
		}
	}
	if n := len(webhooks(t, o)); n == 0 {
		t.Error("there are no webhook configurations")
	} else {
		t.Logf("%d webhook configurations of OLM's", n)
	}
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: metallbNamespace, Name: name} }
	overlapping := &v1beta1.IPAddressPool{ObjectMeta: named("overlapping"),
		Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"198.51.100.0/28", "198.51.100.1/32"}}}
	err := o.Create(ctx, overlapping)
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "remove one of the two entries") {
		t.Errorf("a pool that overlaps itself is not refused in our words: %v", err)
	}
	t.Log(err)

	old := &v1beta1.BGPPeer{ObjectMeta: named("converted"), Spec: v1beta1.BGPPeerSpec{MyASN: 64512, ASN: 64513, Address: "198.51.100.1"}}
	product.Must(t, o.Create(ctx, old))
	stored := &v1beta2.BGPPeer{}
	product.Must(t, o.Get(ctx, client.ObjectKeyFromObject(old), stored))
	if stored.Spec.ASN != 64513 || stored.Spec.Address != "198.51.100.1" {
		t.Errorf("a BGPPeer v1beta1 comes back as v1beta2 with %+v", stored.Spec)
	}
	product.Must(t, o.Delete(ctx, old))
}

// webhooks are the configurations that send our resources to somebody.
func webhooks(t *testing.T, o *OLM) (ours []admissionv1.ValidatingWebhookConfiguration) {
	t.Helper()
	all := &admissionv1.ValidatingWebhookConfigurationList{}
	product.Must(t, o.List(t.Context(), all))
	for _, c := range all.Items {
		if len(c.Webhooks) > 0 && strings.HasSuffix(c.Webhooks[0].Name, ".metallb.io") {
			ours = append(ours, c)
		}
	}
	return ours
}
