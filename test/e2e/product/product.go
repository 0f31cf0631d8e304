// Package product puts the load balancer on a lab cluster the way its users do, and makes requests as their clients
// do. It owns the steps that the demonstration and the end-to-end tests share, and decides nothing about passing.
package product

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/test/lab"
)

// OperatorNamespace is where testdata/operator installs the operator.
const OperatorNamespace = "my-metallb-operator"

// poll is how often the API server is asked for what is waited for.
const poll = 50 * time.Millisecond

// Product is a lab cluster and a client of its API server.
type Product struct {
	*lab.Cluster
	client.WithWatch

	root string // of the project
}

// On returns the product on the cluster; nothing is installed yet.
func On(c *lab.Cluster) (*Product, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme), v1beta2.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = -1, -1 // a test waits for the server, never for its own client
	config.WarningHandlerWithContext = rest.NoWarnings{}
	k, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	return &Product{Cluster: c, WithWatch: k, root: root}, nil
}

// Root is the directory of the product's module: two above this module's.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "PROJECT")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("run this inside the project: no PROJECT file here or above")
}

// File returns the path of a file below test/e2e/testdata.
func (p *Product) File(name string) string { return filepath.Join(p.root, "test/e2e/testdata", name) }

// Image returns the path of the product's image, which `make image` builds.
func (p *Product) Image() string { return filepath.Join(p.root, "dist/metallb.tar") }

// InstallOperator loads the image into the nodes, applies config/default with kubectl into OperatorNamespace, and
// waits until the operator is ready.
func (p *Product) InstallOperator(ctx context.Context) error {
	if _, err := os.Stat(p.Image()); err != nil {
		return fmt.Errorf("%w: run `make image` first", err)
	}
	if err := p.LoadImage(ctx, p.Image()); err != nil {
		return err
	}
	if _, err := p.Kubectl(ctx, "apply", "-k", p.File("operator")); err != nil {
		return err
	}
	_, err := p.Kubectl(ctx, "rollout", "status", "-n", OperatorNamespace, "deployment", "--timeout=60s")
	return err
}

// Apply applies files of testdata with kubectl. Objects that name no namespace go into the given one.
func (p *Product) Apply(ctx context.Context, namespace string, files ...string) error {
	args := []string{"apply", "-n", namespace}
	for _, f := range files {
		args = append(args, "-f", p.File(f))
	}
	_, err := p.Kubectl(ctx, args...)
	return err
}

// Namespace makes a namespace unless it is there.
func (p *Product) Namespace(ctx context.Context, name string) error {
	ns := &corev1.Namespace{}
	ns.Name = name
	return client.IgnoreAlreadyExists(p.Create(ctx, ns))
}

// Until asks again and again until done says yes, or fails with what done said last.
func Until(ctx context.Context, what string, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waiting for %s: %w", what, ctx.Err()), err)
		case <-time.After(poll):
		}
	}
}

// WaitAvailable waits until the MetalLB resource in the namespace is Available and nothing of it is progressing.
func (p *Product) WaitAvailable(ctx context.Context, namespace string) error {
	return Until(ctx, "MetalLB to be Available", func() (bool, error) {
		cr := &v1beta1.MetalLB{}
		if err := p.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "metallb"}, cr); err != nil {
			return false, err
		}
		available := meta.FindStatusCondition(cr.Status.Conditions, v1beta1.ConditionAvailable)
		progressing := meta.FindStatusCondition(cr.Status.Conditions, v1beta1.ConditionProgressing)
		if available == nil || progressing == nil || available.ObservedGeneration != cr.Generation {
			return false, errors.New("no conditions of this generation yet")
		}
		return available.Status == "True" && progressing.Status == "False",
			fmt.Errorf("it is Available: %s (%s), Progressing: %s (%s)", available.Status, available.Message, progressing.Status, progressing.Message)
	})
}

