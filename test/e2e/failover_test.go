package e2e

import (
	"context"
	"net/netip"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// The plug of the announcing node is pulled: another node answers for the address, and both kubectl and the Service itself say
// so. The times are reported, not judged.
func TestPowerOffOfTheAnnouncingNode(t *testing.T) {
	p, ns, address := aspera(t)
	ctx := product.Within(t, 4*time.Minute)
	owner, _, err := p.Announcer(ctx, address)
	product.Must(t, err)

	// What is at stake is the announcement: the pods survive, and so does the controller.
	other := otherThan(p, owner)
	pinBackend(t, p, ns, other)
	placeController(t, p, `{"kubernetes.io/hostname":"`+other+`"}`)
	t.Cleanup(func() { placeController(t, p, "null") })
	product.Must(t, p.WaitRollout(ctx, ns, "aspera-tcp-proxy"))
	saysWho(ctx, t, p, ns, owner, address)

	streamCtx, stop := context.WithCancel(ctx)
	answers := make(chan []product.Request)
	go func() {
		answers <- p.Stream(streamCtx, lab.Client, "udp", netip.AddrPortFrom(address, 33001), 100*time.Millisecond)
	}()
	time.Sleep(time.Second)
	onAgain(t, p, owner)
	off := time.Now()
	product.Must(t, p.PowerOff(owner))
	next, _, err := p.Announcer(ctx, address)
	product.Must(t, err)
	t.Logf("%s went off, %s answers ARP for %s after %s", owner, next, address, time.Since(off).Round(time.Millisecond))
	said(ctx, t, p, ns, next, address)
	t.Logf("the Service says %s after %s", next, time.Since(off).Round(100*time.Millisecond))
	time.Sleep(2 * time.Second)
	stop()
	stream := <-answers
	saysWho(ctx, t, p, ns, next, address)
	t.Logf("what %s said is gone after %s", owner, time.Since(off).Round(100*time.Millisecond))

	fared := product.How(stream)
	t.Logf("longest time without an answer %s, %d of %d requests lost", fared.Outage.Round(time.Millisecond), fared.Lost(), len(stream))
	if next == owner {
		t.Errorf("%s is off and said to answer", owner)
	}
	if last := stream[len(stream)-1]; last.Answer == "" {
		t.Error("the address does not answer at the end")
	}
	if fared.Outage < 100*time.Millisecond || fared.Lost() == 0 {
		t.Error("nothing was lost: the node that was switched off did not carry the traffic, so nothing was tested")
	}
}

// With externalTrafficPolicy Local only a node with a pod may announce; the pod moves, so the announcement follows.
func TestLocalAnnouncerFollowsItsPod(t *testing.T) {
	p, ns, address := aspera(t)
	ctx := product.Within(t, 3*time.Minute)
	patch(t, p, &corev1.Service{}, ns, "aspera-tcp-proxy", `{"spec":{"externalTrafficPolicy":"Local"}}`)
	patch(t, p, &appsv1.Deployment{}, ns, "aspera-tcp-proxy", `{"spec":{"replicas":1}}`)
	for _, node := range p.Nodes() {
		pinBackend(t, p, ns, node)
		product.Must(t, p.WaitRollout(ctx, ns, "aspera-tcp-proxy"))
		start := time.Now()
		product.Must(t, product.Until(ctx, node+" to announce", func() (bool, error) {
			announcer, _, err := p.Announcer(ctx, address)
			return announcer == node, err
		}))
		took := time.Since(start)
		t.Logf("the pod is on %s; it announced %s after the rollout", node, took.Round(time.Millisecond))
		if took > 10*time.Second {
			dump(t, p, "metallb-system")
		}
		answer, err := p.Answer(ctx, lab.Client, "udp", netip.AddrPortFrom(address, 33002))
		product.Must(t, err)
		answeredBy(t, answer, "udp", "aspera-tcp-proxy")
	}
}

// onAgain switches the node on at the end of the test, and waits until all is as it was.
func onAgain(t *testing.T, p *product.Product, node string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := p.PowerOn(ctx, node); err != nil {
			t.Error(err)
		}
		if err := p.WaitNode(ctx, node, true); err != nil {
			t.Error(err)
		}
		if err := p.WaitAvailable(ctx, "metallb-system"); err != nil {
			t.Error(err)
		}
		if err := p.WaitRollout(ctx, product.OperatorNamespace, operatorDeployment); err != nil { // it may have been on that node
			t.Error(err)
		}
	})
}

func otherThan(p *product.Product, node string) string {
	for _, n := range p.Nodes() {
		if n != node {
			return n
		}
	}
	return ""
}

// pinBackend moves all pods of the Aspera stand-in to one node.
func pinBackend(t *testing.T, p *product.Product, namespace, node string) {
	t.Helper()
	patch(t, p, &appsv1.Deployment{}, namespace, "aspera-tcp-proxy",
		`{"spec":{"template":{"spec":{"topologySpreadConstraints":null,"nodeSelector":{"kubernetes.io/hostname":"`+node+`"}}}}}`)
}

func patch(t *testing.T, p *product.Product, o client.Object, namespace, name, merge string) {
	t.Helper()
	o.SetNamespace(namespace)
	o.SetName(name)
	product.Must(t, p.Patch(product.Within(t, 10*time.Second), o, client.RawPatch("application/merge-patch+json", []byte(merge))))
}
