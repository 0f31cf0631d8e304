package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/test/e2e/product"
)

var authorities = flag.Int("authorities", 2, "how often the operator's certificate authority is replaced while requests for admission go on")

const (
	operatorDeployment = "metallb-operator-controller-manager"
	certificateSecret  = "metallb-webhook-cert"
)

// Requests for admission go on while the operator's certificates and replicas come and go: none may fail, and none that
// is wrong may pass.
func TestAdmissionNeverPauses(t *testing.T) {
	p := metallb(t, "metallb-system", "aspera/metallb.yaml")
	ctx := product.Within(t, 8*time.Minute+time.Duration(*authorities)*time.Minute)
	var before appsv1.Deployment
	product.Must(t, p.Get(ctx, client.ObjectKey{Namespace: product.OperatorNamespace, Name: operatorDeployment}, &before))
	t.Cleanup(func() { // as it was, for the tests to come
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		var now appsv1.Deployment
		err := p.Get(ctx, client.ObjectKeyFromObject(&before), &now)
		now.Spec = before.Spec
		if err = errors.Join(err, p.Update(ctx, &now), p.WaitRollout(ctx, before.Namespace, before.Name)); err != nil {
			t.Error(err)
		}
	})
	requests := startAdmissions(ctx, p)
	t.Cleanup(requests.stop)
	requests.report(t, "at first")

	secret := &corev1.Secret{}
	product.Must(t, p.Get(ctx, client.ObjectKey{Namespace: product.OperatorNamespace, Name: certificateSecret}, secret))
	deleted := secret.UID
	product.Must(t, p.Delete(ctx, secret))
	product.Must(t, product.Until(ctx, "the Secret to be back", func() (bool, error) {
		err := p.Get(ctx, client.ObjectKey{Namespace: product.OperatorNamespace, Name: certificateSecret}, secret)
		return err == nil && secret.UID != deleted, err
	}))
	requests.report(t, "the Secret deleted")

	patch(t, p, &appsv1.Deployment{}, product.OperatorNamespace, operatorDeployment, `{"spec":{"replicas":2}}`)
	product.Must(t, p.WaitRollout(ctx, product.OperatorNamespace, operatorDeployment))
	requests.report(t, "a second replica")

	_, err := p.Kubectl(ctx, "rollout", "restart", "-n", product.OperatorNamespace, "deployment/"+operatorDeployment)
	product.Must(t, err)
	_, err = p.Kubectl(ctx, "rollout", "status", "-n", product.OperatorNamespace, "deployment/"+operatorDeployment, "--timeout=90s")
	product.Must(t, err)
	requests.report(t, "both replicas restarted")

	pods := &corev1.PodList{}
	product.Must(t, p.List(ctx, pods, client.InNamespace(product.OperatorNamespace), client.MatchingLabels{"control-plane": "controller-manager"}))
	victim := &pods.Items[0]
	product.Must(t, p.Delete(ctx, victim))
	product.Must(t, product.Until(ctx, "the deleted pod to go", func() (bool, error) {
		return p.Gone(ctx, victim.Namespace, victim.Name, victim)
	}))
	product.Must(t, p.WaitRollout(ctx, product.OperatorNamespace, operatorDeployment))
	requests.report(t, "one pod of two deleted")

	args := append(before.Spec.Template.Spec.Containers[0].Args, "--webhook-ca-lifetime=60s", "--webhook-cert-lifetime=20s")
	_, err = p.Kubectl(ctx, "patch", "deployment", operatorDeployment, "-n", product.OperatorNamespace, "--patch",
		fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"manager","args":["%s"]}]}}}}`, strings.Join(args, `","`)))
	product.Must(t, err)
	product.Must(t, p.WaitRollout(ctx, product.OperatorNamespace, operatorDeployment))
	authority := certificateAuthority(t, p, "")
	for range *authorities {
		authority = certificateAuthority(t, p, authority)
		requests.report(t, "an authority of a minute's life replaced")
	}
	time.Sleep(2 * time.Second)
	requests.stop()
	if requests.made < 200 {
		t.Errorf("only %d requests were made: that shows nothing", requests.made)
	}
	for _, failure := range requests.failures {
		t.Error(failure)
	}
}

// certificateAuthority waits until the operator's authority is another than the one given, and returns it.
func certificateAuthority(t *testing.T, p *product.Product, other string) string {
	t.Helper()
	ctx := product.Within(t, 2*time.Minute)
	var now string
	product.Must(t, product.Until(ctx, "another certificate authority", func() (bool, error) {
		secret := &corev1.Secret{}
		err := p.Get(ctx, client.ObjectKey{Namespace: product.OperatorNamespace, Name: certificateSecret}, secret)
		now = string(secret.Data["ca.crt"])
		return err == nil && now != "" && now != other, err
	}))
	return now
}

// admissions are requests that go on in the background: right ones and wrong ones in turn, as dry runs, also of a version
// that is converted.
type admissions struct {
	stop func()

	mu       sync.Mutex
	made     int
	failures []string
}

func startAdmissions(ctx context.Context, p *product.Product) *admissions {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	a := &admissions{stop: func() { cancel(); <-done }}
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			err := a.request(ctx, p, i)
			if ctx.Err() != nil {
				return
			}
			a.mu.Lock()
			a.made++
			if err != nil {
				a.failures = append(a.failures, fmt.Sprintf("%s request %d: %v", time.Now().Format("15:04:05.000"), i, err))
			}
			a.mu.Unlock()
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return a
}

func (a *admissions) request(ctx context.Context, p *product.Product, i int) error {
	meta := metav1.ObjectMeta{Namespace: "metallb-system", Name: fmt.Sprintf("admission-%d", i)}
	switch i % 3 {
	case 0:
		return p.Create(ctx, &v1beta1.IPAddressPool{ObjectMeta: meta, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"198.51.100.0/28"}}}, client.DryRunAll)
	case 1:
		return p.Create(ctx, &v1beta1.BGPPeer{ObjectMeta: meta, Spec: v1beta1.BGPPeerSpec{MyASN: 64512, ASN: 64513, Address: "198.51.100.1"}}, client.DryRunAll)
	default:
		return p.Refuses(ctx, meta.Namespace)
	}
}

// report logs how many requests were made so far, and how many failed. It waits a little, for what comes late; what comes later
// still is seen at the end.
func (a *admissions) report(t *testing.T, after string) {
	t.Helper()
	time.Sleep(time.Second)
	a.mu.Lock()
	defer a.mu.Unlock()
	t.Logf("%s: %d requests, %d failed", after, a.made, len(a.failures))
}
