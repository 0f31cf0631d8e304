package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

var (
	restarts  = flag.Int("restarts", 3, "how often the speaker of a node without an address is restarted")
	rollouts  = flag.Int("rollouts", 1, "how often the speakers are rolled out anew")
	saturated = flag.Duration("saturated", 10*time.Second, "how long pods take all processors of all nodes")
	burners   = flag.Int("burners", 2, "how many pods on each node do so, two threads each")
	flapping  = flag.Duration("flapping", 15*time.Second, "how long a node is ready and not, in turn")
)

// unmoved are Services whose addresses are to stay where they are.
type unmoved struct {
	*product.Product
	namespace string
	address   netip.AddrPort // of the Aspera stand-in
}

// What is no reason to move an address moves none: speakers that are rolled out anew, one that is restarted where it announces
// nothing, nodes that are busy, and a node whose condition Ready comes and goes.
func TestNoAddressMoves(t *testing.T) {
	p := metallb(t, "metallb-system", "aspera/metallb.yaml")
	ctx := product.Within(t, time.Minute)
	product.Must(t, p.Apply(ctx, "metallb-system", "aspera/addresspool.yaml", "ipv6/pool.yaml"))
	t.Cleanup(func() {
		if _, err := p.Kubectl(context.Background(), "delete", "-f", p.File("ipv6/pool.yaml")); err != nil {
			t.Error(err)
		}
	})
	u := unmoved{Product: p, namespace: namespace(t, p)}
	u.address = netip.AddrPortFrom(asperaService(t, p, u.namespace), 33001)
	product.Must(t, p.Apply(ctx, u.namespace, "ipv6/service.yaml"))
	t.Run("RestartsOfASpeakerThatOwnsNothing", u.restartsOfASpeakerThatOwnsNothing) // while there are fewer addresses than nodes
	moreServices(t, p, u.namespace, 4)
	t.Run("RollingUpdate", u.rollingUpdate)
	t.Run("Saturated", u.saturated)
	t.Run("ReadyFlapping", u.readyFlapping)
	t.Run("ToolsAgree", u.toolsAgree)
}

// A speaker that is restarted claims nothing that is not its own, not even in its first moments.
func (u unmoved) restartsOfASpeakerThatOwnsNothing(t *testing.T) {
	s := watchAddresses(t, u.Product, u.namespace, pollEvery)
	node := s.idle()
	claims := hearClaims(t, u.Product)
	for i := range *restarts {
		grace := client.GracePeriodSeconds(int64(5 * (i % 2))) // killed, and ended in peace
		old := u.speakerOn(t, node)
		product.Must(t, u.Delete(t.Context(), old, grace))
		product.Must(t, product.Until(product.Within(t, time.Minute), "another speaker to be ready", func() (bool, error) {
			now := u.speakerOn(t, node)
			return now.UID != old.UID && podReady(now), fmt.Errorf("%s is %s", now.Name, now.Status.Phase)
		}))
	}
	time.Sleep(time.Second)
	s.judge(true)
	own := claims.of(u.mac(node))
	t.Logf("the speaker on %s was restarted %d times, and sent %d gratuitous frames", node, *restarts, len(own))
	if len(own) > 0 {
		t.Errorf("%s claimed %v", node, own)
	}
	late := moreServices(t, u.Product, u.namespace, 1)[0]
	_, mac, err := u.Announcer(product.Within(t, time.Minute), late)
	product.Must(t, err)
	product.Must(t, product.Until(product.Within(t, time.Minute), "the claim of a new Service's address, without which nothing was shown", func() (bool, error) {
		return slices.Contains(claims.of(mac), late), nil
	}))
}

