package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/internal/bgp/bgptest"
	"metallb.io/operator/internal/bgp/engine"
	"metallb.io/operator/internal/bgp/gobgp"
	"metallb.io/operator/internal/l2/l2test"
	"metallb.io/operator/speaker/sessions"
)

// asEngine marks the process that is a speaker's BGP engine.
const asEngine = "METALLB_TEST_BGP_ENGINE"

func serveEngine() int {
	router := gobgp.New(slog.New(slog.DiscardHandler))
	defer router.Close()
	if err := engine.Serve(os.Stdin, os.Stdout, router); err != nil {
		println(err.Error())
		return 1
	}
	return 0
}

// newSessions are those of a speaker, with an engine that is this test's binary.
func newSessions(t *testing.T, log *slog.Logger) (s *sessions.Sessions, end func()) {
	t.Helper()
	e := engine.New(func() *exec.Cmd {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), asEngine+"=1")
		cmd.Stderr = os.Stderr
		return cmd
	}, log)
	server := udp.New(udp.Options{Log: log, Lock: "@metallb.io/test/" + t.Name()})
	paths := udp.Divide(server)
	s = sessions.New(e, paths.Share(), nil, log)
	return s, func() {
		s.Close()
		e.Close()
		paths.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = server.Close(ctx)
	}
}

// sessionMetricNames are those of each session that users' dashboards have.
var sessionMetricNames = []string{
	"metallb_bgp_session_up", "metallb_bgp_announced_prefixes_total", "metallb_bgp_pending_prefixes_total", "metallb_bgp_updates_total",
	"metallb_bgp_updates_total_received", "metallb_bgp_opens_sent", "metallb_bgp_opens_received", "metallb_bgp_notifications_sent",
	"metallb_bgp_keepalives_sent", "metallb_bgp_keepalives_received", "metallb_bgp_route_refresh_sent", "metallb_bgp_total_sent",
	"metallb_bgp_total_received", "metallb_bfd_session_up", "metallb_bfd_control_packet_input", "metallb_bfd_control_packet_output",
	"metallb_bfd_echo_packet_input", "metallb_bfd_echo_packet_output", "metallb_bfd_session_up_events", "metallb_bfd_session_down_events",
	"metallb_bfd_zebra_notifications",
}

