package metallb

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/rollout"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What each ServiceAccount may do, as `kubectl auth can-i --list` says it, in each namespace that matters; without what
// every ServiceAccount may. Every right that is added or lost shows here.
func TestRightsAreAsTheGoldenFilesSay(t *testing.T) {
	c := newCluster(t)
	c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	c.play(t, m.Namespace, 1, 1, 1)
	for account, in := range map[string]string{"metallb-operator": operatorNamespace, render.Controller: m.Namespace, render.Speaker: m.Namespace} {
		t.Run(account, func(t *testing.T) {
			var got strings.Builder
			for _, at := range []struct{ what, namespace string }{
				{"any namespace", "default"}, {"the namespace of the MetalLB resource, besides", m.Namespace}, {"the operator's namespace, besides", operatorNamespace},
			} {
				mine := c.rules(t, serviceAccount(in, account), at.namespace)
				for _, had := range c.rules(t, serviceAccount("default", "nobody"), at.namespace) {
					mine = slices.DeleteFunc(mine, func(r string) bool { return r == had })
				}
				if at.namespace != "default" {
					for _, had := range c.rules(t, serviceAccount(in, account), "default") {
						mine = slices.DeleteFunc(mine, func(r string) bool { return r == had })
					}
				}
				fmt.Fprintf(&got, "# In %s:\n", at.what)
				for _, r := range mine {
					fmt.Fprintln(&got, r)
				}
			}
			golden := filepath.Join("testdata", "rights", account+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("differs from %s (-update writes it anew):\n%s", golden, diff)
			}
		})
	}
}

// rules asks the API server what an account may do in a namespace, a line for each resource, sorted.
func (c *cluster) rules(t *testing.T, as rest.ImpersonationConfig, namespace string) []string {
	t.Helper()
	config := rest.CopyConfig(c.admin)
	config.Impersonate = as
	cl, err := client.New(config, client.Options{Scheme: scheme()})
	if err != nil {
		t.Fatal(err)
	}
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	if err := cl.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	if review.Status.Incomplete {
		t.Fatalf("the API server does not know all: %s", review.Status.EvaluationError)
	}
	verbs := map[string][]string{}
	for _, r := range review.Status.ResourceRules {
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				name := resource
				if group != "" {
					resource, sub, _ := strings.Cut(resource, "/")
					name = strings.TrimSuffix(resource+"."+group+"/"+sub, "/")
				}
				if len(r.ResourceNames) > 0 {
					name += " named " + strings.Join(slices.Sorted(slices.Values(r.ResourceNames)), ", ")
				}
				verbs[name] = append(verbs[name], r.Verbs...)
			}
		}
	}
	for _, r := range review.Status.NonResourceRules {
		for _, url := range r.NonResourceURLs {
			verbs["path "+url] = append(verbs["path "+url], r.Verbs...)
		}
	}
	var lines []string
	for name, may := range verbs {
		slices.Sort(may)
		lines = append(lines, fmt.Sprintf("%s: %s", name, strings.Join(slices.Compact(may), " ")))
	}
	slices.SortFunc(lines, cmp.Compare)
	return lines
}
