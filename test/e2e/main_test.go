// Package e2e tests the product as its users meet it: on a real cluster, installed with kubectl, reached over the LAN.
// One cluster serves all tests of the package; each test has a namespace of its own.
package e2e

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

var (
	shared    lab.Shared
	installed sync.Once
	onLab     *product.Product
)

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// metallb returns the product on the shared cluster with the operator installed and its one MetalLB resource made from
// the file, in the namespace, and available.
func metallb(t *testing.T, namespace, file string) *product.Product {
	t.Helper()
	cluster := shared.Cluster(t)
	ctx := product.Within(t, 3*time.Minute)
	installed.Do(func() {
		p, err := product.On(cluster)
		product.Must(t, err)
		product.Must(t, p.InstallOperator(ctx))
		onLab = p
	})
	if onLab == nil {
		t.Fatal("the operator could not be installed: see the first test that failed")
	}
	crs := &v1beta1.MetalLBList{}
	product.Must(t, onLab.List(ctx, crs))
	for _, cr := range crs.Items {
		if cr.Namespace != namespace || cr.Name != "metallb" {
			product.Must(t, onLab.DeleteMetalLB(ctx, cr.Namespace))
		}
	}
	product.Must(t, onLab.Namespace(ctx, namespace))
	product.Must(t, onLab.Apply(ctx, namespace, file))
	product.Must(t, onLab.WaitAvailable(ctx, namespace))
	t.Cleanup(func() {
		if t.Failed() {
			dump(t, onLab, namespace)
		}
	})
	return onLab
}

// leaving is the namespace of the last test that had one. Kubernetes takes 5 s until it begins to empty a namespace, and more
// until its pods are gone: the next test need not wait for that.
var leaving string

// namespace makes a namespace for the test's own objects. At the test's end its Services go at once, with their addresses, and
// the rest beside the next test.
func namespace(t *testing.T, p *product.Product) string {
	t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	if name == leaving { // the test runs again
		product.Must(t, gone(product.Within(t, time.Minute), p))
	}
	product.Must(t, p.Namespace(product.Within(t, 10*time.Second), name))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := leave(ctx, p, name); err != nil {
			t.Error(err)
		}
	})
	return name
}

func leave(ctx context.Context, p *product.Product, name string) error {
	if err := p.DeleteAllOf(ctx, &corev1.Service{}, client.InNamespace(name)); err != nil {
		return err
	}
	err := product.Until(ctx, "the Services to go, and nobody to speak of them", func() (bool, error) {
		services, statuses := &corev1.ServiceList{}, &v1beta1.ServiceL2StatusList{}
		err := errors.Join(p.List(ctx, services, client.InNamespace(name)), p.List(ctx, statuses, client.MatchingLabels{v1beta1.LabelServiceNamespace: name}))
		return err == nil && len(services.Items)+len(statuses.Items) == 0, err
	})
	ns := &corev1.Namespace{}
	ns.Name = name
	err = errors.Join(err, p.Delete(ctx, ns), gone(ctx, p))
	leaving = name
	return err
}

// gone waits until the namespace that is leaving, if any, is gone.
func gone(ctx context.Context, p *product.Product) error {
	if leaving == "" {
		return nil
	}
	return product.Until(ctx, "namespace "+leaving+" to go", func() (bool, error) { return p.Gone(ctx, "", leaving, &corev1.Namespace{}) })
}

// aspera is the setup of the user who runs Aspera: the load balancer, its pool, and the Service in a namespace of its own.
func aspera(t *testing.T) (p *product.Product, ns string, address netip.Addr) {
	t.Helper()
	p = metallb(t, "metallb-system", "aspera/metallb.yaml")
	product.Must(t, p.Apply(product.Within(t, time.Minute), "metallb-system", "aspera/addresspool.yaml"))
	ns = namespace(t, p)
	return p, ns, asperaService(t, p, ns)
}

// asperaService makes the Aspera stand-in and its Service in the namespace and returns the Service's address.
func asperaService(t *testing.T, p *product.Product, namespace string) netip.Addr {
	t.Helper()
	ctx := product.Within(t, time.Minute)
	product.Must(t, p.Apply(ctx, namespace, "aspera/backend.yaml", "aspera/tcp-proxy.yaml"))
	product.Must(t, p.WaitRollout(ctx, namespace, "aspera-tcp-proxy"))
	address, err := p.Address(ctx, namespace, "aspera-tcp-proxy")
	product.Must(t, err)
	return address
}

// dump logs what a person would look at first.
func dump(t *testing.T, p *product.Product, namespace string) {
	t.Helper()
	p.Dump(t,
		[]string{"get", "nodes,metallb,pods,svc,ipaddresspools.metallb.io,addresspools.metallb.io,l2advertisements.metallb.io,servicel2statuses.metallb.io", "-A", "-o", "wide"},
		[]string{"get", "metallb", "-A", "-o", "yaml"},
		[]string{"get", "events", "-A", "--sort-by=.lastTimestamp"},
		[]string{"logs", "-n", product.OperatorNamespace, "-l", "control-plane=controller-manager", "--tail=40"},
		[]string{"logs", "-n", namespace, "-l", "app=metallb,component=controller", "--tail=40"},
		[]string{"logs", "-n", namespace, "-l", "app=metallb,component=speaker", "--tail=40", "--prefix"},
	)
}
