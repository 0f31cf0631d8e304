// Package takeover tests the commands of docs/coming-from-metallb.md, as they are printed there, on a cluster of its own: what an
// installation of MetalLB leaves, made three ways, becomes ours, and Services keep their addresses.
package takeover

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

var (
	whole  = flag.Bool("whole", false, "also take over from MetalLB's own operator")
	shared lab.Shared
)

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// The ways, one after the other, on one cluster.
func TestTakingOverFromMetalLB(t *testing.T) {
	helm := product.Helm(t)
	p, err := product.On(shared.Cluster(t))
	product.Must(t, err)
	product.Must(t, p.LoadImage(t.Context(), p.Image()))
	_, err = p.Kubectl(product.Within(t, patience), "apply", "-n", "default", "-f", "testdata/web.yaml")
	product.Must(t, err)
	for _, kind := range []string{"manifest", "operator", "helm"} {
		if kind == "operator" && !*whole {
			continue
		}
		if !t.Run(kind, func(t *testing.T) {
			c := &cluster{p, t, helm, kind}
			t.Cleanup(func() {
				if t.Failed() {
					c.dump()
				}
			})
			c.former()
			before := c.inherited()
			if kind == "helm" {
				c.refusesAnUpgrade()
			}
			c.takeOver()
			c.answers()
			c.reviews()
			c.migrated()
			c.nothingIsLeft()
			if now := c.inherited(); !slices.Equal(now, before) {
				t.Errorf("the configuration was %v and is %v", before, now)
			}
			if kind != "helm" { // the last one
				c.clean()
			}
		}) {
			return // what this one left would fail the next
		}
	}
}

// takeOver runs the page's commands.
func (c *cluster) takeOver() {
	c.t.Helper()
	scripts, err := steps(c.kind)
	product.Must(c.t, err)
	for i, script := range scripts {
		start := time.Now()
		if i == len(scripts)-1 { // the change itself is the last block's first command
			change, rest, _ := strings.Cut(script, "\n")
			c.shell(change)
			answer, err := c.Answer(product.Within(c.t, patience), lab.Client, "tcp", netip.AddrPortFrom(given, 80))
			product.Must(c.t, err)
			c.t.Logf("%s answers %s after the command that ends the former speakers was given: %q", given, time.Since(start).Round(10*time.Millisecond), answer)
			script = rest
		}
		c.shell(script)
		c.t.Logf("block %d of %d took %s", i+1, len(scripts), time.Since(start).Round(10*time.Millisecond))
	}
}

// answers: the Service has the address that it had, one node announces it, and the backend is there.
func (c *cluster) answers() {
	c.t.Helper()
	ctx := product.Within(c.t, patience)
	service := &corev1.Service{}
	product.Must(c.t, c.Get(ctx, client.ObjectKey{Namespace: "default", Name: "web"}, service))
	if got := service.Status.LoadBalancer.Ingress; len(got) != 1 || got[0].IP != given.String() {
		c.t.Errorf("the Service's status has %+v, it had %s", got, given)
	}
	if pool := service.Annotations["metallb.io/ip-allocated-from-pool"]; pool != "office" {
		c.t.Errorf("the address is said to be from the pool %q", pool)
	}
	node, _, err := c.Announcer(ctx, given)
	product.Must(c.t, err)
	answer, err := c.Answer(ctx, lab.Client, "tcp", netip.AddrPortFrom(given, 80))
	product.Must(c.t, err)
	if !strings.HasPrefix(answer, "tcp pod=web-") {
		c.t.Errorf("the answer is %q", answer)
	}
	c.t.Logf("%s announces %s", node, given)
}

// reviews: a good pool is made and a bad one refused by our operator, so no webhook of old is asked.
func (c *cluster) reviews() {
	c.t.Helper()
	ctx := product.Within(c.t, patience)
	_, err := c.Kubectl(ctx, "apply", "-f", "testdata/new-pool.yaml")
	product.Must(c.t, err)
	if _, err := c.Kubectl(ctx, "apply", "-f", "testdata/rival-pool.yaml"); err == nil || !strings.Contains(err.Error(), "overlaps") {
		c.t.Errorf("a pool that overlaps another: %v", err)
	}
	c.kubectl("delete", "-f", "testdata/new-pool.yaml")
}

