// Package helm tests the chart on a cluster of its own, as Helm's users know it: the setup of aerOS, in the namespace
// default.
package helm

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

const (
	namespace = "default"
	release   = "metallb"
	// patience is far above what is measured: a slow machine is no reason to fail.
	patience = 2 * time.Minute
)

var (
	shared  lab.Shared
	ingress = netip.MustParseAddr("172.30.0.214") // the one address of aeros/pool.yaml
)

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// chart is the chart on a cluster.
type chart struct {
	*product.Product
	t    *testing.T
	helm string
}

// The release's life: install, use, test, upgrade, an upgrade that is refused, rollback, uninstall, and once more.
func TestLifeWithHelm(t *testing.T) {
	helm := product.Helm(t)
	p, err := product.On(shared.Cluster(t))
	product.Must(t, err)
	c := &chart{p, t, helm}
	t.Cleanup(func() {
		if t.Failed() {
			c.dump()
		}
	})
	product.Must(t, p.LoadImage(t.Context(), p.Image()))
	before := c.everything()
	c.install()
	c.aeros()
	c.tested()
	c.upgrade()
	c.refused()
	c.rollback()
	c.uninstall(before)
	c.installAgain()
}

// run runs Helm and returns what it printed.
func (c *chart) run(args ...string) (string, error) {
	c.t.Helper()
	start := time.Now()
	cmd := exec.CommandContext(product.Within(c.t, patience), c.helm, args...)
	home := c.t.TempDir()
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	c.t.Logf("helm %s: %s", strings.Join(args, " "), time.Since(start).Round(10*time.Millisecond))
	if err != nil {
		err = fmt.Errorf("helm %s: %w: %s%s", args[0], err, said.String(), out.String())
	}
	return out.String() + said.String(), err
}

// dir is the chart's directory.
func (c *chart) dir() string {
	root, err := product.Root()
	product.Must(c.t, err)
	return filepath.Join(root, "charts", "metallb")
}

func (c *chart) install() {
	start := time.Now()
	out, err := c.run("install", release, c.dir())
	product.Must(c.t, err)
	c.t.Log(out)
	product.Must(c.t, c.WaitAvailable(product.Within(c.t, patience), namespace))
	c.t.Logf("the load balancer is Available %s after helm install was called", time.Since(start).Round(10*time.Millisecond))
}

// aeros makes the user's pool and ingress, which answers at the one address there is.
func (c *chart) aeros() {
	ctx := product.Within(c.t, patience)
	product.Must(c.t, c.Apply(ctx, namespace, "aeros/pool.yaml", "../helm/testdata/ingress.yaml", "../helm/testdata/peer.yaml"))
	product.Must(c.t, c.WaitRollout(ctx, namespace, "ingress"))
	c.answers()
}

func (c *chart) answers() {
	c.t.Helper()
	ctx := product.Within(c.t, patience)
	address, err := c.Address(ctx, namespace, "ingress")
	product.Must(c.t, err)
	if address != ingress {
		c.t.Errorf("the ingress has the address %s", address)
	}
	node, _, err := c.Announcer(ctx, address)
	product.Must(c.t, err)
	answer, err := c.Answer(ctx, lab.Client, "tcp", netip.AddrPortFrom(address, 80))
	product.Must(c.t, err)
	if !strings.HasPrefix(answer, "tcp pod=ingress-") {
		c.t.Errorf("the answer %q is not that of the ingress", answer)
	}
	c.t.Logf("%s announces %s, and the answer is %q", node, address, answer)
}

// tested is helm test.
func (c *chart) tested() {
	start := time.Now()
	out, err := c.run("test", release)
	product.Must(c.t, err)
	c.t.Log(out)
	if took := time.Since(start); took > time.Minute {
		c.t.Errorf("helm test took %s", took)
	}
}

// upgrade changes values, which reach the workloads; the CRDs are not written, nobody's conversion is lost.
func (c *chart) upgrade() {
	crd := c.kubectl("get", "crd", "bgppeers.metallb.io", "-o", "jsonpath={.metadata.resourceVersion} {.spec.conversion.strategy}")
	_, err := c.run("upgrade", release, c.dir(), "--set", "speaker.logLevel=debug", "--set", "controller.podAnnotations.tried=yes")
	product.Must(c.t, err)
	c.runs("--log-level=debug", "yes")
	if now := c.kubectl("get", "crd", "bgppeers.metallb.io", "-o", "jsonpath={.metadata.resourceVersion} {.spec.conversion.strategy}"); now != crd || !strings.HasSuffix(now, " Webhook") {
		c.t.Errorf("the CRD of BGPPeer was at %q and is at %q", crd, now)
	}
	c.answers()
}

// runs waits until both workloads run with the level and the annotation.
func (c *chart) runs(level, annotation string) {
	c.t.Helper()
	ctx := product.Within(c.t, patience)
	start := time.Now()
	product.Must(c.t, product.Until(ctx, "the workloads to change", func() (bool, error) {
		controller, speaker := &appsv1.Deployment{}, &appsv1.DaemonSet{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "controller"}, controller); err != nil {
			return false, err
		}
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "speaker"}, speaker); err != nil {
			return false, err
		}
		args := speaker.Spec.Template.Spec.Containers[0].Args
		return slices.Contains(args, level) && controller.Spec.Template.Annotations["tried"] == annotation,
			fmt.Errorf("the speaker has %v, the controller %v", args, controller.Spec.Template.Annotations)
	}))
	product.Must(c.t, c.WaitAvailable(ctx, namespace))
	c.t.Logf("all of the workloads have %s %s later", level, time.Since(start).Round(10*time.Millisecond))
}

