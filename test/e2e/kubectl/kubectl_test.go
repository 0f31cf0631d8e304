// Package kubectl tests the plain manifests on a cluster of its own, as those know them who install with kubectl: the setup
// of aerOS in the namespace default, upgrades under the eyes of its users, and every way to be rid of it again.
package kubectl

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// patience is far above what is measured: a slow machine is no reason to fail.
const patience = 2 * time.Minute

var (
	idle    = flag.Duration("idle", 15*time.Second, "how long nothing may be written while nothing changes")
	whole   = flag.Bool("whole", false, "also upgrade to a version whose controller does not come up, and go back from it")
	shared  lab.Shared
	ingress = netip.MustParseAddr("172.30.0.214") // the one address of aeros/pool.yaml
)

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// manifests are config/default, in a namespace that exists already, on a cluster.
type manifests struct {
	*product.Product
	t *testing.T
	// dir has the user's kustomization.
	dir string
}

// The life of an installation: install, use, upgrade, an upgrade that fails, back, idle, uninstall.
func TestLifeWithKubectl(t *testing.T) {
	m := start(t)
	before := m.everything()
	m.apply("")
	m.must(m.Apply(m.within(patience), "default", "aeros/metallb.yaml", "aeros/pool.yaml", "../helm/testdata/ingress.yaml", "../helm/testdata/peer.yaml"))
	m.must(m.WaitAvailable(m.within(patience), "default"))
	m.must(m.WaitRollout(m.within(patience), "default", "ingress"))
	m.answers()

	next := m.image("v0.1.1", product.Flaw{})
	m.upgrade(next, "v0.1.1")
	if *whole {
		m.flawed(m.image("v0.1.2", product.Flaw{Role: "controller", How: "exits"}), next)
	}
	m.operatorFlawed(m.image("v0.1.3", product.Flaw{Role: "operator", How: "exits"}), next)
	m.quiet()
	m.removedInOrder(before)
}

// start returns the manifests as a user's kustomization for the namespace default, on the shared cluster.
func start(t *testing.T) *manifests {
	t.Helper()
	p, err := product.On(shared.Cluster(t))
	m := &manifests{Product: p, t: t, dir: t.TempDir()}
	m.must(err)
	m.must(p.LoadImage(t.Context(), p.Image()))
	t.Cleanup(func() {
		if t.Failed() {
			m.dump()
		}
	})
	return m
}

// apply applies config/default with an image; an empty one is that of the manifests.
func (m *manifests) apply(image string) {
	m.t.Helper()
	start := time.Now()
	m.kustomization(image)
	m.kubectl("apply", "-k", m.dir)
	m.kubectl("rollout", "status", "-n", "default", "deployment/metallb-operator-controller-manager", "--timeout=60s")
	m.t.Logf("the operator is ready %s after kubectl apply was called", since(start))
}

// kustomization writes what README.md tells users to write. The namespace is there, and not ours to make or to delete.
func (m *manifests) kustomization(image string) {
	m.t.Helper()
	root, err := product.Root()
	m.must(err)
	base, err := filepath.Rel(m.dir, filepath.Join(root, "config", "default"))
	m.must(err)
	text := fmt.Sprintf("namespace: default\nresources: [%s]\npatches: [{target: {kind: Namespace}, patch: '{kind: Namespace, apiVersion: v1, metadata: {name: any}, $patch: delete}'}]\n", base)
	if image != "" {
		name, digest, _ := strings.Cut(image, "@")
		text += fmt.Sprintf("images: [{name: metallb.io/metallb, newName: %s, digest: '%s'}]\n", name, digest)
	}
	m.must(os.WriteFile(filepath.Join(m.dir, "kustomization.yaml"), []byte(text), 0o644))
}

func (m *manifests) image(version string, flaw product.Flaw) string {
	m.t.Helper()
	reference, err := m.AddVersion(m.within(patience), version, flaw)
	m.must(err)
	return reference
}

func (m *manifests) answers() {
	m.t.Helper()
	ctx := m.within(patience)
	address, err := m.Address(ctx, "default", "ingress")
	m.must(err)
	if address != ingress {
		m.t.Errorf("the ingress has the address %s", address)
	}
	for _, machine := range []string{lab.Client, lab.Remote} {
		answer, err := m.Answer(ctx, machine, "tcp", netip.AddrPortFrom(address, 80))
		m.must(err)
		if !strings.HasPrefix(answer, "tcp pod=ingress-") {
			m.t.Errorf("the answer %q is not that of the ingress", answer)
		}
	}
}

// everything names all objects, but what the cluster itself makes and removes on its own.
func (m *manifests) everything() []string {
	m.t.Helper()
	names, err := m.Everything(m.within(patience))
	m.must(err)
	return names
}

func (m *manifests) kubectl(args ...string) string {
	m.t.Helper()
	out, err := m.Kubectl(m.within(patience), args...)
	m.must(err)
	return out
}

// dump logs what a person would look at first.
func (m *manifests) dump() {
	m.Dump(m.t,
		[]string{"get", "nodes,metallb,pods,deployments,daemonsets,svc,ipaddresspools.metallb.io", "-A", "-o", "wide"},
		[]string{"get", "metallb", "-A", "-o", "yaml"},
		[]string{"get", "events", "-A", "--sort-by=.lastTimestamp"},
		[]string{"logs", "-n", "default", "-l", "control-plane=controller-manager", "--tail=40"},
		[]string{"logs", "-n", "default", "-l", "app=metallb,component=controller", "--tail=40"},
		[]string{"logs", "-n", "default", "-l", "app=metallb,component=speaker", "--tail=40", "--prefix"},
	)
}

func (m *manifests) within(d time.Duration) context.Context { return product.Within(m.t, d) }

func (m *manifests) must(errs ...error) {
	m.t.Helper()
	product.Must(m.t, errs...)
}

func since(start time.Time) time.Duration { return time.Since(start).Round(10 * time.Millisecond) }
