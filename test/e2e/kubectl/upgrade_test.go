package kubectl

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/test/e2e/product"
)

// told is within what time of the new operator's being ready the status says that its version does not come up.
const told = time.Minute

// upgrade brings everything to an image while users make their requests.
func (m *manifests) upgrade(image, version string) {
	m.t.Helper()
	users := m.Users(m.t.Context(), netip.AddrPortFrom(ingress, 80))
	time.Sleep(time.Second)
	start := time.Now()
	m.apply(image)
	m.upgraded(version)
	m.t.Logf("controller and speakers are of version %s, %s after kubectl apply was called", version, since(start))
	time.Sleep(2 * time.Second)
	m.served(users)
	controller, speaker := m.workloads()
	for _, got := range []string{controller.Spec.Template.Spec.Containers[0].Image, speaker.Spec.Template.Spec.Containers[0].Image} {
		if got != image {
			m.t.Errorf("a workload runs %s", got)
		}
	}
}

// upgraded waits until the operator of the version says that all is well.
func (m *manifests) upgraded(version string) {
	m.t.Helper()
	ctx := m.within(patience)
	m.must(product.Until(ctx, "version "+version, func() (bool, error) {
		cr := m.resource()
		return cr.Status.ObservedVersion == version, fmt.Errorf("it is %s", cr.Status.ObservedVersion)
	}))
	m.must(m.WaitAvailable(ctx, "default"))
	if degraded := meta.FindStatusCondition(m.resource().Status.Conditions, v1beta1.ConditionDegraded); degraded.Status != metav1.ConditionFalse {
		m.t.Errorf("Degraded: %s", degraded.Message)
	}
}

// flawed upgrades to an image whose controller does not come up. Nobody notices but who reads the status; going back to
// the image before heals it.
func (m *manifests) flawed(image, back string) {
	m.t.Helper()
	users := m.Users(m.t.Context(), netip.AddrPortFrom(ingress, 80))
	m.apply(image)
	start := time.Now()
	var degraded *metav1.Condition
	m.must(product.Until(m.within(patience), "the status to say what is wrong", func() (bool, error) {
		degraded = meta.FindStatusCondition(m.resource().Status.Conditions, v1beta1.ConditionDegraded)
		return degraded.Status == metav1.ConditionTrue, fmt.Errorf("Degraded is %s", degraded.Status)
	}))
	took := since(start)
	m.t.Logf("%s after that Degraded is True, %s: %s", took, degraded.Reason, degraded.Message)
	if took > told {
		m.t.Errorf("that is later than %s", told)
	}
	if !strings.Contains(degraded.Message, "CrashLoopBackOff") || !strings.Contains(degraded.Message, "The speakers keep their version") {
		m.t.Error("that does not say what is wrong")
	}
	if available := meta.FindStatusCondition(m.resource().Status.Conditions, v1beta1.ConditionAvailable); available.Status != metav1.ConditionTrue {
		m.t.Errorf("Available is %s: %s", available.Status, available.Message)
	}
	if _, speaker := m.workloads(); speaker.Spec.Template.Spec.Containers[0].Image != back || speaker.Status.NumberReady != 3 {
		m.t.Errorf("%d speakers are ready, of image %s", speaker.Status.NumberReady, speaker.Spec.Template.Spec.Containers[0].Image)
	}
	start = time.Now()
	m.apply(back)
	m.upgraded("v0.1.1")
	m.t.Logf("healed %s after kubectl apply was called with the image before", since(start))
	m.served(users)
}

