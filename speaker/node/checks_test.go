package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/arp"
	"metallb.io/operator/internal/l2/l2test"
)

// problems are those that are reported about a Service, as "REASON of ADDRESS on INTERFACE: MESSAGE".
func (c *cluster) problems(service string) (out []string) {
	c.t.Helper()
	_, all := c.statuses(service)
	for i := range all {
		for _, p := range all[i].Status.Problems {
			if time.Since(p.Since.Time) > time.Minute || p.Since.After(time.Now()) {
				c.t.Errorf("%s has been so since %s", p.Reason, p.Since)
			}
			out = append(out, fmt.Sprintf("%s of %s on %s: %s", p.Reason, p.Address, p.Interface, p.Message))
		}
	}
	return out
}

// tellsOf waits until one problem is reported about a Service which has all of these parts; without any, until there is none.
func (c *cluster) tellsOf(what, service string, parts ...string) {
	c.t.Helper()
	start := time.Now()
	var got []string
	defer func() {
		if c.t.Failed() {
			c.t.Logf("reported: %q", got)
		}
	}()
	l2test.Eventually(c.t, 60*time.Second, what, func() bool {
		time.Sleep(20 * time.Millisecond)
		if got = c.problems(service); len(parts) == 0 {
			return len(got) == 0
		}
		return len(got) == 1 && !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(got[0], p) })
	})
	c.t.Logf("%v: %s", time.Since(start).Round(time.Millisecond), what)
}

// hears waits for an event that begins like this.
func (s *speaker) hears(t *testing.T, begin string) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case e := <-s.recorder.Events:
			if strings.HasPrefix(e, begin) {
				return
			}
		case <-timeout:
			t.Errorf("no event %q", begin)
			return
		}
	}
}

// startAll starts the speakers of all nodes of a cluster.
func (c *cluster) startAll() []*speaker {
	c.t.Helper()
	var all []*speaker
	for i := range c.nodes {
		all = append(all, c.start(i, "a"))
	}
	c.ready(all...)
	return all
}

// ownerOf waits until one node alone reports that it announces an address.
func (c *cluster) ownerOf(service, address string) (owner int) {
	c.t.Helper()
	l2test.Eventually(c.t, 15*time.Second, address+" is announced", func() bool {
		_, all := c.statuses(service)
		if len(all) != 1 || !slices.Equal(all[0].Status.Addresses, []string{address}) {
			return false
		}
		for i := range c.nodes {
			if c.node(i) == all[0].Status.Node {
				owner = i
			}
		}
		return true
	})
	return owner
}

func TestAForeignHolderIsReportedUntilItHasGone(t *testing.T) {
	for name, tt := range map[string]struct {
		nodes   int
		address string
		take    []string // commands on the client
		leave   string
	}{
		"that says nothing, where another node looks": {2, "192.0.2.10", []string{"ip addr add 192.0.2.10/32 dev br0"}, "ip addr del 192.0.2.10/32 dev br0"},
		"that says nothing, where there is one node":  {1, "192.0.2.10", []string{"ip addr add 192.0.2.10/32 dev br0"}, "ip addr del 192.0.2.10/32 dev br0"},
		"that claims it": {3, "192.0.2.10", []string{"ip addr add 192.0.2.10/32 dev br0", "arping -q -c 1 -w 1 -U -I br0 -s 192.0.2.10 192.0.2.10"},
			"ip addr del 192.0.2.10/32 dev br0"},
		"of an IPv6 address": {2, "2001:db8::10", []string{"ip addr add 2001:db8::10/128 dev br0 nodad"}, "ip addr del 2001:db8::10/128 dev br0"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, tt.nodes)
			speakers := c.startAll()
			c.service("web", tt.address, 0)
			owner := speakers[c.ownerOf("web", tt.address)]
			theirs := c.lan.MAC(t, "br0")
			if got := c.problems("web"); len(got) > 0 {
				t.Errorf("reported of nothing: %q", got)
			}
			for _, line := range tt.take {
				if out, ok := c.lan.Run(line); !ok {
					t.Fatalf("%s: %s", line, out)
				}
			}
			c.tellsOf("the holder is reported", "web", "ForeignHolder of "+tt.address+" on lan", theirs, "take the address from it")
			owner.hears(t, "Warning addressConflict the machine with the hardware address "+theirs)
			if got := testutil.CollectAndCount(owner.Metrics.conflicts); got != 1 {
				t.Errorf("%d conflicts are counted", got)
			}
			if strings.Contains(tt.address, ".") {
				if got := c.answers(tt.address); !slices.Contains(got, c.index(owner)) {
					t.Errorf("%v answer, the owner %d does not", got, c.index(owner))
				}
			}
			l2test.Eventually(t, 10*time.Second, "the address is defended", func() bool {
				return testutil.ToFloat64(owner.Metrics.repairs.WithLabelValues("defend")) > 0
			})

			if out, ok := c.lan.Run(tt.leave); !ok {
				t.Fatalf("%s: %s", tt.leave, out)
			}
			c.tellsOf("it has gone", "web")
			owner.hears(t, "Normal addressConflictEnded the machine with the hardware address "+theirs)
			if got := testutil.CollectAndCount(owner.Metrics.conflicts); got != 0 {
				t.Errorf("%d conflicts are counted after it has gone", got)
			}
		})
	}
}

