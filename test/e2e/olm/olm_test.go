package olm

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

const (
	operatorNamespace  = product.OperatorNamespace
	metallbNamespace   = "metallb-system"
	operatorDeployment = "metallb-operator-controller-manager"
	subscription       = "metallb-operator"
	// patience is far above what is measured: a slow machine is no reason to fail.
	patience = 2 * time.Minute
)

// csv is the name of the ClusterServiceVersion that the catalog offers.
var csv string

var (
	whole  = flag.Bool("whole", false, "also upgrade to a version that does not come up, and go back from it as docs/olm.md says")
	shared = lab.Shared{Options: ClusterOptions()}
)

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// The operator's life with OLM, as its users know it: subscribe, use, upgrade, go back from an upgrade, remove.
func TestLifeWithOLM(t *testing.T) {
	cluster := shared.Cluster(t)
	p, err := product.On(cluster)
	product.Must(t, err)
	o := install(t, p)
	l := &life{OLM: o, catalog: publish(t, o)}
	before := everything(t, o)
	l.subscribe(t)
	l.address = aspera(t, o)
	next := makeVersion(t, o, 1, product.Flaw{})
	admission(t, o)
	stillSucceeded(t, l.history, csv, time.Minute)
	oneHealthyPod(t, o)
	l.upgrade(t, next)
	if *whole {
		broken := makeVersion(t, o, 2, product.Flaw{Role: "speaker", How: "unready"})
		l.breaks(t, broken, next)
		l.rollback(t, broken, next)
	}
	l.remove(t, next)
	product.Must(t, o.DeleteMetalLB(product.Within(t, patience), metallbNamespace)) // nothing of it waits for the operator
	left(t, o, before)
}

func install(t *testing.T, p *product.Product) *OLM {
	t.Helper()
	start := time.Now()
	programs, err := Build(t.Context(), nil)
	product.Must(t, err)
	t.Logf("OLM's programs are there after %s", since(start))
	start = time.Now()
	o, err := Install(product.Within(t, 3*time.Minute), p, programs)
	product.Must(t, err)
	t.Logf("OLM %s is ready after %s, images and all", release, since(start))
	t.Cleanup(func() {
		if t.Failed() {
			dump(t, o)
		}
	})
	return o
}

// publish has OLM serve the catalog of `make catalog`, with the image of the bundle of `make bundle`.
func publish(t *testing.T, o *OLM) Catalog {
	t.Helper()
	ctx := product.Within(t, patience)
	start := time.Now()
	catalog, err := ReadCatalog(projectDir(t, "catalog/metallb-operator"))
	product.Must(t, err)
	image, err := o.AddBundle(ctx, projectDir(t, "bundle"))
	product.Must(t, err)
	csv, err = catalog.Head()
	product.Must(t, err)
	product.Must(t, catalog.SetImage(csv, image))
	product.Must(t, o.Publish(ctx, catalog))
	t.Logf("the catalog is read %s after its making began", since(start))
	return catalog
}

// subscribe makes what a user makes, with kubectl, and waits until the operator runs.
func (l *life) subscribe(t *testing.T) {
	t.Helper()
	o := l.OLM
	var err error
	l.history, err = o.Watch(t.Context(), operatorNamespace)
	product.Must(t, err)
	l.conditions, err = o.WatchConditions(t.Context(), operatorNamespace)
	product.Must(t, err)
	ctx := product.Within(t, patience)
	_, err = o.Kubectl(ctx, "create", "-f", "testdata/namespace.yaml")
	product.Must(t, err)
	start := time.Now()
	_, err = o.Kubectl(ctx, "create", "-f", "testdata/subscription.yaml")
	product.Must(t, err)
	succeeded, err := l.history.WaitPhase(ctx, csv, "Succeeded", 0)
	product.Must(t, err)
	t.Logf("Succeeded %s after the Subscription was made:\n%s", succeeded.Sub(start).Round(10*time.Millisecond), l.history)

	product.Must(t, o.WaitRollout(ctx, operatorNamespace, operatorDeployment))
	pods := &corev1.PodList{}
	product.Must(t, o.List(ctx, pods, client.InNamespace(operatorNamespace)))
	for _, pod := range pods.Items {
		container := pod.Spec.Containers[0]
		t.Logf("pod %s runs %s %s", pod.Name, container.Image, strings.Join(container.Args, " "))
		if !strings.Contains(strings.Join(container.Args, " "), "--disable-cert-rotation") {
			t.Error("the operator makes certificates itself")
		}
	}
	_, err = l.conditions.Wait(ctx, csv, "True", "AsExpected", start) // without any MetalLB resource
	product.Must(t, err)
	l.show(t, "get", "csv", "-n", operatorNamespace)
}

