// Package controller tests the promise that an address is: controllers are killed, stopped and cut off from the API server
// while Services come and go, and no address is ever given twice, taken away or exchanged.
package controller

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// patience is far above what is measured: a slow machine is no reason to fail.
const patience = 3 * time.Minute

const (
	namespace = "metallb-system"
	// recovery is far above what it takes until a controller gives addresses again once the API server is back: about a second.
	recovery = 20 * time.Second
)

var (
	kills    = flag.Int("kills", 8, "how often a controller is killed while Services come and go")
	services = flag.Int("services", 200, "how many Services there are")
	stopped  = flag.Duration("stopped", 10*time.Second, "how long the leader is stopped")
	away     = flag.Duration("away", 15*time.Second, "how long the API server is away")
	shared   lab.Shared
)

// The pods of controllers and of the operator.
var (
	controllers = client.MatchingLabels{"app": "metallb", "component": "controller"}
	operators   = client.MatchingLabels{"control-plane": "controller-manager"}
)

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "metallb-audit-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if auditLog, err = audited(dir, &shared.Options); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := shared.Run(m)
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// replicas are the controller's, on a cluster.
type replicas struct {
	*product.Product
	t *testing.T
}

func TestAnAddressIsAPromise(t *testing.T) {
	r := start(t)
	w := watch(r)
	r.follow(w)
	r.churn(w)
	r.stale(w)
	r.cutOff(w)
	w.judge()
}

func start(t *testing.T) *replicas {
	t.Helper()
	p, err := product.On(shared.Cluster(t))
	r := &replicas{Product: p, t: t}
	r.must(err)
	ctx := r.within(patience)
	r.must(p.InstallOperator(ctx))
	r.must(p.Namespace(ctx, namespace))
	r.must(p.Create(ctx, &v1beta1.MetalLB{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "metallb"},
		Spec:       v1beta1.MetalLBSpec{ControllerConfig: &v1beta1.ControllerConfig{Replicas: ptr.To(int32(2))}},
	}))
	r.must(p.Create(ctx, &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "lan"},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: []string{fmt.Sprintf("10.99.0.0-10.99.%d.%d", (*services+255)/256, (*services+255)%256)}},
	}))
	r.must(p.Create(ctx, &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "lan"}}))
	r.must(p.WaitAvailable(ctx, namespace))
	t.Cleanup(func() {
		if t.Failed() {
			r.dump()
		}
	})
	return r
}

// follow measures how long it takes until another controller gives addresses, after a clean stop and after a kill.
func (r *replicas) follow(w *watched) {
	for _, how := range []string{"a clean stop", "a kill"} {
		var took []time.Duration
		for range 3 {
			leader := r.leader()
			began := time.Now()
			if how == "a kill" {
				r.kill(leader)
			} else {
				began = r.ends(leader)
			}
			svc := r.create()
			w.served(svc)
			took = append(took, time.Since(began).Round(10*time.Millisecond))
			r.settle()
		}
		slices.Sort(took)
		r.t.Logf("after %s an address is given again after %v", how, took)
	}
}

// ends deletes a pod in peace and returns when its process had the signal to stop.
func (r *replicas) ends(name string) time.Time {
	r.t.Helper()
	pid := r.process(name)
	r.must(r.Delete(r.within(patience), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}, client.GracePeriodSeconds(10)))
	r.must(product.Until(r.within(patience), "the process of "+name+" to end", func() (bool, error) { return !running(pid), nil }))
	return time.Now()
}

// churn kills controllers at random while Services come and go.
func (r *replicas) churn(w *watched) {
	ctx, stop := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.comeAndGo(ctx, w) }()
	began := time.Now()
	for range *kills {
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Millisecond)
		pods := r.pods()
		if len(pods) > 0 {
			r.kill(pods[rand.IntN(len(pods))])
		}
	}
	stop()
	r.must(<-done)
	r.settle()
	created, deleted := w.counts()
	last := w.allServed()
	r.t.Logf("%d kills of controllers in %s, while %d Services came and %d went; all %d had their address %s after the last kill",
		*kills, time.Since(began).Round(time.Second), created, deleted, created-deleted, last.Round(10*time.Millisecond))
}