// sessionMetrics are those of a session by name.
func (s *speaker) sessionMetrics(t *testing.T, peer, vrf string) map[string]float64 {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.Metric {
			if len(m.Label) == 2 && m.Label[0].GetName() == "peer" && m.Label[0].GetValue() == peer && m.Label[1].GetName() == "vrf" && m.Label[1].GetValue() == vrf {
				values[family.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return values
}

// TestRoutesToARouter has FRR on the LAN hear of what the speaker of a node announces.
func TestRoutesToARouter(t *testing.T) {
	l2test.Require(t, "/usr/lib/frr/bgpd", "vtysh")
	c := newCluster(t, 1)
	l2test.IP(t, "addr add 192.0.2.201/24 dev lan0")
	l2test.IP(t, "addr add 2001:db8::201/64 dev lan0 nodad")
	f := bgptest.StartFRR(t, c.lan, strings.Join([]string{
		"router bgp 64513", " bgp router-id 192.0.2.254", " no bgp ebgp-requires-policy",
		" neighbor 192.0.2.201 remote-as 64512", " neighbor 192.0.2.201 password hidden", " neighbor 192.0.2.201 bfd",
		" address-family ipv6 unicast", "  neighbor 192.0.2.201 activate", " exit-address-family", "",
	}, "\n"))
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: c.namespace} }
	c.create(&corev1.Secret{ObjectMeta: meta("router"), Type: "kubernetes.io/basic-auth", StringData: map[string]string{"password": "hidden"}})
	interval := uint32(300)
	c.create(&v1beta1.BFDProfile{ObjectMeta: meta("fast"), Spec: v1beta1.BFDProfileSpec{TransmitInterval: &interval, ReceiveInterval: &interval}})
	router := &v1beta2.BGPPeer{ObjectMeta: meta("router"), Spec: v1beta2.BGPPeerSpec{
		MyASN: 64512, ASN: 64513, Address: "192.0.2.254", PasswordSecret: corev1.SecretReference{Name: "router"}, BFDProfile: "fast", DualStackAddressFamily: true,
	}}
	c.create(router)
	c.create(&v1beta1.IPAddressPool{ObjectMeta: meta("routed"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"203.0.113.0/24", "2001:db8:1::/120"}}})
	length := int32(24)
	c.create(&v1beta1.BGPAdvertisement{ObjectMeta: meta("exact"), Spec: v1beta1.BGPAdvertisementSpec{IPAddressPools: []string{"routed"}, Communities: []string{"64512:7"}}})
	c.create(&v1beta1.BGPAdvertisement{ObjectMeta: meta("net"), Spec: v1beta1.BGPAdvertisementSpec{IPAddressPools: []string{"routed"}, AggregationLength: &length}})
	s := c.start(0, "")
	c.service("web", "203.0.113.7", 0)
	six, _ := c.service("six", "2001:db8:1::7", 0)
	has := func(what string, want ...string) {
		t.Helper()
		l2test.Eventually(t, time.Minute, fmt.Sprintf("%s: the router has %v", what, want), func() bool {
			var got []string
			for _, family := range []string{"ipv4", "ipv6"} {
				for prefix, r := range f.Routes(t, family) {
					if r.Valid {
						got = append(got, prefix)
					}
				}
			}
			slices.Sort(got)
			return slices.Equal(got, want)
		})
	}
	has("two Services", "2001:db8:1::7/128", "203.0.113.0/24", "203.0.113.7/32")
	if plain, _ := f.Communities(t, "ipv4", "203.0.113.7/32"); plain != "64512:7" {
		t.Errorf("communities %q", plain)
	}
	told := func(what string, want ...string) {
		t.Helper()
		l2test.Eventually(t, time.Minute, fmt.Sprintf("%s: the ServiceBGPStatuses say %v", what, want), func() bool {
			var list v1beta1.ServiceBGPStatusList
			if err := c.client.List(context.Background(), &list, client.InNamespace(c.namespace)); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, x := range list.Items {
				got = append(got, fmt.Sprintf("%s: %s to %v of %v", x.Status.ServiceName, x.Status.Node, x.Status.Peers, x.Status.Routes))
			}
			slices.Sort(got)
			return slices.Equal(got, want)
		})
	}
	state := func(what string, ok func(v1beta1.BGPSessionStateStatus) bool) {
		t.Helper()
		var last v1beta1.BGPSessionStateList
		defer func() {
			if t.Failed() {
				t.Logf("%+v", last.Items)
			}
		}()
		l2test.Eventually(t, time.Minute, what, func() bool {
			if err := c.client.List(context.Background(), &last, client.InNamespace(c.namespace)); err != nil {
				t.Fatal(err)
			}
			return len(last.Items) == 1 && ok(last.Items[0].Status)
		})
	}
	const webRoutes = " to [router] of [{203.0.113.0/24 [router]} {203.0.113.7/32 [router]}]"
	told("two Services", "six: "+c.node(0)+" to [router] of [{2001:db8:1::7/128 [router]}]", "web: "+c.node(0)+webRoutes)
	state("the session is up, and the path is watched", func(s v1beta1.BGPSessionStateStatus) bool {
		return s.BGPStatus == "Established" && s.BFDStatus == "Up" && s.Peer == "192.0.2.254" && s.BGPPeer == "router" && s.Node == c.node(0) && s.Since != nil
	})
	values := s.sessionMetrics(t, "192.0.2.254:179", "")
	for _, name := range sessionMetricNames {
		if _, there := values[name]; !there {
			t.Errorf("there is no metric %s", name)
		}
	}
	if len(values) != len(sessionMetricNames) || values["metallb_bgp_session_up"] != 1 || values["metallb_bgp_announced_prefixes_total"] != 3 ||
		values["metallb_bgp_pending_prefixes_total"] != 0 || values["metallb_bfd_session_up"] != 1 || values["metallb_bgp_opens_sent"] < 1 {
		t.Errorf("metrics %v", values)
	}

	t.Run("a Service that goes leaves the others", func(t *testing.T) {
		if err := c.client.Delete(context.Background(), six); err != nil {
			t.Fatal(err)
		}
		has("one Service", "203.0.113.0/24", "203.0.113.7/32")
		told("one Service", "web: "+c.node(0)+webRoutes)
	})
	t.Run("a path that is gone ends the session", func(t *testing.T) {
		c.lan.IP(t, "link set port0 down")
		state("the session has ended for that", func(s v1beta1.BGPSessionStateStatus) bool {
			return s.BGPStatus != "Established" && s.BFDStatus == "Down" && strings.Contains(s.LastError, "BFD down") || strings.Contains(s.LastError, "cannot connect")
		})
		told("nobody is told")
		c.lan.IP(t, "link set port0 up")
		state("it is there again", func(s v1beta1.BGPSessionStateStatus) bool { return s.BGPStatus == "Established" && s.BFDStatus == "Up" })
		told("it is told again", "web: "+c.node(0)+webRoutes)
	})
	t.Run("a peer that goes", func(t *testing.T) {
		if err := c.client.Delete(context.Background(), router); err != nil {
			t.Fatal(err)
		}
		has("the router is told of no more")
		told("nobody is told")
	})
}
