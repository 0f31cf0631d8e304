package takeover

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/test/e2e/product"
)

const (
	namespace = "metallb-system"
	release   = "metallb"
	// patience is far above what is measured: a slow machine is no reason to fail.
	patience = 2 * time.Minute
)

var (
	// given is the address that the former installation gave: not the first of the pool, so that nobody gets it by chance.
	given = netip.MustParseAddr("172.30.0.157")
	// formerKey is that of the former gossip, as a Secret shows it.
	formerKey = twice("a key of the gossip that stays")
)

func twice(text string) string {
	once := base64.StdEncoding.EncodeToString([]byte(text))
	return base64.StdEncoding.EncodeToString([]byte(once))
}

// cluster is a cluster with an installation of MetalLB of some kind, and then with ours.
type cluster struct {
	*product.Product
	t          *testing.T
	helm, kind string
}

// former installs what stands for MetalLB: first as of years ago, when the configuration was made and stored in the versions of then,
// and then as of today. The Service gets its address, and the pods run.
func (c *cluster) former() {
	c.t.Helper()
	ctx := product.Within(c.t, patience)
	product.Must(c.t, c.Namespace(ctx, namespace))
	c.kubectl("label", "namespace", namespace, "--overwrite", "pod-security.kubernetes.io/enforce=privileged")
	c.install("old=true")
	c.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
	c.kubectl("apply", "-f", "testdata/configuration.yaml")
	owner := ""
	if c.kind == "operator" {
		c.input("apiVersion: metallb.io/v1beta1\nkind: MetalLB\nmetadata: {name: metallb, namespace: "+namespace+"}\nspec: {logLevel: debug}\n", "apply", "-f", "-")
		owner = c.kubectl("get", "metallb", "metallb", "-n", namespace, "-o", "jsonpath={.metadata.uid}")
	}
	c.install("old=false,owner=" + owner + ",caBundle=" + authority(c.t))
	if got := c.kubectl("get", "crd", "bgppeers.metallb.io", "-o", "jsonpath={.status.storedVersions}"); got != `["v1beta1","v1beta2"]` {
		c.t.Fatalf("BGPPeers are stored in %s", got)
	}
	c.kubectl("patch", "service", "web", "-n", "default", "--subresource=status", "--type=merge",
		"-p", `{"status": {"loadBalancer": {"ingress": [{"ip": "`+given.String()+`", "ipMode": "VIP"}]}}}`)
	for _, o := range []string{"daemonset/" + c.prefix() + "speaker", "deployment/" + c.prefix() + "controller"} {
		c.kubectl("rollout", "status", o, "-n", namespace, "--timeout=60s")
	}
	if _, err := c.Kubectl(ctx, "apply", "-f", "testdata/new-pool.yaml"); err == nil {
		c.t.Error("a pool is made though the webhooks of old are dead: the test tests nothing")
	}
}

func (c *cluster) prefix() string {
	if c.kind == "helm" {
		return release + "-"
	}
	return ""
}

// install applies the chart in testdata: by Helm, or with kubectl.
func (c *cluster) install(values string) {
	c.t.Helper()
	chart := "test/e2e/takeover/testdata/former --namespace " + namespace + " --set kind=" + c.kind + "," + values
	if c.kind == "helm" {
		c.shell("helm upgrade --install " + release + " " + chart)
		return
	}
	c.shell("helm template " + release + " " + chart + " | kubectl apply -f -")
}

// authority is a certificate whose key is thrown away, in PEM and base64.
func authority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	product.Must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	product.Must(t, err)
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// inherited is the configuration by its UIDs, as far as it can be read with a dead conversion: nothing is deleted and made again.
func (c *cluster) inherited() []string {
	c.t.Helper()
	uids := c.kubectl("get", "ipaddresspools,l2advertisements", "-n", namespace, "-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name}={.metadata.uid}{"\n"}{end}`)
	return strings.Fields(uids)
}

// shell runs a script from the project's directory, as a user does, and returns what it prints.
func (c *cluster) shell(script string) string {
	c.t.Helper()
	out, err := c.tryShell(script)
	if err != nil {
		c.t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	return out
}

func (c *cluster) tryShell(script string) (string, error) {
	c.t.Helper()
	root, err := product.Root()
	product.Must(c.t, err)
	ctx := product.Within(c.t, patience)
	kubectl := c.KubectlCommand(ctx)
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = root
	home := c.t.TempDir()
	cmd.Env = append(kubectl.Env, "PATH="+strings.Join([]string{filepath.Dir(kubectl.Path), filepath.Dir(c.helm), os.Getenv("PATH")}, ":"),
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.String() + said.String(), fmt.Errorf("bash: %w", err)
	}
	return out.String(), nil
}

// clean removes ours, with the CRDs, for the next kind. The namespace stays.
func (c *cluster) clean() {
	c.t.Helper()
	start := time.Now()
	product.Must(c.t, c.DeleteMetalLB(product.Within(c.t, patience), namespace))
	c.kubectl("delete", "deployments", "--all", "-n", namespace, "--cascade=foreground") // an operator that still ran would make its Secret again
	c.kubectl("delete", "poddisruptionbudgets,leases,services,secrets,networkpolicies,serviceaccounts,roles,rolebindings", "--all", "-n", namespace)
	c.kubectl("delete", "clusterroles,clusterrolebindings,validatingwebhookconfigurations", "-l", "app.kubernetes.io/name=metallb-operator")
	c.shell("kubectl delete $(kubectl get crd -o name)")
	c.t.Logf("removed in %s", time.Since(start).Round(10*time.Millisecond))
}

func (c *cluster) kubectl(args ...string) string {
	c.t.Helper()
	return c.input("", args...)
}

func (c *cluster) input(stdin string, args ...string) string {
	c.t.Helper()
	out, err := c.KubectlInput(product.Within(c.t, patience), stdin, args...)
	product.Must(c.t, err)
	return out
}

// dump logs what a person would look at first.
func (c *cluster) dump() {
	c.Dump(c.t,
		[]string{"get", "metallb,pods,svc,daemonsets,deployments,ipaddresspools.metallb.io,l2advertisements.metallb.io", "-A", "-o", "wide"},
		[]string{"get", "metallb", "-A", "-o", "yaml"},
		[]string{"get", "events", "-A", "--sort-by=.lastTimestamp"},
		[]string{"logs", "-n", namespace, "-l", "control-plane=controller-manager", "--tail=40"},
		[]string{"logs", "-n", namespace, "-l", "app=metallb,component=speaker", "--tail=20", "--prefix"},
		[]string{"logs", "-n", namespace, "-l", "app.kubernetes.io/name=metallb-chart", "--tail=20", "--prefix"},
	)
}
