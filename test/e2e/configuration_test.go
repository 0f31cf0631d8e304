package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/test/e2e/product"
)

// Controller and speakers say that they can use the configuration, and what they know of the network is used to warn of
// pools that get in its way.
func TestConfigurationIsReportedOn(t *testing.T) {
	p := metallb(t, "metallb-system", "aspera/metallb.yaml")
	ctx := product.Within(t, time.Minute)
	withoutPools(t, p)
	product.Must(t, p.Apply(ctx, "metallb-system", "aspera/addresspool.yaml"))
	var states v1beta1.ConfigurationStateList
	product.Must(t, product.Until(ctx, "the controller and three speakers to report", func() (bool, error) {
		if err := p.List(ctx, &states, client.InNamespace("metallb-system")); err != nil {
			return false, err
		}
		names := []string{}
		for _, s := range states.Items {
			speaker := strings.HasPrefix(s.Name, "speaker-")
			if s.Status.Result == v1beta1.ConfigurationValid && (!speaker || slices.Contains(s.Status.Subnets, "172.30.0.0/24")) {
				names = append(names, s.Name)
			}
		}
		slices.Sort(names)
		return slices.Equal(names, []string{"controller", "speaker-node1", "speaker-node2", "speaker-node3"}), fmt.Errorf("valid, with subnets: %v", names)
	}))
	out, err := p.Kubectl(ctx, "get", "configurationstates", "-n", "metallb-system")
	product.Must(t, err)
	t.Logf("\n%s", out)

	pool := func(name, addresses string) string {
		return fmt.Sprintf("apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: %s, namespace: metallb-system}\nspec: {addresses: [%s]}\n", name, addresses)
	}
	advertisement := "---\napiVersion: metallb.io/v1beta1\nkind: BGPAdvertisement\nmetadata: {name: routed, namespace: metallb-system}\nspec: {ipAddressPools: [routed]}\n"
	for name, odd := range map[string]struct {
		manifest string
		says     []string
	}{
		"a pool with a node's address":                      {pool("greedy", "172.30.0.10-172.30.0.12"), []string{"172.30.0.11", "node1"}},
		"a pool for BGP alone inside the nodes' own subnet": {pool("routed", "172.30.0.64/28") + advertisement, []string{"172.30.0.0/24"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() {
				if _, err := p.KubectlInput(ctx, odd.manifest, "delete", "--ignore-not-found", "-f", "-"); err != nil {
					t.Error(err)
				}
			})
			_, err := p.KubectlInput(ctx, odd.manifest, "apply", "-f", "-")
			product.Must(t, err)
			product.Must(t, product.Until(product.Within(t, 15*time.Second), "the controller to warn", func() (bool, error) {
				state := &v1beta1.ConfigurationState{}
				if err := p.Get(ctx, client.ObjectKey{Namespace: "metallb-system", Name: "controller"}, state); err != nil {
					return false, err
				}
				i := slices.IndexFunc(state.Status.Warnings, func(w string) bool {
					return !slices.ContainsFunc(odd.says, func(text string) bool { return !strings.Contains(w, text) })
				})
				if i >= 0 {
					t.Log(state.Status.Warnings[i])
				}
				return i >= 0 && state.Status.Result == v1beta1.ConfigurationValid, fmt.Errorf("%s, warnings %q", state.Status.Result, state.Status.Warnings)
			}))
		})
	}
}