// An upgrade, or `kubectl rollout restart`: the new speaker takes over on the same node, and connections live through it.
func (u unmoved) rollingUpdate(t *testing.T) {
	ctx := product.Within(t, time.Duration(*rollouts+1)*2*time.Minute)
	s := watchAddresses(t, u.Product, u.namespace, pollEvery)
	frames := capture(t, u.Product)
	users := u.Users(ctx, u.address)
	talks := map[string]*product.Conversation{}
	for _, machine := range []string{lab.Client, lab.Remote} {
		for _, network := range []string{"tcp", "udp"} {
			talk, err := u.Converse(ctx, machine, network, u.address)
			product.Must(t, err)
			talks[network+" from "+machine] = talk
		}
	}
	time.Sleep(500 * time.Millisecond)
	for range *rollouts {
		old := u.speakers(t) // those of the restarts before that have not ended yet among them
		began := time.Now()
		for _, command := range []string{"restart", "status"} {
			_, err := u.Kubectl(ctx, "rollout", command, "-n", "metallb-system", "daemonset/speaker")
			product.Must(t, err)
		}
		product.Must(t, product.Until(ctx, "the speakers before to be gone, and one on each node", func() (bool, error) {
			now := u.speakers(t)
			return len(now) == len(u.Nodes()) && !slices.ContainsFunc(now, func(p corev1.Pod) bool {
				return slices.ContainsFunc(old, func(o corev1.Pod) bool { return o.UID == p.UID })
			}), fmt.Errorf("there are %d", len(now))
		}))
		t.Logf("%d speakers were rolled out anew in %s", len(u.Nodes()), time.Since(began).Round(100*time.Millisecond))
	}
	time.Sleep(time.Second)
	for name, talk := range talks {
		c := talk.Stop()
		t.Logf("%s: %s", name, c)
		if err := c.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for machine, fared := range users.Stop() {
		t.Logf("from %s: %s", machine, fared)
		err := fared.Check()
		if *bars && fared.Lost() > 0 {
			err = errors.Join(err, errors.New(fared.Failures()))
		}
		if err != nil {
			t.Errorf("%s: %v", machine, err)
		}
	}
	frames.judge(t, u.address.Addr())
	s.judge(true)
}

// Pods take all that the processors have, on all nodes, which on the lab have one machine's processors between them: nobody is
// taken for dead. That is judged with -bars only, since it depends on what else the machine does.
func (u unmoved) saturated(t *testing.T) {
	ctx := product.Within(t, *saturated+5*time.Minute)
	image, err := u.AddBench(ctx)
	product.Must(t, err)
	s := watchAddresses(t, u.Product, u.namespace, 10*pollEvery)
	end, err := u.Saturate(ctx, u.namespace, image, *burners, u.Nodes()...)
	t.Cleanup(func() { product.Must(t, end(context.Background())) })
	product.Must(t, err)
	t.Logf("the pods run after %s", time.Since(s.since).Round(100*time.Millisecond))
	first, err := product.ReadProcessors()
	product.Must(t, err)
	time.Sleep(*saturated)
	last, err := product.ReadProcessors()
	product.Must(t, err)
	t.Logf("for %s the processors were busy for %.1f %% of the time", *saturated, last.Busy(first))
	product.Must(t, end(ctx))
	s.judge(*bars)
	s.alarms(*bars)
}

const (
	flapEvery = 5 * time.Second
	// holdEvery is how often the condition is looked at, which the kubelet writes, too.
	holdEvery = 100 * time.Millisecond
)

// A node's Ready comes and goes while its pods, the speaker among them, live on: that is the kubelet's trouble.
func (u unmoved) readyFlapping(t *testing.T) {
	ctx := product.Within(t, *flapping+5*time.Minute)
	s := watchAddresses(t, u.Product, u.namespace, pollEvery)
	node, _, err := u.Announcer(ctx, u.address.Addr())
	product.Must(t, err)
	t.Cleanup(func() {
		product.Must(t, u.setReady(context.Background(), node, corev1.ConditionTrue), u.WaitNode(product.Within(t, time.Minute), node, true))
	})
	began := time.Now()
	looks, unready, changes := 0, 0, 0
	was := corev1.ConditionTrue
	for ; time.Since(began) < *flapping; time.Sleep(holdEvery) {
		want := corev1.ConditionFalse
		if int(time.Since(began)/flapEvery)%2 == 1 {
			want = corev1.ConditionTrue
		}
		is, err := u.ready(ctx, node)
		product.Must(t, err)
		if looks++; is != corev1.ConditionTrue {
			unready++
		}
		if is != was {
			changes++ // the kubelet's
		}
		if was = is; is != want {
			product.Must(t, u.setReady(ctx, node, want))
			was = want
			changes++
		}
	}
	t.Logf("for %s %s was not ready in %d of %d looks, and that changed %d times", *flapping, node, unready, looks, changes)
	if changes < int(*flapping/flapEvery) || unready < looks/4 {
		t.Error("that is no flapping")
	}
	s.judge(true)
	s.alarms(true)
	pods := &corev1.PodList{}
	product.Must(t, u.List(ctx, pods, client.InNamespace(u.namespace)))
	for i := range pods.Items {
		if p := &pods.Items[i]; p.DeletionTimestamp == nil && !readySince(p, began) {
			t.Errorf("pod %s did not stay ready", p.Name)
		}
	}
}

func (u unmoved) ready(ctx context.Context, name string) (corev1.ConditionStatus, error) {
	node := &corev1.Node{}
	err := u.Get(ctx, client.ObjectKey{Name: name}, node)
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status, err
		}
	}
	return corev1.ConditionUnknown, err
}

