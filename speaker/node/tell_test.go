package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/l2/l2test"
)

// reported is the ConfigurationState of node i; one that is not there is empty.
func (c *cluster) reported(i int) *v1beta1.ConfigurationState {
	c.t.Helper()
	s := &v1beta1.ConfigurationState{}
	err := c.client.Get(context.Background(), client.ObjectKey{Namespace: c.namespace, Name: configuration.SpeakerState(c.node(i))}, s)
	if client.IgnoreNotFound(err) != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *cluster) peer(name, address string, edit func(*v1beta2.BGPPeerSpec)) *v1beta2.BGPPeer {
	c.t.Helper()
	p := &v1beta2.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.namespace}, Spec: v1beta2.BGPPeerSpec{MyASN: 64512, ASN: 64513, Address: address}}
	edit(&p.Spec)
	c.create(p)
	return p
}

func TestASpeakerReportsOnItsConfigurationAndNetworks(t *testing.T) {
	c := newCluster(t, 1)
	t.Cleanup(func() {
		_ = c.client.DeleteAllOf(context.Background(), &v1beta1.ConfigurationState{}, client.InNamespace(c.namespace))
	})
	l2test.IP(t, "addr add 198.51.100.5/24 dev lan0")
	l2test.IP(t, "route add default via 198.51.100.1")
	old := c.start(0, "a")
	c.ready(old)
	eventually := func(what string, ok func(*v1beta1.ConfigurationState) bool) *v1beta1.ConfigurationState {
		t.Helper()
		l2test.Eventually(t, 15*time.Second, what, func() bool { return ok(c.reported(0)) })
		return c.reported(0)
	}
	got := eventually("the report is there", func(s *v1beta1.ConfigurationState) bool { return s.Status.Result == v1beta1.ConfigurationValid })
	if !slices.Equal(got.Status.Subnets, []string{"198.51.100.0/24"}) || !slices.Equal(got.Status.Gateways, []string{"198.51.100.1"}) {
		t.Errorf("networks %v %v", got.Status.Subnets, got.Status.Gateways)
	}
	if len(got.Status.Conditions) != 1 || got.Status.Conditions[0].Type != v1beta1.ConditionConfigurationValid || len(got.Status.Warnings) > 0 {
		t.Errorf("status %+v", got.Status)
	}
	if len(got.OwnerReferences) != 1 || got.OwnerReferences[0].Name != old.Pod || got.Labels[v1beta1.LabelNodeName] != c.node(0) || got.Labels[v1beta1.LabelComponentType] != "speaker" {
		t.Errorf("metadata %+v", got.ObjectMeta)
	}
	l2test.IP(t, "addr add 203.0.113.5/28 dev lan0")
	got = eventually("a new subnet", func(s *v1beta1.ConfigurationState) bool { return len(s.Status.Subnets) == 2 })

	// Statuses of pools change all the time. They are no reason to do anything.
	latest := func() *reading {
		old.teller.mu.Lock()
		defer old.teller.mu.Unlock()
		return old.teller.latest
	}
	before := latest()
	pool := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "front", Namespace: c.namespace}}
	for i := range 5 {
		patch := fmt.Sprintf(`{"status":{"assignedIPv4":%d,"assignedIPv6":0,"availableIPv4":9,"availableIPv6":9}}`, i)
		if err := c.client.Status().Patch(context.Background(), pool, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	if latest() != before {
		t.Error("the configuration was read again for the status of a pool")
	}
	if now := c.reported(0); now.ResourceVersion != got.ResourceVersion {
		t.Errorf("the report is written without a change: %+v", now)
	}

	// Two peers with one address, both for this node; one that is for another node cannot break it.
	const password = "do-not-tell"
	hidden := func(s *v1beta2.BGPPeerSpec) { s.Password = password }
	c.peer("first", "198.51.100.2", hidden)
	time.Sleep(1100 * time.Millisecond) // ages are in seconds
	c.peer("elsewhere", "198.51.100.2", func(s *v1beta2.BGPPeerSpec) {
		hidden(s)
		s.NodeSelectors = []metav1.LabelSelector{{MatchLabels: map[string]string{"zone": "elsewhere"}}}
	})
	second := c.peer("second", "198.51.100.2", hidden)
	got = eventually("the younger is wrong", func(s *v1beta1.ConfigurationState) bool { return s.Status.Result == v1beta1.ConfigurationInvalid })
	if !strings.HasPrefix(got.Status.ErrorSummary, "BGPPeer second: ") || strings.Contains(got.Status.ErrorSummary, "\n") {
		t.Errorf("summary %q", got.Status.ErrorSummary)
	}
	if strings.Contains(fmt.Sprintf("%+v", got), password) {
		t.Error("the report has a password")
	}
	c.service("web", "192.0.2.10", 0)
	c.eventually("what is right is announced", "192.0.2.10", 0)

	// A report that is deleted is made again; without the API server it waits, and announcing does not.
	if err := c.client.Delete(context.Background(), got); err != nil {
		t.Fatal(err)
	}
	eventually("it is made again", func(s *v1beta1.ConfigurationState) bool { return s.Status.Result == v1beta1.ConfigurationInvalid })
	old.api.cut()
	if err := c.client.Delete(context.Background(), second); err != nil {
		t.Fatal(err)
	}
	l2test.IP(t, "addr del 203.0.113.5/28 dev lan0")
	c.eventually("the API server is away", "192.0.2.10", 0)
	old.api.mend()
	eventually("the report follows", func(s *v1beta1.ConfigurationState) bool {
		return s.Status.Result == v1beta1.ConfigurationValid && len(s.Status.Subnets) == 1
	})

	// The pod that follows in an upgrade takes the report over.
	young := c.start(0, "b")
	eventually("the new pod reports", func(s *v1beta1.ConfigurationState) bool {
		return len(s.OwnerReferences) == 1 && s.OwnerReferences[0].Name == young.Pod
	})
	old.stop()
}

func TestPasswordsOfPeersComeFromSecrets(t *testing.T) {
	c := newCluster(t, 1)
	s := c.start(0, "a")
	c.ready(s)
	c.peer("router", "198.51.100.2", func(s *v1beta2.BGPPeerSpec) { s.PasswordSecret.Name = "router" })
	warned := func() bool {
		return slices.ContainsFunc(c.reported(0).Status.Warnings, func(w string) bool { return strings.HasPrefix(w, "BGPPeer router: spec.passwordSecret.name") })
	}
	l2test.Eventually(t, 15*time.Second, "the missing Secret is reported", warned)
	c.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "router", Namespace: c.namespace}, Type: corev1.SecretTypeBasicAuth, Data: map[string][]byte{"username": {}, "password": []byte("hush")}})
	s.secrets.poke <- struct{}{} // as after a minute
	l2test.Eventually(t, 15*time.Second, "and no more when it is there", func() bool { return !warned() })
}
