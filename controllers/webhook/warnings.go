package webhook

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/lbservice"
	"metallb.io/operator/internal/rollout"
)

// unnumbered is told with a peer that is found over an interface.
const unnumbered = "spec.interface: this version opens no session over an interface without the peer's address: the resource is checked and stored, but the router is not told"

// pageSize is how many Services are read at a time.
const pageSize = 500

// withoutEffect warns about what has none yet.
func withoutEffect(o client.Object) []string {
	if p, ok := o.(*v1beta2.BGPPeer); ok && p.Spec.Interface != "" {
		return []string{unnumbered}
	}
	return nil
}

// served is the installation that the operator serves: the oldest of the right name. Nil: there is none.
func served(all []v1beta1.MetalLB) *v1beta1.MetalLB {
	var first *v1beta1.MetalLB
	for i := range all {
		m := &all[i]
		if m.Name == rollout.Name && m.DeletionTimestamp == nil && (first == nil || rollout.CompareAge(m, first) < 0) {
			first = m
		}
	}
	return first
}

// misplaced warns about configuration that nobody reads, or not yet.
func misplaced(namespace string, served *v1beta1.MetalLB) []string {
	switch {
	case served == nil:
		return []string{fmt.Sprintf("there is no MetalLB resource yet: this counts once one named %s is in namespace %s", rollout.Name, namespace)}
	case served.Namespace != namespace:
		return []string{fmt.Sprintf("this has no effect in namespace %s: MetalLB runs in namespace %s and takes its configuration from there", namespace, served.Namespace)}
	}
	return nil
}

// inUse warns about the deletion of what Services have their addresses from. Where the configuration is not the one that
// counts, no Service has any from it.
func (r *Reviewer) inUse(ctx context.Context, c change, served *v1beta1.MetalLB) ([]string, error) {
	if served == nil || served.Namespace != c.before.GetNamespace() {
		return nil, nil
	}
	switch o := c.before.(type) {
	case *v1beta1.MetalLB:
		if o.Name != served.Name {
			return nil, nil
		}
		n, err := r.holders(ctx, func(pool string) bool { return pool != "" })
		if err != nil || n == 0 {
			return nil, err
		}
		return []string{fmt.Sprintf("%s an address: it stays theirs, but nobody announces it until there is a MetalLB again", services(n))}, nil
	case *v1beta1.IPAddressPool:
		return r.poolInUse(ctx, o.Name)
	case *v1beta1.AddressPool:
		return r.poolInUse(ctx, cmp.Or(o.Spec.Name, o.Name))
	}
	return nil, nil
}

func (r *Reviewer) poolInUse(ctx context.Context, pool string) ([]string, error) {
	n, err := r.holders(ctx, func(p string) bool { return p == pool })
	if err != nil || n == 0 {
		return nil, err
	}
	return []string{fmt.Sprintf("%s an address of pool %s: unless another pool has the same addresses they lose them, and get others if there is room", services(n), pool)}, nil
}

// holders counts the Services whose address was given from a pool that matches. It reads their metadata only, page by page.
func (r *Reviewer) holders(ctx context.Context, matches func(pool string) bool) (int, error) {
	n := 0
	page := &metav1.PartialObjectMetadataList{}
	page.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceList"))
	for {
		if err := r.Reader.List(ctx, page, client.Limit(pageSize), client.Continue(page.Continue)); err != nil {
			return 0, fmt.Errorf("listing services: %w", err)
		}
		for _, s := range page.Items {
			if matches(s.Annotations[lbservice.Prefix+lbservice.AllocatedFrom]) {
				n++
			}
		}
		if page.Continue == "" {
			return n, nil
		}
	}
}

// services counts in words.
func services(n int) string {
	if n == 1 {
		return "1 Service has"
	}
	return fmt.Sprintf("%d Services have", n)
}