// operatorFlawed upgrades to an image whose operator itself does not come up. The one before goes on: users are served, what
// is wrong is refused, what is deleted comes back.
func (m *manifests) operatorFlawed(image, back string) {
	m.t.Helper()
	users := m.Users(m.t.Context(), netip.AddrPortFrom(ingress, 80))
	m.kustomization(image)
	start := time.Now()
	m.kubectl("apply", "-k", m.dir)
	m.must(product.Until(m.within(patience), "the new operator to fail", func() (bool, error) {
		out := m.kubectl("get", "pods", "-n", "default", "-l", "control-plane=controller-manager", "-o",
			`jsonpath={range .items[*]}{.spec.containers[0].image} {.status.containerStatuses[0].ready} {.status.containerStatuses[0].state.waiting.reason}{"\n"}{end}`)
		return strings.Contains(out, image+" false CrashLoopBackOff") && strings.Contains(out, back+" true "), errors.New(out)
	}))
	m.t.Logf("%s after kubectl apply was called the pod of the new operator says CrashLoopBackOff, and the one before is ready", since(start))
	const bad = "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: bad, namespace: default}\nspec: {addresses: [172.30.0.214/32]}\n"
	if _, err := m.KubectlInput(m.within(patience), bad, "create", "-f", "-"); err == nil || !strings.Contains(err.Error(), "overlaps") {
		m.t.Errorf("a pool that overlaps another: %v", err)
	}
	_, speaker := m.workloads()
	m.kubectl("delete", "daemonset", "-n", "default", "speaker", "--cascade=orphan")
	m.must(product.Until(m.within(patience), "the speakers' DaemonSet to come back", func() (bool, error) {
		again := &appsv1.DaemonSet{}
		err := m.Get(m.t.Context(), client.ObjectKeyFromObject(speaker), again)
		return err == nil && again.UID != speaker.UID && again.Status.NumberReady == 3, err
	}))
	start = time.Now()
	m.apply(back)
	m.upgraded("v0.1.1")
	m.t.Logf("healed %s after kubectl apply was called with the image before", since(start))
	m.served(users)
}

// served ends the traffic, which nothing may have disturbed.
func (m *manifests) served(users *product.Traffic) {
	m.t.Helper()
	for machine, fared := range users.Stop() {
		m.t.Logf("%s: %s", machine, fared)
		if err := fared.Check(); err != nil {
			m.t.Errorf("%s %v", machine, err)
		}
	}
}

// quiet looks at everything that the operator writes, and at what it writes for, while nothing happens.
func (m *manifests) quiet() {
	m.t.Helper()
	versions := func() string {
		return m.kubectl("get", "metallbs,serviceaccounts,rolebindings,clusterrolebindings,deployments,daemonsets,networkpolicies,ipaddresspools.metallb.io,"+
			"configurationstates,services,validatingwebhookconfigurations,customresourcedefinitions", "-A", "-o",
			`jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}`)
	}
	// A Deployment's status counts its pods until the last one is gone.
	m.must(product.Until(m.within(patience), "the pods of before to be gone", func() (bool, error) {
		leaving := m.kubectl("get", "deployments", "-A", "-o", "jsonpath={.items[*].status.terminatingReplicas}")
		return strings.Trim(leaving, "0 ") == "", fmt.Errorf("terminating, of each Deployment: %s", leaving)
	}))
	before := versions()
	if n := strings.Count(before, "\n"); !strings.Contains(before, "MetalLB/default/metallb ") || n < 20 {
		m.t.Fatalf("too little to look at:\n%s", before)
	}
	time.Sleep(*idle)
	after := versions()
	if gone := strings.Count(before, "\n") - strings.Count(after, "\n"); gone > 0 {
		m.t.Errorf("%d objects are gone within %s though nothing happened: before\n%safter\n%s", gone, *idle, before, after)
	}
	for line := range strings.Lines(after) {
		if strings.Contains(before, line) {
			continue
		}
		object, _, _ := strings.Cut(line, " ")
		part := strings.Split(object, "/") // kind, namespace, which may be empty, and name
		m.t.Errorf("written within %s though nothing happened: %s%s", *idle, line,
			m.kubectl("get", part[0], "-n", part[1], part[2], "-o", "yaml", "--show-managed-fields"))
	}
	m.t.Logf("%d objects are as they were %s before", strings.Count(before, "\n"), *idle)
}

func (m *manifests) resource() *v1beta1.MetalLB {
	m.t.Helper()
	cr := &v1beta1.MetalLB{}
	m.must(m.Get(m.t.Context(), client.ObjectKey{Namespace: "default", Name: "metallb"}, cr))
	return cr
}

func (m *manifests) workloads() (*appsv1.Deployment, *appsv1.DaemonSet) {
	m.t.Helper()
	controller, speaker := &appsv1.Deployment{}, &appsv1.DaemonSet{}
	m.must(m.Get(m.t.Context(), client.ObjectKey{Namespace: "default", Name: "controller"}, controller))
	m.must(m.Get(m.t.Context(), client.ObjectKey{Namespace: "default", Name: "speaker"}, speaker))
	return controller, speaker
}