// comeAndGo creates Services up to their number, and from then on deletes and creates them at random.
func (r *replicas) comeAndGo(ctx context.Context, w *watched) error {
	for ctx.Err() == nil {
		present := w.present()
		switch {
		case len(present) < *services:
			r.create()
			continue // as fast as it goes
		case rand.IntN(2) == 0:
			gone := present[rand.IntN(len(present))]
			if err := r.Delete(context.WithoutCancel(ctx), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: gone.Namespace, Name: gone.Name}}); client.IgnoreNotFound(err) != nil {
				return err
			}
		default:
			r.create()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// stale stops the leader for a while, has another take over, and lets it go on: it must write nothing any more.
func (r *replicas) stale(w *watched) {
	leader := r.leader()
	pid := r.process(leader)
	if pid == 0 {
		r.t.Fatalf("the process of %s is not there", leader)
	}
	for range 20 { // it has something on its mind when it stops
		r.create()
	}
	r.must(signal(pid, sigstop))
	began := time.Now()
	r.t.Cleanup(func() { _ = signal(pid, sigcont) })
	for _, svc := range w.present()[:20] {
		r.must(client.IgnoreNotFound(r.Delete(r.within(patience), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name}})))
	}
	var last client.ObjectKey
	for range 40 {
		last = r.create()
	}
	w.served(last)
	took := time.Since(began)
	time.Sleep(*stopped - time.Since(began))
	w.allServed()
	before := w.changes()
	resumed := time.Now()
	r.must(signal(pid, sigcont))
	time.Sleep(8 * time.Second)
	wrote := r.written(leader, resumed)
	r.t.Logf("the leader %s was stopped for %s; another gave addresses %s after that. Continued, it wrote %d times, and %d addresses changed in 8s",
		leader, resumed.Sub(began).Round(time.Second), took.Round(10*time.Millisecond), len(wrote), w.changes()-before)
	if len(wrote) > 0 || w.changes() != before {
		r.t.Errorf("the stale leader wrote %v; %d changes of addresses", wrote, w.changes()-before)
	}
	r.settle()
}

// cutOff takes the API server away from everybody. When it is back addresses are given, the operator restores what is deleted, and
// in all that time it was not restarted: it answers as soon as it is asked.
func (r *replicas) cutOff(w *watched) {
	restarts, ofOperator := r.restarts(namespace, controllers), r.restarts(product.OperatorNamespace, operators)
	w.pause()
	r.must(r.PowerOff(lab.ControlPlane))
	time.Sleep(*away)
	r.must(r.PowerOn(r.within(patience), lab.ControlPlane))
	back := time.Now()
	w.resume()
	svc := r.create()
	w.served(svc)
	took := time.Since(back)
	r.restores()
	restored := time.Since(back)
	r.must(r.Recovered(r.within(patience), namespace, back))
	admits := time.Since(back)
	r.settle()
	restartsNow, ofOperatorNow := r.restarts(namespace, controllers), r.restarts(product.OperatorNamespace, operators)
	r.t.Logf("the API server was away for %s; when it was back a new Service had its address after %s, what was deleted was restored after %s, and all nodes were heard of and configuration was admitted after %s. Restarts of controllers: %d before, %d now; of the operator: %d and %d",
		*away, took.Round(10*time.Millisecond), restored.Round(10*time.Millisecond), admits.Round(10*time.Millisecond), restarts, restartsNow, ofOperator, ofOperatorNow)
	if took > recovery || restored > recovery {
		r.t.Errorf("it took %s until a controller gave addresses again, and %s until the operator restored what was deleted", took, restored)
	}
	if ofOperatorNow != ofOperator {
		r.t.Error("the operator was restarted: while that takes, nothing is admitted")
	}
}

// restores waits until the operator has made again what is deleted.
func (r *replicas) restores() {
	r.t.Helper()
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "metallb-controller"}}
	r.must(r.Get(r.within(patience), client.ObjectKeyFromObject(budget), budget))
	deleted := budget.UID
	r.must(r.Delete(r.within(patience), budget))
	r.must(product.Until(r.within(patience), "the PodDisruptionBudget to be there again", func() (bool, error) {
		err := r.Get(r.t.Context(), client.ObjectKeyFromObject(budget), budget)
		return err == nil && budget.UID != deleted, client.IgnoreNotFound(err)
	}))
}

