package e2e

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/test/e2e/product"
)

// Somebody deletes the speakers: the operator brings them back, and the address never has two owners.
func TestDeletedSpeakersComeBack(t *testing.T) {
	p, _, address := aspera(t)
	ctx := product.Within(t, 2*time.Minute)

	key := client.ObjectKey{Namespace: "metallb-system", Name: "speaker"}
	before := &appsv1.DaemonSet{}
	product.Must(t, p.Get(ctx, key, before))
	start := time.Now()
	out, err := p.Kubectl(ctx, "delete", "daemonset", "speaker", "-n", "metallb-system")
	product.Must(t, err)
	t.Log(strings.TrimSpace(out))
	product.Must(t, product.Until(ctx, "the DaemonSet to be back", func() (bool, error) {
		after := &appsv1.DaemonSet{}
		err := p.Get(ctx, key, after)
		return err == nil && after.UID != before.UID, err
	}))
	t.Logf("the DaemonSet was back %s after kubectl delete was called", time.Since(start).Round(time.Millisecond))
	product.Must(t, p.WaitAvailable(ctx, "metallb-system"))
	t.Logf("all speakers were ready after %s", time.Since(start).Round(time.Millisecond))
	node, _, err := p.Announcer(ctx, address)
	product.Must(t, err)
	t.Logf("%s announces %s", node, address)
}

// Under Pod Security "restricted" Kubernetes has nothing to say of the operator and the controller, and of the speaker just what
// it needs.
func TestOnlySpeakersNeedMoreThanRestricted(t *testing.T) {
	p := metallb(t, "metallb-system", "aspera/metallb.yaml")
	ctx := product.Within(t, time.Minute)
	warnings := func(namespace string) string {
		t.Helper()
		out, err := p.KubectlCommand(ctx, "label", "--dry-run=server", "--overwrite", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("%s: %s", namespace, strings.TrimSpace(string(out)))
		if !strings.Contains(string(out), "namespace/"+namespace+" labeled") {
			t.Errorf("that is not what was asked")
		}
		return string(out)
	}
	if out := warnings(product.OperatorNamespace); strings.Contains(out, "Warning") {
		t.Error("the operator's pod is not restricted")
	}
	var said []string
	for line := range strings.Lines(warnings("metallb-system")) {
		if pods, why, ok := strings.Cut(strings.TrimPrefix(line, "Warning: "), ": "); ok && !strings.HasPrefix(pods, "existing pods") {
			said = append(said, pods)
			if !strings.HasPrefix(pods, "speaker-") || strings.Contains(why, "seccompProfile") || strings.Contains(why, "allowPrivilegeEscalation") || strings.Contains(why, "privileged") {
				t.Errorf("%s: %s", pods, why)
			}
		}
	}
	if len(said) != 1 {
		t.Errorf("warnings of %v, not of the speakers alone", said)
	}
}

// The commands that users type, as they type them; and after the last one nothing is left.
func TestCommandsAsTyped(t *testing.T) {
	p := metallb(t, "metallb-system", "aspera/metallb.yaml")
	ctx := product.Within(t, 2*time.Minute)
	for _, args := range []string{"get metallb -n metallb-system", "get metallb metallb -n metallb-system"} {
		out, err := p.Kubectl(ctx, strings.Fields(args)...)
		product.Must(t, err)
		t.Logf("kubectl %s\n%s", args, out)
		for _, want := range []string{"NAME", "AVAILABLE", "DEGRADED", "PROGRESSING", "AGE", "metallb", "True"} {
			if !strings.Contains(out, want) {
				t.Errorf("kubectl %s prints no %s", args, want)
			}
		}
	}
	out, err := p.Kubectl(ctx, "delete", "metallb", "metallb", "-n", "metallb-system")
	product.Must(t, err)
	t.Log(strings.TrimSpace(out))
	product.Must(t, product.Until(ctx, "everything of the installation to go", func() (bool, error) {
		out, err := p.Kubectl(ctx, "get", "deployments,daemonsets,pods,serviceaccounts,roles,rolebindings,secrets,leases,services,configmaps,controllerrevisions",
			"-n", "metallb-system", "-o", "name")
		return left(out) == "", errOr(err, left(out))
	}))
	bindings := &rbacv1.ClusterRoleBindingList{}
	product.Must(t, p.List(ctx, bindings))
	for _, b := range bindings.Items {
		for _, s := range b.Subjects {
			if s.Namespace == "metallb-system" {
				t.Errorf("ClusterRoleBinding %s is left", b.Name)
			}
		}
	}
}

// left drops from kubectl's list what Kubernetes itself puts into every namespace.
func left(names string) string {
	var rest []string
	for n := range strings.FieldsSeq(names) {
		if n != "serviceaccount/default" && n != "configmap/kube-root-ca.crt" {
			rest = append(rest, n)
		}
	}
	return strings.Join(rest, " ")
}
