package kubectl

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"metallb.io/operator/test/e2e/product"
)

// bound is within what time everything that is deleted is gone, on a slow machine too.
const bound = time.Minute

// theUsers are what users made, or what comes and goes with it: patterns of what [product.Product.Everything] says.
const theUsers = `default/(IPAddressPool/first-pool|L2Advertisement/default|BGPPeer/router)|` +
	`default/(Deployment|ReplicaSet|Pod|Service|Endpoints|EndpointSlice)/ingress.*|IPAddress/.*|Node/.*|CSINode/.*|kube-node-lease/.*`

// theCRDs are the kinds of metallb.io.
const theCRDs = `(CustomResourceDefinition/\w+\.metallb\.io|APIService/v1\w+\.metallb\.io)`

// removedInOrder tries each order in which an installation can be removed. Nothing hangs, and nothing is left but what is said.
func (m *manifests) removedInOrder(before []string) {
	m.resourceFirst(before)
	m.operatorFirst(before)
	m.namespaceFirst(before)
	m.allAtOnce(before)
}

// keepCRDs leaves the CRDs, and with them what users made, out of a deletion.
var keepCRDs = []string{"-l", "app.kubernetes.io/component!=crd"}

func (m *manifests) resourceFirst(before []string) {
	m.t.Helper()
	start := time.Now()
	m.must(m.DeleteMetalLB(m.within(bound), "default"))
	m.kubectl(append([]string{"delete", "-k", m.dir}, keepCRDs...)...)
	m.left("the resource and then the operator", start, before, theUsers+"|"+theCRDs)
	if address := m.kubectl("get", "service", "ingress", "-n", "default", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}"); address != ingress.String() {
		m.t.Errorf("the Service's address is %q: it is to keep the one that it will be given again", address)
	}
}

// operatorFirst: the load balancer serves on without its operator, and goes when its resource does.
func (m *manifests) operatorFirst(before []string) {
	m.t.Helper()
	m.again()
	start := time.Now()
	m.kubectl(append([]string{"delete", "-k", m.dir}, keepCRDs...)...)
	m.must(product.Until(m.within(bound), "the operator to go", func() (bool, error) {
		out, err := m.Kubectl(m.t.Context(), "get", "pods", "-n", "default", "-l", "control-plane=controller-manager", "-o", "name")
		return err == nil && out == "", fmt.Errorf("%s is left: %w", out, err)
	}))
	m.answers()
	m.kubectl("delete", "metallb", "metallb", "-n", "default")
	m.left("the operator and then the resource", start, before, theUsers+"|"+theCRDs)
}

// namespaceFirst deletes the namespace that holds all of it.
func (m *manifests) namespaceFirst(before []string) {
	m.t.Helper()
	root, err := product.Root()
	m.must(err)
	file := filepath.Join(root, "dist", "install.yaml")
	m.kubectl("apply", "-f", file)
	m.kubectl("rollout", "status", "-n", "metallb-system", "deployment/metallb-operator-controller-manager", "--timeout=60s")
	m.must(m.Apply(m.within(patience), "metallb-system", "aspera/metallb.yaml"))
	m.must(m.WaitAvailable(m.within(patience), "metallb-system"))
	start := time.Now()
	m.kubectl("delete", "namespace", "metallb-system")
	m.left("the namespace", start, before, theUsers+"|"+theCRDs+"|ClusterRole/metallb-.*|ClusterRoleBinding/metallb-operator")
	m.kubectl("annotate", "ipaddresspool", "first-pool", "-n", "default", "touched=yes") // nobody is asked who is gone
	m.kubectl("delete", "--ignore-not-found", "-f", file, keepCRDs[0], keepCRDs[1])
	m.left("the namespace and then the rest", start, before, theUsers+"|"+theCRDs)
}

// allAtOnce deletes the CRDs with the operator, and so the users' resources too.
func (m *manifests) allAtOnce(before []string) {
	m.t.Helper()
	m.again()
	start := time.Now()
	m.kubectl("delete", "-k", m.dir)
	m.left("all of it, with the CRDs", start, before, strings.Replace(theUsers, `default/(IPAddressPool/first-pool|L2Advertisement/default|BGPPeer/router)|`, "", 1))
}

// again installs it as it was, and finds the Service's address as it was.
func (m *manifests) again() {
	m.t.Helper()
	m.apply("")
	m.must(m.Apply(m.within(patience), "default", "aeros/metallb.yaml"))
	m.must(m.WaitAvailable(m.within(patience), "default"))
	m.answers()
}

// left waits until nothing is left that was not there before, but what may be.
func (m *manifests) left(of string, since time.Time, before []string, may string) {
	m.t.Helper()
	allowed := regexp.MustCompile("^(" + may + ")$")
	ctx := m.within(bound)
	var names []string // as last seen
	m.must(product.Until(ctx, "the rest to go after "+of, func() (bool, error) {
		all, err := m.Everything(ctx)
		if err == nil {
			names = slices.DeleteFunc(all, func(n string) bool { return allowed.MatchString(n) || slices.Contains(before, n) })
		}
		return err == nil && len(names) == 0, fmt.Errorf("left: %v", names)
	}))
	m.t.Logf("removed %s: nothing else is left %s after the first command", of, time.Since(since).Round(10*time.Millisecond))
}