// aspera makes the setup of a user of IBM Aspera HSTS and returns its Service's address, which answers.
func aspera(t *testing.T, o *OLM) netip.Addr {
	t.Helper()
	ctx := product.Within(t, patience)
	product.Must(t, o.Namespace(ctx, metallbNamespace))
	product.Must(t, o.Apply(ctx, metallbNamespace, "aspera/metallb.yaml"))
	product.Must(t, o.WaitAvailable(ctx, metallbNamespace))
	product.Must(t, o.Apply(ctx, metallbNamespace, "aspera/addresspool.yaml"))
	product.Must(t, o.Apply(ctx, "default", "aspera/backend.yaml", "aspera/tcp-proxy.yaml"))
	product.Must(t, o.WaitRollout(ctx, "default", "aspera-tcp-proxy"))
	address, err := o.Address(ctx, "default", "aspera-tcp-proxy")
	product.Must(t, err)
	node, _, err := o.Announcer(ctx, address)
	product.Must(t, err)
	t.Logf("%s is announced by %s", address, node)
	for _, at := range []struct {
		network string
		port    uint16
	}{{"tcp", 33001}, {"udp", 33001}, {"udp", 33002}, {"udp", 33003}, {"udp", 33004}} {
		answer, err := o.Answer(ctx, lab.Client, at.network, netip.AddrPortFrom(address, at.port))
		product.Must(t, err)
		if !strings.HasPrefix(answer, at.network+" pod=aspera-tcp-proxy-") {
			t.Errorf("%s port %d: answer %q is not that of the Service's pods", at.network, at.port, answer)
		}
	}
	return address
}

// unrest is how long after a ClusterServiceVersion first Succeeded OLM v0.46 itself may make it Pending once more.
//
// It carries out an InstallPlan again when another of its controllers changed that meanwhile. With it it writes the CRDs
// of the bundle again, and so the conversion webhook loses the certificate authority that OLM had put there; the
// ClusterServiceVersion then says NeedsReinstall, "calculated deployment install is bad", and OLM repairs it. For these
// two or three seconds a BGPPeer v1beta1 is refused. Where it looks at the webhook before it looks at the deployment, it says
// ComponentUnhealthy, "conversionWebhook not ready".
// After an upgrade it can be NeedsCertRotation as well: OLM lets go of the Secret that it keeps.
const unrest = 30 * time.Second

func restless(p Phase) bool {
	return p.Reason == "NeedsReinstall" || p.Reason == "NeedsCertRotation" || p.Reason == "ComponentUnhealthy" && strings.Contains(p.Message, "conversionWebhook not ready")
}

// stillSucceeded waits until a ClusterServiceVersion has been Succeeded for a time, and returns when that began. It may
// have been anything else before that only as OLM itself is restless.
func stillSucceeded(t *testing.T, history *History, csv string, lasting time.Duration) time.Time {
	t.Helper()
	first, err := history.WaitPhase(product.Within(t, patience), csv, "Succeeded", 0)
	product.Must(t, err)
	since, err := history.WaitPhase(product.Within(t, patience), csv, "Succeeded", lasting)
	product.Must(t, err)
	for _, flap := range history.Flaps(csv) {
		t.Logf("after it had Succeeded: %s", flap)
		if flap.At.Sub(first) > unrest || !restless(flap) {
			t.Errorf("that is not OLM's own unrest:\n%s", history)
		}
	}
	t.Logf("%s is Succeeded since %s, for %s and more", csv, since.Format(time.TimeOnly), lasting)
	return since
}

// oneHealthyPod checks that the operator is one pod that is ready and never restarted.
func oneHealthyPod(t *testing.T, o *OLM) {
	t.Helper()
	restarts, err := o.Kubectl(t.Context(), "get", "pods", "-n", operatorNamespace,
		"-o", `jsonpath={range .items[*]}{.metadata.name} ready={.status.containerStatuses[0].ready} restarts={.status.containerStatuses[0].restartCount}{"\n"}{end}`)
	product.Must(t, err)
	t.Log(restarts)
	if strings.Count(restarts, "ready=true restarts=0") != 1 {
		t.Error("that is not one pod that is ready and never restarted")
	}
}

// projectDir is the path of a directory of the project.
func projectDir(t *testing.T, dir string) string {
	t.Helper()
	root, err := product.Root()
	product.Must(t, err)
	return filepath.Join(root, dir)
}

func since(start time.Time) time.Duration { return time.Since(start).Round(100 * time.Millisecond) }

// dump logs what a person would look at first.
func dump(t *testing.T, o *OLM) {
	t.Helper()
	o.Dump(t,
		[]string{"get", "catsrc,sub,ip,csv,og,jobs,pods,svc,metallb", "-A", "-o", "wide"},
		[]string{"get", "sub,csv", "-n", operatorNamespace, "-o", "yaml"},
		[]string{"get", "events", "-A", "--sort-by=.lastTimestamp"},
		[]string{"logs", "-n", Namespace, "deploy/catalog-operator", "--tail=40"},
		[]string{"logs", "-n", Namespace, "deploy/olm-operator", "--tail=40"},
		[]string{"logs", "-n", operatorNamespace, "-l", "control-plane=controller-manager", "--tail=40"},
	)
}
