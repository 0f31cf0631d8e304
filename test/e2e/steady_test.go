package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/test/e2e/product"
)

// steady looks on while addresses are to stay where they are: at who answers by ARP, and at who says in a
// ServiceL2Status that it announces.
type steady struct {
	t     *testing.T
	p     *product.Product
	since time.Time
	stop  context.CancelFunc
	done  sync.WaitGroup

	mu      sync.Mutex
	macs    map[netip.Addr]string    // that answered last
	last    map[netip.Addr]time.Time // when
	replies int
	longest time.Duration     // without an answer for an address
	nodes   map[string]string // that announce, by Service
	moves   []string
}

// watchAddresses begins to look at the addresses of the namespace's Services, once each Service has its node, asking for each
// of them by ARP at an interval.
func watchAddresses(t *testing.T, p *product.Product, ns string, interval time.Duration) *steady {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s := &steady{t: t, p: p, stop: stop, macs: map[netip.Addr]string{}, last: map[netip.Addr]time.Time{}, nodes: map[string]string{}}
	t.Cleanup(s.end)
	services := &corev1.ServiceList{}
	product.Must(t, p.List(ctx, services, client.InNamespace(ns)))
	seen := &v1beta1.ServiceL2StatusList{}
	product.Must(t, product.Until(product.Within(t, time.Minute), "a ServiceL2Status for each Service", func() (bool, error) {
		err := p.List(ctx, seen, client.MatchingLabels{v1beta1.LabelServiceNamespace: ns})
		clear(s.nodes)
		for i := range seen.Items {
			if status := seen.Items[i].Status; status.Node != "" { // made and written
				s.nodes[status.ServiceName] = status.Node
			}
		}
		return len(seen.Items) == len(services.Items) && len(s.nodes) == len(services.Items), fmt.Errorf("%v %w", s.nodes, err)
	}))
	t.Logf("announced: %v", s.nodes)

	s.since = time.Now()
	for _, svc := range services.Items {
		address, err := p.Address(product.Within(t, time.Minute), ns, svc.Name)
		product.Must(t, err)
		if address.Is4() {
			s.last[address] = s.since
		}
	}
	s.done.Go(func() {
		if err := p.HearByARP(ctx, interval, s.heard, slices.Collect(maps.Keys(s.last))...); err != nil {
			t.Errorf("cannot ask by ARP: %v", err)
		}
	})
	s.done.Go(func() { s.follow(ctx, ns, seen.ResourceVersion) })
	return s
}

// heard takes an answer.
func (s *steady) heard(r product.Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replies++
	if was := s.macs[r.Address]; was != "" && was != r.MAC {
		s.moved("%s: %s answers, it was %s", r.Address, r.MAC, was)
	}
	s.macs[r.Address] = r.MAC
	s.longest = max(s.longest, r.At.Sub(s.last[r.Address]))
	s.last[r.Address] = r.At
}

// moved notes what should not be. The caller holds mu.
func (s *steady) moved(format string, args ...any) {
	s.moves = append(s.moves, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// follow takes all changes of ServiceL2Statuses from a version on.
func (s *steady) follow(ctx context.Context, ns, version string) {
	for ctx.Err() == nil {
		w, err := s.p.Watch(ctx, &v1beta1.ServiceL2StatusList{}, client.MatchingLabels{v1beta1.LabelServiceNamespace: ns},
			&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}})
		if err != nil {
			if ctx.Err() == nil {
				s.t.Errorf("cannot watch ServiceL2Statuses: %v", err)
			}
			return
		}
		for e := range w.ResultChan() { // it ends with ctx, and now and then when the API server likes
			if status, ok := e.Object.(*v1beta1.ServiceL2Status); ok {
				version = status.ResourceVersion
				s.said(e.Type, status.Status)
			} else if ctx.Err() == nil {
				s.t.Errorf("the watch of ServiceL2Statuses: %+v", e.Object)
				return
			}
		}
	}
}

func (s *steady) said(what watch.EventType, status v1beta1.ServiceL2StatusStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch was := s.nodes[status.ServiceName]; {
	case status.Node == "": // made, and not written yet
	case what == watch.Deleted:
		s.moved("Service %s: %s does not say any more that it announces it", status.ServiceName, status.Node)
	case status.Node != was:
		s.moved("Service %s: %s says that it announces it, it was %s", status.ServiceName, status.Node, was)
		s.nodes[status.ServiceName] = status.Node
	}
}

// end stops looking on.
func (s *steady) end() {
	s.stop()
	s.done.Wait()
}

// judge ends it and says how it went. Where it is strict, it fails the test if an address has moved or was not answered for long.
func (s *steady) judge(strict bool) {
	s.t.Helper()
	s.end()
	now := time.Now()
	for _, at := range s.last {
		s.longest = max(s.longest, now.Sub(at))
	}
	s.t.Logf("%d addresses for %s: %d moves, %d answers by ARP, the longest time without one %s",
		len(s.macs), now.Sub(s.since).Round(time.Second), len(s.moves), s.replies, s.longest.Round(time.Millisecond))
	report := s.t.Errorf
	if !strict {
		report = s.t.Logf
	}
	for _, m := range s.moves {
		report("%s", m)
	}
	if s.longest > looseBar {
		report("an address was not answered for %s", s.longest)
	}
}

// alarms says how often speakers took a node for silent or dead. Where it is strict, none may be taken for dead.
func (s *steady) alarms(strict bool) {
	s.t.Helper()
	dead := s.logged("member gone") + s.logged("by heartbeats these nodes are gone now")
	s.t.Logf("a path between two nodes fell silent %d times, and speakers changed their mind on who is there %d times", s.logged("a node has fallen silent"), dead)
	if dead > 0 && strict {
		s.t.Error("nobody was to be taken for dead")
	}
}

// logged is how often the speakers have logged a message since the beginning.
func (s *steady) logged(message string) (n int) {
	s.t.Helper()
	out, err := s.p.Kubectl(product.Within(s.t, time.Minute), "logs", "-n", "metallb-system", "-l", "app=metallb,component=speaker", "--tail=-1",
		"--since-time="+s.since.UTC().Format(time.RFC3339)) // in seconds
	product.Must(s.t, err)
	for line := range strings.Lines(out) {
		var e struct {
			Time time.Time
			Msg  string
		}
		if json.Unmarshal([]byte(line), &e) == nil && e.Msg == message && e.Time.After(s.since) {
			n++
		}
	}
	return n
}

// idle is a node that announces nothing.
func (s *steady) idle() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.p.Nodes() {
		if !slices.Contains(slices.Collect(maps.Values(s.nodes)), n) {
			return n
		}
	}
	s.t.Fatalf("there is no node without an address: %v", s.nodes)
	return ""
}