func (c *cluster) index(s *speaker) int {
	for i := range c.nodes {
		if c.node(i) == s.Name {
			return i
		}
	}
	return -1
}

func TestANodeThatAnswersTooIsReported(t *testing.T) {
	c := newCluster(t, 2)
	c.startAll()
	c.service("web", "192.0.2.10", 0)
	owner := c.ownerOf("web", "192.0.2.10")
	other := 1 - owner
	lan := fmt.Sprintf("lan%d", other)
	ifi, err := net.InterfaceByName(lan)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	// What answers is no speaker, as the kernel of a node with kube-proxy in mode ipvs.
	kernel := arp.New(m, c.log)
	defer kernel.Close()
	if _, err := kernel.Listen([]l2.Interface{{Name: lan, Index: ifi.Index, MAC: [6]byte(ifi.HardwareAddr)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := kernel.Sync([]l2.Entry{{Address: netip.MustParseAddr("192.0.2.10")}}); err != nil {
		t.Fatal(err)
	}
	c.tellsOf("the other node is reported", "web", "OtherNodeAnswers of 192.0.2.10", c.node(other)+" answers for", "strictARP")
	kernel.Close()
	c.tellsOf("it has stopped", "web")
}

func TestAnswersThatDoNotArriveAreReportedAndRepaired(t *testing.T) {
	c := newCluster(t, 2)
	for i := range 2 { // an address of the node itself on the LAN, which goes on answering
		address := fmt.Sprintf("192.0.2.%d", 201+i)
		l2test.IP(t, fmt.Sprintf("addr add %s/24 dev lan%d", address, i))
		n := &corev1.Node{}
		if err := c.client.Get(context.Background(), client.ObjectKey{Name: c.node(i)}, n); err != nil {
			t.Fatal(err)
		}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
		if err := c.client.Status().Update(context.Background(), n); err != nil {
			t.Fatal(err)
		}
	}
	speakers := c.startAll()
	c.service("web", "192.0.2.10", 0)
	at := c.ownerOf("web", "192.0.2.10")
	owner := speakers[at]
	c.eventually("before", "192.0.2.10", at)
	owner.broken.Store(2)
	owner.inputs.signal()
	c.eventually("broken", "192.0.2.10")
	c.tellsOf("silence is reported", "web", "NotAnswered of 192.0.2.10 on lan", "port security")
	c.tellsOf("all is well", "web")
	c.eventually("repaired", "192.0.2.10", at)
	if got := testutil.ToFloat64(owner.Metrics.repairs.WithLabelValues("reopen")); got != 2 {
		t.Errorf("sockets were opened anew %v times", got)
	}
	if got := testutil.CollectAndCount(owner.Metrics.conflicts); got != 0 {
		t.Errorf("%d conflicts are counted", got)
	}
}

func TestAHardwareAddressIsRememberedForAWhile(t *testing.T) {
	mac, start := [6]byte{2, 0, 0, 0, 0, 1}, time.Now()
	c := newChecks(nil)
	after := func(d time.Duration, told map[[6]byte]string, want string) {
		t.Helper()
		c.remember(told, start.Add(d))
		c.work.nodes = told
		if told[mac] != want {
			t.Errorf("after %v it is that of %q, want %q", d, told[mac], want)
		}
	}
	after(0, map[[6]byte]string{mac: "node-1"}, "node-1")
	after(time.Hour, map[[6]byte]string{}, "node-1")
	after(time.Hour+remembered, map[[6]byte]string{}, "node-1")
	after(time.Hour+remembered+1, map[[6]byte]string{}, "")
	after(2*time.Hour, map[[6]byte]string{}, "")
	after(3*time.Hour, map[[6]byte]string{mac: "node-1"}, "node-1")
	after(3*time.Hour, map[[6]byte]string{}, "node-1")
	after(3*time.Hour, map[[6]byte]string{mac: "node-2"}, "node-2") // it has been moved
}