// setReady writes a node's condition as the kubelet does, until the kubelet does so again.
func (u unmoved) setReady(ctx context.Context, name string, status corev1.ConditionStatus) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":%q,"reason":"Flapping","message":"written by a test","lastTransitionTime":%q}]}}`,
		status, time.Now().UTC().Format(time.RFC3339))
	return u.Status().Patch(ctx, node, client.RawPatch(types.StrategicMergePatchType, []byte(patch)))
}

// speakers that there are, those that are about to end among them.
func (u unmoved) speakers(t *testing.T) []corev1.Pod {
	t.Helper()
	pods := &corev1.PodList{}
	product.Must(t, u.List(product.Within(t, time.Minute), pods, client.InNamespace("metallb-system"), client.MatchingLabels{"app": "metallb", "component": "speaker"}))
	return pods.Items
}

// speakerOn is the youngest speaker on a node of those that are not about to end: one that is may be ready still, and may have been
// made in the same second.
func (u unmoved) speakerOn(t *testing.T, node string) *corev1.Pod {
	t.Helper()
	found := &corev1.Pod{}
	for _, p := range u.speakers(t) {
		if p.Spec.NodeName == node && p.DeletionTimestamp == nil && !p.CreationTimestamp.Before(&found.CreationTimestamp) {
			found = &p
		}
	}
	return found
}

// mac of a node on the LAN.
func (u unmoved) mac(node string) string { return u.Machine(node).NICs[lab.LAN].MAC.String() }

func podReady(p *corev1.Pod) bool { return readySince(p, time.Now().Add(time.Hour)) }

// readySince reports whether a pod is ready and was so at that time already.
func readySince(p *corev1.Pod, then time.Time) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && c.LastTransitionTime.Time.Before(then)
	})
}

// claims are the gratuitous frames on the LAN.
type claims struct {
	mu    sync.Mutex
	heard map[string][]netip.Addr // by source
}

// hearClaims listens until the end of the test.
func hearClaims(t *testing.T, p *product.Product) *claims {
	t.Helper()
	c := &claims{heard: map[string][]netip.Addr{}}
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := p.HearClaims(ctx, c.add); err != nil {
			t.Errorf("cannot listen on the LAN: %v", err)
		}
	})
	t.Cleanup(func() { stop(); done.Wait() })
	return c
}

func (c *claims) add(x product.Claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard[x.MAC] = append(c.heard[x.MAC], x.Address)
}

// of a source: what it has claimed.
func (c *claims) of(mac string) []netip.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.heard[mac])
}