// refused is a value that only the API server can judge: Helm's error says why, and nothing has changed.
func (c *chart) refused() {
	generation := c.kubectl("get", "metallb", "metallb", "-n", namespace, "-o", "jsonpath={.metadata.generation}")
	out, err := c.run("upgrade", release, c.dir(), "--set", "metallb.spec.logLevel=loud")
	if err == nil || !strings.Contains(err.Error(), "spec.logLevel: Unsupported value") {
		c.t.Errorf("a log level that does not exist: %v\n%s", err, out)
	}
	c.t.Log(err)
	if now := c.kubectl("get", "metallb", "metallb", "-n", namespace, "-o", "jsonpath={.metadata.generation}"); now != generation {
		c.t.Errorf("the resource has generation %s, before %s", now, generation)
	}
}

// rollback goes back to how it was installed.
func (c *chart) rollback() {
	_, err := c.run("rollback", release, "1")
	product.Must(c.t, err)
	c.runs("--log-level=info", "")
	c.answers()
}

// uninstall leaves the CRDs and what the user made, readable in each version.
func (c *chart) uninstall(before []string) {
	_, err := c.run("uninstall", release)
	product.Must(c.t, err)
	start := time.Now()
	may := []string{"default/IPAddressPool/first-pool", "default/L2Advertisement/default", "default/BGPPeer/router",
		"default/Deployment/ingress", "default/Service/ingress", "default/Endpoints/ingress"}
	clusterIP := c.kubectl("get", "service", "ingress", "-n", namespace, "-o", "jsonpath={.spec.clusterIP}")
	left := func() (names []string) {
		for _, n := range c.everything() {
			ours := strings.HasPrefix(n, "CustomResourceDefinition/") || strings.HasPrefix(n, "default/Pod/ingress-") ||
				strings.HasPrefix(n, "default/ReplicaSet/ingress-") || strings.HasPrefix(n, "default/EndpointSlice/ingress-") || strings.HasPrefix(n, "APIService/") || n == "IPAddress/"+clusterIP
			if !ours && !slices.Contains(may, n) && !slices.Contains(before, n) {
				names = append(names, n)
			}
		}
		return names
	}
	// The garbage collector may still be at it.
	product.Must(c.t, product.Until(product.Within(c.t, 20*time.Second), "everything else to go", func() (bool, error) {
		names := left()
		return len(names) == 0, fmt.Errorf("left: %v", names)
	}))
	c.t.Logf("nothing else was left %s after helm uninstall returned", time.Since(start).Round(10*time.Millisecond))
	for _, version := range []string{"v1beta1", "v1beta2"} {
		if got := c.kubectl("get", "bgppeers."+version+".metallb.io", "router", "-n", namespace, "-o", "jsonpath={.spec.peerASN}"); got != "64513" {
			c.t.Errorf("the BGPPeer read in %s has ASN %q", version, got)
		}
	}
	if got := c.kubectl("get", "crd", "bgppeers.metallb.io", "-o", "jsonpath={.spec.conversion}"); got != `{"strategy":"None"}` {
		c.t.Errorf("the conversion that is left is %s", got)
	}
	if got := c.kubectl("get", "ipaddresspool", "first-pool", "-n", namespace, "-o", "jsonpath={.spec.addresses[0]}"); got != "172.30.0.214-172.30.0.214" {
		c.t.Errorf("the pool that is left has %s", got)
	}
	c.kubectl("annotate", "ipaddresspool", "first-pool", "-n", namespace, "touched=yes") // nobody is asked who is gone
}

// installAgain finds everything as it was.
func (c *chart) installAgain() {
	c.install()
	c.answers()
	peer := &v1beta1.BGPPeer{}
	product.Must(c.t, c.Get(c.t.Context(), client.ObjectKey{Namespace: namespace, Name: "router"}, peer))
	if peer.Spec.ASN != 64513 || peer.Spec.Address != "172.30.0.1" {
		c.t.Errorf("the BGPPeer is %+v", peer.Spec)
	}
}

func (c *chart) everything() []string {
	c.t.Helper()
	names, err := c.Everything(product.Within(c.t, patience))
	product.Must(c.t, err)
	return names
}

func (c *chart) kubectl(args ...string) string {
	c.t.Helper()
	out, err := c.Kubectl(product.Within(c.t, patience), args...)
	product.Must(c.t, err)
	return out
}

// dump logs what a person would look at first.
func (c *chart) dump() {
	c.Dump(c.t,
		[]string{"get", "nodes,metallb,pods,jobs,svc,ipaddresspools.metallb.io,l2advertisements.metallb.io", "-A", "-o", "wide"},
		[]string{"get", "metallb", "-A", "-o", "yaml"},
		[]string{"get", "events", "-A", "--sort-by=.lastTimestamp"},
		[]string{"logs", "-n", namespace, "-l", "control-plane=controller-manager", "--tail=40"},
		[]string{"logs", "-n", namespace, "-l", "app.kubernetes.io/name=metallb-chart", "--tail=40", "--prefix"},
		[]string{"logs", "-n", namespace, "-l", "app=metallb,component=controller", "--tail=40"},
	)
}
