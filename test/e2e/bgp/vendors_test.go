package bgp

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// TestRoutersOfDocs has routers that are set up to behave like those for which docs/bgp-routers.md has configurations, as far
// as their documentation tells: a MikroTik router that waits to be called, with eBGP over one hop, a hold time of 180 s and
// nothing of graceful restart; and a FortiGate with iBGP, a password, a range of neighbours that it never calls itself, timers
// of 60 and 180 s, and graceful restart. The range has the nodes alone in it: it is the lab that tries the port, without a password.
func TestRoutersOfDocs(t *testing.T) {
	for name, tt := range map[string]struct {
		kind   lab.RouterKind
		config string
		peer   func(*v1beta2.BGPPeerSpec)
		up     func(frrSession) bool
	}{
		"RouterOS": {
			kind: lab.BIRD,
			config: fmt.Sprintf(`log stderr all;
router id %s;
protocol device {}
protocol kernel kernel4 { ipv4 { export where source = RTS_BGP; }; merge paths on; }
protocol kernel kernel6 { ipv6 { export where source = RTS_BGP; }; merge paths on; }
protocol bgp nodes { local %[1]s as 64513; neighbor range 172.30.0.8/29 as 64512; direct; passive on;
 hold time 180; keepalive time 60; graceful restart off; password "pass-word"; dynamic name "node_";
 ipv4 { import all; export none; }; ipv6 { import all; export none; }; }
`, routerID),
			peer: func(p *v1beta2.BGPPeerSpec) { p.Password = "pass-word" },
		},
		"FortiGate": {
			kind: lab.FRR,
			config: fmt.Sprintf(`hostname router
log stdout
router bgp 65559
 bgp router-id %s
 timers bgp 60 180
 bgp graceful-restart
 neighbor nodes peer-group
 neighbor nodes remote-as 65559
 neighbor nodes password foo
 bgp listen range 172.30.0.8/29 peer-group nodes
 address-family ipv4 unicast
  neighbor nodes activate
  maximum-paths ibgp 8
 exit-address-family
 address-family ipv6 unicast
  neighbor nodes activate
  maximum-paths ibgp 8
 exit-address-family
exit
`, routerID),
			peer: func(p *v1beta2.BGPPeerSpec) {
				p.MyASN, p.ASN, p.Password, p.EnableGracefulRestart = 65559, 65559, "foo", true
			},
			up: func(x frrSession) bool { return x.HoldTime == 90000 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := install(t)
			n.startRouter(tt.kind, tt.config)
			ns := n.expose(tt.peer)
			if tt.up != nil {
				n.must(product.Until(n.within(), "the lesser hold time to count", func() (bool, error) {
					count, err := n.sessionsInFRR(tt.up)
					return err == nil && count == len(n.Nodes()), errors.Join(err, fmt.Errorf("with %d", count))
				}))
			}
			n.told(ns, "edge", n.Nodes())
			n.bothAnswer(n.Nodes())
			if name == "FortiGate" {
				n.rollOut() // with graceful restart, for a router that never calls
				n.everywhere()
			}
			n.must(n.DeleteAllOf(n.within(), &corev1.Service{}, client.InNamespace(ns)))
			n.over(0)
		})
	}
}

// frrSession is what FRR says of a session.
type frrSession struct {
	HoldTime    int `json:"bgpTimerHoldTimeMsecs"` // as agreed on
	PortForeign int // of the other end
}

// sessionsInFRR counts FRR's sessions of some kind.
func (n *network) sessionsInFRR(some func(frrSession) bool) (count int, err error) {
	var all map[string]frrSession
	err = json.Unmarshal([]byte(n.vtysh("show bgp neighbors json")), &all)
	for _, x := range all {
		if some(x) {
			count++
		}
	}
	return count, err
}
