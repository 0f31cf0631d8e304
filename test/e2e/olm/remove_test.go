package olm

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// kinds are what an operator's installation is made of, cluster-wide and in namespaces.
var kinds = []string{
	"customresourcedefinitions,clusterroles,clusterrolebindings,validatingwebhookconfigurations,mutatingwebhookconfigurations,apiservices,priorityclasses,operators.operators.coreos.com",
	"deployments,daemonsets,pods,services,secrets,configmaps,serviceaccounts,roles,rolebindings,leases,networkpolicies,poddisruptionbudgets,clusterserviceversions,subscriptions,installplans,operatorgroups,operatorconditions",
}

// everything names the objects of the kinds: cluster-wide ones as kind/name, others as namespace/kind/name.
func everything(t *testing.T, o *OLM) (names []string) {
	t.Helper()
	for _, k := range kinds {
		out, err := o.Kubectl(t.Context(), "get", k, "-A", "-o", `jsonpath={range .items[*]}{.metadata.namespace}/{.kind}/{.metadata.name}{"\n"}{end}`)
		product.Must(t, err)
		for name := range strings.FieldsSeq(out) {
			names = append(names, strings.TrimPrefix(name, "/"))
		}
	}
	return names
}

// remove unsubscribes as OLM's users do. The load balancer serves on: it is the MetalLB resource's, which goes later.
func (l *life) remove(t *testing.T, installed version) {
	t.Helper()
	o := l.OLM
	ctx := product.Within(t, patience)
	start := time.Now()
	_, err := o.Kubectl(ctx, "delete", "subscription", subscription, "-n", operatorNamespace)
	product.Must(t, err)
	_, err = o.Kubectl(ctx, "delete", "csv", installed.csv, "-n", operatorNamespace)
	product.Must(t, err)
	product.Must(t, product.Until(ctx, "the operator and its webhooks to go", func() (bool, error) {
		out, err := o.Kubectl(ctx, "get", "deployments,pods,services,secrets,csv,installplans", "-n", operatorNamespace, "-o", "name")
		n := len(webhooks(t, o))
		return err == nil && out == "" && n == 0, fmt.Errorf("%d webhook configurations and %s: %w", n, strings.Fields(out), err)
	}))
	t.Logf("operator and webhooks are gone %s after Subscription and CSV were deleted", since(start))
	if last, err := l.history.Last(installed.csv); err != nil || last.Phase != gone {
		t.Errorf("the ClusterServiceVersion went without a word: %s, %v", last, err)
	}
	if _, err := o.Answer(ctx, lab.Client, "tcp", netip.AddrPortFrom(l.address, 33001)); err != nil {
		t.Errorf("without the operator the Service does not answer: %v", err)
	}
}

// remains are what may be left, by whose it is, as patterns of what [everything] says.
var remains = []struct{ whose, what string }{
	{"the user's", `(CustomResourceDefinition/\w+\.metallb\.io|APIService/v1\w+\.metallb\.io|default/.*|(metallb-system|my-metallb-operator)/(ConfigMap/kube-root-ca.crt|ServiceAccount/default))`},
	{"of the load balancer, cluster-wide, with nobody there to delete it", `ClusterRole(Binding)?/metallb-.*`},
	{"OLM's, of the CRDs: they go with them", `ClusterRole/\w+\.metallb\.io-v1\w+-(admin|edit|view|crdview)`},
	{"OLM's, of the OperatorGroup: they go with it", `(ClusterRole/olm\.og\.metallb-operator\..*|my-metallb-operator/OperatorGroup/.*)`},
	{"OLM's, of the catalog: they go with it", `olm/((ConfigMap|Job|Pod|Role|RoleBinding|ServiceAccount)/[0-9a-f]{20,}|(Pod|Service|ServiceAccount)/metallb).*`},
	{"OLM's, to be deleted by hand", `(Operator/metallb-operator\.my-metallb-operator|kube-system/RoleBinding/metallb-operator-controller-manager-service-auth-reader)`},
	{"Leases of replicas that ended", `(metallb-system/Lease/metallb-controller|my-metallb-operator/Lease/metallb-operator)`},
}

// left lists what was not there before and is now; there may be nothing that belongs to nobody.
func left(t *testing.T, o *OLM, before []string) {
	t.Helper()
	owned := map[string][]string{}
	for _, name := range everything(t, o) {
		if slices.Contains(before, name) {
			continue
		}
		whose := "nobody's"
		for _, r := range remains {
			if regexp.MustCompile("^(" + r.what + ")$").MatchString(name) {
				whose = r.whose
				break
			}
		}
		owned[whose] = append(owned[whose], name)
	}
	for whose, names := range owned {
		t.Logf("left, %s:\n%s", whose, strings.Join(names, " "))
	}
	if names := owned["nobody's"]; len(names) > 0 {
		t.Errorf("left of the operator: %v", names)
	}
}