// migrated waits until nothing is stored in an older version, and reads the peer in both.
func (c *cluster) migrated() {
	c.t.Helper()
	ctx := product.Within(c.t, patience)
	start := time.Now()
	for crd, want := range map[string]string{"bgppeers.metallb.io": `["v1beta2"]`, "addresspools.metallb.io": `["v1beta1"]`} {
		product.Must(c.t, product.Until(ctx, crd+" to be migrated", func() (bool, error) {
			got, err := c.Kubectl(ctx, "get", "crd", crd, "-o", "jsonpath={.status.storedVersions}")
			return got == want, errOr(err, "the stored versions are "+got)
		}))
	}
	c.t.Logf("nothing was stored in an older version %s later", time.Since(start).Round(10*time.Millisecond))
	for _, version := range []string{"v1beta1", "v1beta2"} {
		if got := c.kubectl("get", "bgppeers."+version+".metallb.io", "router", "-n", namespace, "-o", "jsonpath={.spec.peerASN} {.spec.holdTime}"); got != "64513 " {
			c.t.Errorf("the BGPPeer in %s says %q, and 0s means unset", version, got)
		}
	}
}

// nothingIsLeft of the former installation, and what is there under names of old is ours.
func (c *cluster) nothingIsLeft() {
	c.t.Helper()
	scripts, err := steps("bindings")
	product.Must(c.t, err)
	if left := c.shell(scripts[0]); left != "" {
		c.t.Errorf("bindings are left:\n%s", left)
	}
	out := c.kubectl("get", "deployments,daemonsets,pods,services,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies", "-n", namespace, "-o", "name")
	out += c.kubectl("get", "clusterroles,clusterrolebindings,validatingwebhookconfigurations", "-o", "name")
	for _, name := range strings.Fields(out) {
		_, short, _ := strings.Cut(name, "/")
		former := strings.HasPrefix(short, "metallb-system:") || slices.Contains([]string{"metallb-excludel2", "metallb-memberlist", "pod-lister", "default-deny", "metallb-operator-webhook-server",
			"metallb-operator-webhook-service", "metallb-operator-webhook-configuration"}, short)
		if c.kind == "helm" {
			former = former || strings.HasPrefix(name, "pod/"+release+"-speaker-") || slices.Contains([]string{"daemonset.apps/metallb-speaker", "deployment.apps/metallb-controller",
				"serviceaccount/metallb-speaker", "serviceaccount/metallb-controller", "rolebinding.rbac.authorization.k8s.io/metallb-pod-lister"}, name)
		}
		if former {
			c.t.Errorf("%s is left", name)
		}
	}
	hooks := c.kubectl("get", "validatingwebhookconfigurations", "metallb-webhook-configuration", "-o", "jsonpath={.webhooks[*].name}")
	if got := strings.Fields(hooks); len(got) < 8 || slices.Contains(got, "bgppeervalidationwebhook.metallb.io") {
		c.t.Errorf("the webhooks are %v", got)
	}
	secret := c.kubectl("get", "secret", "memberlist", "-n", namespace, "-o", "jsonpath={.data.secretkey}")
	if kept := secret == formerKey; kept != (c.kind != "helm") { // under Helm it had another name
		c.t.Errorf("that the gossip's key is the former one is %t", kept)
	}
	for _, o := range []string{"deployment/controller", "daemonset/speaker"} {
		image := c.kubectl("get", o, "-n", namespace, "-o", "jsonpath={.spec.template.spec.containers[*].image}")
		if strings.Contains(image, "echo") {
			c.t.Errorf("%s runs %s", o, image)
		}
	}
	metallb := &v1beta1.MetalLBList{}
	product.Must(c.t, c.List(c.t.Context(), metallb))
	if len(metallb.Items) != 1 {
		c.t.Errorf("there are %d MetalLB resources", len(metallb.Items))
	}
	product.Must(c.t, c.WaitAvailable(product.Within(c.t, patience), namespace))
}

// refusesAnUpgrade: who upgrades MetalLB's release to our chart is told, and loses nothing.
func (c *cluster) refusesAnUpgrade() {
	c.t.Helper()
	out, err := c.tryShell("helm upgrade --reset-values " + release + " charts/metallb -n " + namespace)
	if err == nil || !strings.Contains(out, "would delete them, and with them all pools") {
		c.t.Fatalf("an upgrade of MetalLB's release to this chart: %v\n%s", err, out)
	}
	if got := c.inherited(); len(got) != 2 {
		c.t.Errorf("after it there are %v", got)
	}
}

func errOr(err error, text string) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%s", text)
}