// create makes a Service and returns its name.
func (r *replicas) create() client.ObjectKey {
	r.t.Helper()
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "promise-", Labels: map[string]string{label: "yes"}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: ptr.To(false),
			Ports: []corev1.ServicePort{{Port: 80}},
		},
	}
	r.must(r.Create(r.within(patience), svc))
	return client.ObjectKeyFromObject(svc)
}

// leader is the name of the pod that holds the Lease.
func (r *replicas) leader() string {
	r.t.Helper()
	name := ""
	r.must(product.Until(r.within(patience), "a leader", func() (bool, error) {
		lease := &coordinationv1.Lease{}
		if err := r.Get(r.t.Context(), client.ObjectKey{Namespace: namespace, Name: "metallb-controller"}, lease); err != nil {
			return false, err
		}
		holder := ptr.Deref(lease.Spec.HolderIdentity, "")
		for _, pod := range r.pods() {
			if len(holder) > len(pod) && holder[:len(pod)] == pod {
				name = pod
			}
		}
		return name != "", fmt.Errorf("the holder is %q", holder)
	}))
	return name
}

// pods are the names of the controllers that run.
func (r *replicas) pods() []string {
	r.t.Helper()
	pods := &corev1.PodList{}
	r.must(r.List(r.within(patience), pods, client.InNamespace(namespace), controllers))
	var out []string
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning {
			out = append(out, p.Name)
		}
	}
	return out
}

// kill ends a controller's process without a word, and then its pod, in whose place the Deployment makes another.
func (r *replicas) kill(pod string) {
	r.t.Helper()
	if pid := r.process(pod); pid > 0 {
		if err := signal(pid, sigkill); !errors.Is(err, syscall.ESRCH) { // it may end on its own
			r.must(err)
		}
	}
	r.must(client.IgnoreNotFound(r.Delete(r.within(patience), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod}}, client.GracePeriodSeconds(0))))
}

// settle waits until both controllers are ready and one of them leads.
func (r *replicas) settle() {
	r.t.Helper()
	r.must(product.Until(r.within(patience), "both controllers to be ready", func() (bool, error) {
		d := &appsv1.Deployment{}
		err := r.Get(r.t.Context(), client.ObjectKey{Namespace: namespace, Name: "controller"}, d)
		return d.Status.ReadyReplicas == 2 && d.Status.UnavailableReplicas == 0, errors.Join(err, fmt.Errorf("%+v", d.Status))
	}))
	r.leader()
}

// restarts of the containers of some pods.
func (r *replicas) restarts(namespace string, labels client.MatchingLabels) (n int32) {
	r.t.Helper()
	pods := &corev1.PodList{}
	r.must(r.List(r.within(patience), pods, client.InNamespace(namespace), labels))
	for _, p := range pods.Items {
		for _, c := range p.Status.ContainerStatuses {
			n += c.RestartCount
		}
	}
	return n
}

func (r *replicas) dump() {
	r.Dump(r.t,
		[]string{"get", "nodes,metallb,pods,deployments,daemonsets", "-A", "-o", "wide"},
		[]string{"get", "lease", "-n", namespace, "-o", "yaml"},
		[]string{"logs", "-n", namespace, "-l", "app=metallb,component=controller", "--tail=60", "--prefix"},
		[]string{"logs", "-n", product.OperatorNamespace, "-l", "control-plane=controller-manager", "--tail=60", "--prefix"},
	)
}

func (r *replicas) within(d time.Duration) context.Context { return product.Within(r.t, d) }

func (r *replicas) must(errs ...error) {
	r.t.Helper()
	product.Must(r.t, errs...)
}

// audited adds to the options of a lab that the API server notes who writes what, and returns the path of its notes.
func audited(dir string, o *lab.Options) (string, error) {
	policy, notes := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log")
	o.APIServerFlags = append(o.APIServerFlags, "--audit-policy-file="+policy, "--audit-log-path="+notes)
	text := fmt.Sprintf(`apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- {level: Metadata, users: ['system:serviceaccount:%s:controller'], verbs: [create, update, patch, delete, deletecollection]}
- {level: None}
`, namespace)
	return notes, os.WriteFile(policy, []byte(text), 0o644)
}