// Recovered waits until a cluster whose API server was away until then has all its nodes, and configuration is admitted. Kubelets call
// again within some ten seconds; controllers that have begun anew may take their nodes for lost before that, and take as long again
// to find their pods, the operator's too, ready.
func (p *Product) Recovered(ctx context.Context, namespace string, since time.Time) error {
	err := Until(ctx, "all nodes to be heard of again", func() (bool, error) {
		var leases coordinationv1.LeaseList
		var nodes corev1.NodeList
		err := errors.Join(p.List(ctx, &leases, client.InNamespace(corev1.NamespaceNodeLease)), p.List(ctx, &nodes))
		heard := 0
		for _, l := range leases.Items {
			if l.Spec.RenewTime != nil && l.Spec.RenewTime.After(since) {
				heard++
			}
		}
		for _, n := range nodes.Items {
			ready := func(c corev1.NodeCondition) bool {
				return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
			}
			if !slices.ContainsFunc(n.Status.Conditions, ready) {
				heard = 0
			}
		}
		return err == nil && heard == len(p.Nodes()), errors.Join(err, fmt.Errorf("%d of %d", heard, len(p.Nodes())))
	})
	return errors.Join(err, p.admits(ctx, namespace))
}

// admits waits until the operator is asked by the API server, and fails if it is and does not answer.
func (p *Product) admits(ctx context.Context, namespace string) error {
	var failure error
	err := Until(ctx, "the operator to be asked", func() (bool, error) {
		err := p.Refuses(ctx, namespace)
		if err != nil && strings.Contains(err.Error(), "no endpoints available for service") {
			return false, err
		}
		failure = err
		return true, nil
	})
	return errors.Join(err, failure)
}

// Refuses asks for a pool that overlaps itself, as a dry run: only the operator sees that, and it must be refused for it.
func (p *Product) Refuses(ctx context.Context, namespace string) error {
	err := p.Create(ctx, &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "overlaps-itself"},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: []string{"198.51.100.0/28", "198.51.100.1/32"}},
	}, client.DryRunAll)
	if !apierrors.IsInvalid(err) {
		return fmt.Errorf("a pool that overlaps itself is not refused as invalid: %w", err)
	}
	return nil
}

// WaitRollout waits until all replicas of a Deployment are ready.
func (p *Product) WaitRollout(ctx context.Context, namespace, name string) error {
	return Until(ctx, "Deployment "+name, func() (bool, error) {
		d := &appsv1.Deployment{}
		if err := p.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, d); err != nil {
			return false, err
		}
		return d.Status.ObservedGeneration == d.Generation && d.Status.Replicas == *d.Spec.Replicas && d.Status.ReadyReplicas == *d.Spec.Replicas,
			fmt.Errorf("%d of %d ready", d.Status.ReadyReplicas, *d.Spec.Replicas)
	})
}

// Address waits until the Service has an address.
func (p *Product) Address(ctx context.Context, namespace, name string) (netip.Addr, error) {
	var address netip.Addr
	err := Until(ctx, "an address for Service "+name, func() (bool, error) {
		s := &corev1.Service{}
		if err := p.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, s); err != nil {
			return false, err
		}
		if len(s.Status.LoadBalancer.Ingress) == 0 {
			return false, fmt.Errorf("conditions: %v", s.Status.Conditions)
		}
		var err error
		address, err = netip.ParseAddr(s.Status.LoadBalancer.Ingress[0].IP)
		return err == nil, err
	})
	return address, err
}

// DeleteMetalLB deletes the MetalLB resource as a user does and waits until its workloads are gone.
func (p *Product) DeleteMetalLB(ctx context.Context, namespace string) error {
	if _, err := p.Kubectl(ctx, "delete", "metallb", "metallb", "-n", namespace); err != nil {
		return err
	}
	return Until(ctx, "the workloads to go", func() (bool, error) {
		pods := &corev1.PodList{}
		if err := p.List(ctx, pods, client.InNamespace(namespace), client.MatchingLabels{"app": "metallb"}); err != nil {
			return false, err
		}
		return len(pods.Items) == 0, fmt.Errorf("%d pods left", len(pods.Items))
	})
}

// Gone tells whether the object is not there (any more).
func (p *Product) Gone(ctx context.Context, namespace, name string, o client.Object) (bool, error) {
	err := p.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o)
	return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
}
