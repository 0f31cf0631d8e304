package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

var moves = flag.Int("moves", 2, "how often an address moves because its node gets the exclude label, or loses it, while it is used")

const (
	// askEvery is the time between two ARP requests.
	askEvery     = 3 * time.Millisecond
	excludeLabel = "node.kubernetes.io/exclude-from-external-load-balancers"
	// doubleBar is how long two nodes may answer for an address that moves; looseDoubleBar is for a machine that does other
	// things beside.
	doubleBar, looseDoubleBar = 50 * time.Millisecond, 2 * time.Second
	// kubeProxyBar is within what time an address leaves a node whose kube-proxy is silent: 10 s of patience, and what it takes
	// to ask and to tell. looseKubeProxyBar is for a machine that does other things beside.
	kubeProxyBar, looseKubeProxyBar = 13 * time.Second, 40 * time.Second
)

// Somebody excludes the node that answers for an address, and takes that back: the address moves there and back, and nobody
// notices but who has a connection open, which the next node knows nothing of.
func TestMoves(t *testing.T) {
	p, _, address := aspera(t)
	ctx := product.Within(t, 3*time.Minute+time.Duration(*moves)*10*time.Second)
	port := netip.AddrPortFrom(address, 33001)
	_, err := p.Answer(ctx, lab.Client, "tcp", port)
	product.Must(t, err)
	first, home, err := p.Announcer(ctx, address)
	product.Must(t, err)
	t.Cleanup(func() { exclude(t, p, first, false) })

	users := p.Users(ctx, port)
	kept := &connection{p: p, to: port}
	var at []time.Time
	asking, stop := context.WithCancel(ctx)
	defer stop()
	var questions []product.Question
	asked := make(chan error, 1)
	go func() {
		var err error
		questions, err = p.Question(asking, askEvery, address)
		asked <- err
	}()
	time.Sleep(500 * time.Millisecond)
	for i := range *moves {
		product.Must(t, kept.open(ctx))
		at = append(at, time.Now())
		exclude(t, p, first, i%2 == 0)
		time.Sleep(4 * time.Second)
		kept.use()
	}
	stop()
	product.Must(t, <-asked)
	var total handover
	for i, from := range at {
		until := time.Now()
		if i+1 < len(at) {
			until = at[i+1]
		}
		h := handed(window(questions, from, until))
		t.Logf("move %d: %s", i+1, h)
		if (h.to == home) != (i%2 == 1) {
			t.Errorf("after move %d of %s from %s, whose hardware address is %s, %s answers", i+1, address, first, home, h.to)
		}
		total.double, total.unanswered = max(total.double, h.double), total.unanswered+h.unanswered
	}
	t.Logf("%d moves, %d ARP requests: %s; of %d connections that were open %d were reset", *moves, len(questions), total, *moves, kept.broken)
	if *bars && total.double > doubleBar || total.double > looseDoubleBar {
		t.Errorf("two nodes answered for %s", total.double)
	}
	if *bars && total.unanswered > 0 || total.unanswered*100 > len(questions) {
		t.Errorf("%d of %d ARP requests were not answered", total.unanswered, len(questions))
	}
	for name, fared := range users.Stop() {
		resets := 0
		for _, r := range fared.Failed {
			if errors.Is(r.Err, syscall.ECONNRESET) {
				resets++
			}
		}
		t.Logf("%s: %s; of these %d were under way when the address moved, and reset", name, fared, resets)
		if *bars && fared.Lost() > resets {
			t.Errorf("%s lost %d answers:\n%s", name, fared.Lost()-resets, fared.Failures())
		} else if err := fared.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// exclude sets the exclude label of a node, or removes it.
func exclude(t *testing.T, p *product.Product, node string, set bool) {
	t.Helper()
	value := "null"
	if set {
		value = `""`
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	n := &corev1.Node{}
	n.Name = node
	merge := fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, excludeLabel, value)
	if err := p.Patch(ctx, n, client.RawPatch("application/merge-patch+json", []byte(merge))); err != nil {
		t.Error(err)
	}
}

// connection is a TCP connection that is open while an address moves.
type connection struct {
	p      *product.Product
	to     netip.AddrPort
	conn   net.Conn
	broken int
}

func (c *connection) open(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	var err error
	if c.conn, err = c.p.Dial(ctx, lab.Client, "tcp", c.to.String()); err != nil {
		return err
	}
	return c.say()
}

// use counts the connection if it is not usable any more.
func (c *connection) use() {
	if c.say() != nil {
		c.broken++
		_ = c.conn.Close()
		c.conn = nil
	}
}

func (c *connection) say() error {
	if err := c.conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(c.conn, "still there?"); err != nil {
		return err
	}
	_, err := c.conn.Read(make([]byte, 1500))
	return err
}

// window are the questions of a span of time.
func window(questions []product.Question, from, until time.Time) []product.Question {
	return slices.DeleteFunc(slices.Clone(questions), func(q product.Question) bool { return q.Asked.Before(from) || !q.Asked.Before(until) })
}

// handover is how an address went from one node to the next.
type handover struct {
	// double is the time from the first request that two nodes answered to the last.
	double     time.Duration
	unanswered int
	to         string
}

func (h handover) String() string {
	return fmt.Sprintf("two nodes answered for %s, nobody answered %d", h.double.Round(100*time.Microsecond), h.unanswered)
}

// handed reads it from the questions of a span in which the address moves once.
func handed(questions []product.Question) (h handover) {
	var first time.Time
	for _, q := range questions {
		by := map[string]bool{}
		for _, r := range q.Replies {
			by[r.MAC], h.to = true, r.MAC
		}
		switch {
		case len(by) == 0:
			h.unanswered++
		case len(by) > 1 && first.IsZero():
			first = q.Asked
			h.double = askEvery // at most
		case len(by) > 1:
			h.double = q.Asked.Sub(first) + askEvery
		}
	}
	return h
}

// kube-proxy hangs on the node that answers: another one answers soon, and the first again when it is well.
func TestKubeProxyIsGone(t *testing.T) {
	p, _, address := aspera(t)
	ctx := product.Within(t, 4*time.Minute)
	owner, _, err := p.Announcer(ctx, address)
	product.Must(t, err)
	signal := func(ctx context.Context, name string) error {
		_, err := p.Exec(ctx, owner, "sh", "-c", "kill -"+name+" $(pidof kube-proxy)")
		return err
	}
	becomes := func(what string, ok func(node string) bool) time.Duration {
		t.Helper()
		start := time.Now()
		product.Must(t, product.Until(ctx, what, func() (bool, error) {
			node, _, err := p.Announcer(ctx, address)
			return err == nil && ok(node), errors.Join(err, errors.New(node+" answers"))
		}))
		return time.Since(start)
	}
	t.Cleanup(func() {
		if err := signal(context.Background(), "CONT"); err != nil {
			t.Error(err)
		}
	})
	product.Must(t, signal(ctx, "STOP"))
	took := becomes("another node to answer", func(node string) bool { return node != owner })
	t.Logf("kube-proxy of %s was stopped: another node answered after %s", owner, took.Round(time.Millisecond))
	if *bars && took > kubeProxyBar || took > looseKubeProxyBar {
		t.Errorf("another node answered only after %s", took)
	}
	answer, err := p.Answer(ctx, lab.Client, "tcp", netip.AddrPortFrom(address, 33001))
	product.Must(t, err)
	answeredBy(t, answer, "tcp", "aspera-tcp-proxy")
	product.Must(t, product.Until(ctx, "an event of the node", func() (bool, error) {
		out, err := p.Kubectl(ctx, "get", "events", "-A", "--field-selector", "involvedObject.kind=Node,involvedObject.name="+owner+",reason=kubeProxyUnhealthy", "-o", "jsonpath={.items[*].message}")
		t.Log(out)
		return strings.Contains(out, "kube-proxy"), err
	}))
	product.Must(t, signal(ctx, "CONT"))
	t.Logf("it goes on: the node answered again after %s", becomes("the node to answer again", func(node string) bool { return node == owner }).Round(time.Millisecond))
}
