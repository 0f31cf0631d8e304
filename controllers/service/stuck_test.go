package service

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/testenv"
)

var update = flag.Bool("update", false, "write docs/why-pending.md anew")

// stuck is a Service that does not get what it asks for, and what helps.
type stuck struct {
	// why in a few words, and what to do about it, as docs/why-pending.md has them.
	why, remedy string
	// pools, and other Services.
	given func(w *world)
	// edits of the Service.
	edits []func(*corev1.Service)
	// state of the Service: addresses that it has all the same, and the reason.
	state string
	fix   func(w *world)
	// then is its state afterwards.
	then string
}

func havingPools(named ...string) func(*world) {
	return func(w *world) {
		for _, p := range named {
			name, addresses, _ := strings.Cut(p, "=")
			w.pool(name, addresses)
		}
	}
}

// webAsks edits the Service.
func webAsks(edits ...func(*corev1.Service)) func(*world) {
	return func(w *world) {
		w.edit("web", func(svc *corev1.Service) {
			for _, edit := range edits {
				edit(svc)
			}
		})
	}
}

func unannotate(key string) func(*corev1.Service) {
	return func(svc *corev1.Service) { delete(svc.Annotations, key) }
}

func loadBalancerIP(ip string) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Spec.LoadBalancerIP = ip }
}

func port(n int32) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Spec.Ports[0].Port = n }
}

const (
	addressPool     = "metallb.io/address-pool"
	loadBalancerIPs = "metallb.io/loadBalancerIPs"
	allowSharedIP   = "metallb.io/allow-shared-ip"
)

var stuckServices = []stuck{
	{
		why: "There is no pool", remedy: "Create an IPAddressPool in the namespace of the MetalLB resource.",
		given: func(*world) {}, state: "NoPools", fix: havingPools("lan=192.0.2.0/28"), then: "192.0.2.0",
	}, {
		why: "All pools are on request", remedy: "Ask for one by the annotation.",
		given: func(w *world) { w.pool("lan", "192.0.2.0/28", onRequest) }, state: "NoPoolForService",
		fix: webAsks(annotate(addressPool, "lan")), then: "192.0.2.0",
	}, {
		why: "The pool is for other namespaces", remedy: "Add the Service's namespace to spec.serviceAllocation.namespaces of the pool.",
		given: func(w *world) {
			w.pool("bank", "192.0.2.0/28", func(p *v1beta1.IPAddressPool) {
				p.Spec.ServiceAllocation = &v1beta1.ServiceAllocation{Namespaces: []string{"bank"}}
			})
		},
		state: "NoPoolForService",
		fix: func(w *world) {
			w.changePool("bank", func(p *v1beta1.IPAddressPool) { p.Spec.ServiceAllocation.Namespaces = []string{"bank", w.apps} })
		}, then: "192.0.2.0",
	}, {
		why: "The pool is for namespaces with other labels", remedy: "Label the Service's namespace.",
		given: func(w *world) {
			w.pool("public", "192.0.2.0/28", func(p *v1beta1.IPAddressPool) {
				p.Spec.ServiceAllocation = &v1beta1.ServiceAllocation{NamespaceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"public": "yes"}}}}
			})
		},
		state: "NoPoolForService",
		fix: func(w *world) {
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.apps}}
			w.must(w.Patch(context.Background(), ns, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"public":"yes"}}}`))))
		}, then: "192.0.2.0",
	}, {
		why: "The pool is for Services with other labels", remedy: "Label the Service.",
		given: func(w *world) {
			w.pool("mail", "192.0.2.0/28", func(p *v1beta1.IPAddressPool) {
				p.Spec.ServiceAllocation = &v1beta1.ServiceAllocation{ServiceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"app": "mail"}}}}
			})
		},
		state: "NoPoolForService",
		fix:   webAsks(func(svc *corev1.Service) { svc.Labels = map[string]string{"app": "mail"} }), then: "192.0.2.0",
	}, {
		why: "No address is free", remedy: "Add addresses to the pool.",
		given: func(w *world) {
			w.pool("lan", "192.0.2.0/32")
			w.service("other")
			w.expect("other", "192.0.2.0")
		},
		state: "PoolExhausted", fix: func(w *world) { w.editPool("lan", "192.0.2.0/31") }, then: "192.0.2.1",
	}, {
		why: "No address is free, and a Service is no longer needed", remedy: "Delete it.",
		given: func(w *world) {
			w.pool("lan", "192.0.2.0/32")
			w.service("other")
			w.expect("other", "192.0.2.0")
		},
		state: "PoolExhausted", fix: func(w *world) { w.must(w.Delete(context.Background(), w.get("other"))) }, then: "192.0.2.0",
	}, {
		why: "What is free is reserved", remedy: "Remove the reservation, or add addresses.",
		given: func(w *world) {
			w.pool("lan", "192.0.2.0/32", func(p *v1beta1.IPAddressPool) {
				p.Spec.Reservations = []v1beta1.Reservation{{Addresses: []string{"192.0.2.0"}, Namespace: "bank"}}
			})
		},
		state: "PoolExhausted", fix: func(w *world) { w.changePool("lan", func(p *v1beta1.IPAddressPool) { p.Spec.Reservations = nil }) }, then: "192.0.2.0",
	}, {
		why: "The namespace has as many addresses as it may have", remedy: "Raise the quota, delete another Service of the namespace, or share its address.",
		given: func(w *world) {
			w.pool("lan", "192.0.2.0/28", func(p *v1beta1.IPAddressPool) { p.Spec.NamespaceQuota = ptr.To(int32(1)) })
			w.service("other")
			w.expect("other", "192.0.2.0")
		},
		state: "QuotaReached", fix: func(w *world) {
			w.changePool("lan", func(p *v1beta1.IPAddressPool) { p.Spec.NamespaceQuota = ptr.To(int32(2)) })
		}, then: "192.0.2.1",
	}, {
		why: "The namespace has as many addresses as it may have, and the Service asks for one", remedy: "Share the address of another Service of the namespace: the same value of the annotation on both.",
		given: func(w *world) {
			w.pool("lan", "192.0.2.0/28", func(p *v1beta1.IPAddressPool) { p.Spec.NamespaceQuota = ptr.To(int32(1)) })
			w.service("other", port(25))
			w.expect("other", "192.0.2.0")
		},
		edits: []func(*corev1.Service){annotate(loadBalancerIPs, "192.0.2.9")},
		state: "QuotaReached", fix: func(w *world) {
			w.edit("other", annotate(allowSharedIP, "mail"))
			w.edit("web", annotate(allowSharedIP, "mail", loadBalancerIPs, "192.0.2.0"))
		}, then: "192.0.2.0",
	}, {
		why: "The Service asks for a pool that does not exist", remedy: "Write the name of one that does.",
		given: havingPools("lan=192.0.2.0/28", "wan=198.51.100.0/28"), edits: []func(*corev1.Service){annotate(addressPool, "lam")},
		state: "PoolUnknown", fix: webAsks(annotate(addressPool, "wan")), then: "198.51.100.0",
	}, {
		why: "The Service asks for a pool that is not meant for it", remedy: "Ask for another.",
		given: func(w *world) {
			w.pool("lan", "192.0.2.0/28")
			w.pool("bank", "198.51.100.0/28", func(p *v1beta1.IPAddressPool) {
				p.Spec.ServiceAllocation = &v1beta1.ServiceAllocation{Namespaces: []string{"bank"}}
			})
		},
		edits: []func(*corev1.Service){annotate(addressPool, "bank")}, state: "PoolNotForService",
		fix: webAsks(annotate(addressPool, "lan")), then: "192.0.2.0",
	}, {
		why: "The pool has no addresses of the family", remedy: "Add some to the pool, or ask for another.",
		given: havingPools("lan=192.0.2.0/28"), edits: []func(*corev1.Service){annotate(addressPool, "lan"), families(corev1.IPFamilyPolicySingleStack, corev1.IPv6Protocol)},
		state: "FamilyNotInPool", fix: func(w *world) { w.editPool("lan", "192.0.2.0/28 2001:db8::/124") }, then: "2001:db8::",
	}, {
		why: "No pool has both families", remedy: "Add the other family to the pool: all of a Service's addresses are from one.",
		given: havingPools("four=192.0.2.0/28", "six=2001:db8::/124"), edits: []func(*corev1.Service){families(corev1.IPFamilyPolicyRequireDualStack, corev1.IPv4Protocol, corev1.IPv6Protocol)},
		state: "NoPoolForService", fix: func(w *world) { w.editPool("four", "192.0.2.0/28 2001:db8:1::/124") }, then: "192.0.2.0 2001:db8:1::",
	}, {
		why: "The Service asks for an address that is in no pool", remedy: "Ask for one that is.",
		given: havingPools("lan=192.0.2.0/28"), edits: []func(*corev1.Service){loadBalancerIP("192.0.3.7")},
		state: "AddressOutsidePools", fix: webAsks(loadBalancerIP("192.0.2.7")), then: "192.0.2.7",
	}, {
		why: "The Service asks for a pool, and for an address of another", remedy: "Remove one of the two.",
		given: havingPools("lan=192.0.2.0/28", "wan=198.51.100.0/28"), edits: []func(*corev1.Service){annotate(addressPool, "lan", loadBalancerIPs, "198.51.100.7")},
		state: "AddressNotInPool", fix: webAsks(unannotate(addressPool)), then: "198.51.100.7",
	}, {
		why: "The Service asks for addresses of two pools", remedy: "Ask for two of the same.",
		given: havingPools("four=192.0.2.0/28", "both=198.51.100.0/28 2001:db8::/124"),
		edits: []func(*corev1.Service){annotate(loadBalancerIPs, "192.0.2.7,2001:db8::7"), families(corev1.IPFamilyPolicyRequireDualStack, corev1.IPv4Protocol, corev1.IPv6Protocol)},
		state: "AddressesInTwoPools", fix: webAsks(annotate(loadBalancerIPs, "198.51.100.7,2001:db8::7")), then: "198.51.100.7 2001:db8::7",
	}, {
		why: "The Service asks for an address that the pool leaves out", remedy: "Ask for another.",
		given: func(w *world) {
			w.pool("lan", "192.0.2.0/28", func(p *v1beta1.IPAddressPool) { p.Spec.AvoidBuggyIPs = true })
		},
		edits: []func(*corev1.Service){loadBalancerIP("192.0.2.0")}, state: "AddressAvoided", fix: webAsks(loadBalancerIP("192.0.2.1")), then: "192.0.2.1",
	}, {
		why: "Another Service has the address", remedy: "Let both share it, on different ports.",
		given: func(w *world) {
			w.pool("lan", "192.0.2.0/28")
			w.service("other", port(25))
			w.expect("other", "192.0.2.0")
		},
		edits: []func(*corev1.Service){loadBalancerIP("192.0.2.0")}, state: "AddressInUse",
		fix: func(w *world) {
			w.edit("other", annotate(allowSharedIP, "both"))
			w.edit("web", annotate(allowSharedIP, "both"))
		}, then: "192.0.2.0",
	}, {
		why: "Another Service shares the address, but has the same port", remedy: "Take another port.",
		given: func(w *world) {
			w.pool("lan", "192.0.2.0/28")
			w.service("other", annotate(allowSharedIP, "both"))
			w.expect("other", "192.0.2.0")
		},
		edits: []func(*corev1.Service){loadBalancerIP("192.0.2.0"), annotate(allowSharedIP, "both")}, state: "AddressInUse", fix: webAsks(port(8080)), then: "192.0.2.0",
	}, {
		why: "The address is reserved for others", remedy: "Ask for another.",
		given: func(w *world) {
			w.pool("lan", "192.0.2.0/28", func(p *v1beta1.IPAddressPool) {
				p.Spec.Reservations = []v1beta1.Reservation{{Addresses: []string{"192.0.2.7"}, Namespace: "bank", ServiceName: "counter"}}
			})
		},
		edits: []func(*corev1.Service){loadBalancerIP("192.0.2.7")}, state: "AddressReserved", fix: webAsks(loadBalancerIP("192.0.2.8")), then: "192.0.2.8",
	}, {
		why: "What the Service asks for is no address", remedy: "Write one.",
		given: havingPools("lan=192.0.2.0/28"), edits: []func(*corev1.Service){annotate(loadBalancerIPs, "192.0.2.300")},
		state: "InvalidRequest", fix: webAsks(annotate(loadBalancerIPs, "192.0.2.3")), then: "192.0.2.3",
	}, {
		why: "The Service asks for two addresses of one family", remedy: "Ask for one of each at most.",
		given: havingPools("lan=192.0.2.0/28"), edits: []func(*corev1.Service){annotate(loadBalancerIPs, "192.0.2.3,192.0.2.4")},
		state: "InvalidRequest", fix: webAsks(annotate(loadBalancerIPs, "192.0.2.3")), then: "192.0.2.3",
	}, {
		why: "Field and annotation contradict one another", remedy: "Remove one of the two.",
		given: havingPools("lan=192.0.2.0/28"), edits: []func(*corev1.Service){annotate(loadBalancerIPs, "192.0.2.3"), loadBalancerIP("192.0.2.4")},
		state: "InvalidRequest", fix: webAsks(unannotate(loadBalancerIPs)), then: "192.0.2.4",
	}, {
		why: "The Service asks for an address of a family that it has not", remedy: "Ask for one of its own family.",
		given: havingPools("lan=192.0.2.0/28 2001:db8::/124"), edits: []func(*corev1.Service){annotate(loadBalancerIPs, "2001:db8::3")},
		state: "InvalidRequest", fix: webAsks(annotate(loadBalancerIPs, "192.0.2.3")), then: "192.0.2.3",
	}, {
		why: "The Service needs two addresses and asks for one", remedy: "Ask for one of each family.",
		given: havingPools("lan=192.0.2.0/28 2001:db8::/124"),
		edits: []func(*corev1.Service){annotate(loadBalancerIPs, "192.0.2.3"), families(corev1.IPFamilyPolicyRequireDualStack, corev1.IPv4Protocol, corev1.IPv6Protocol)},
		state: "InvalidRequest", fix: webAsks(annotate(loadBalancerIPs, "192.0.2.3,2001:db8::3")), then: "192.0.2.3 2001:db8::3",
	}, {
		why: "Another controller gave it an address", remedy: "If that is not meant to serve the Service, stop it and clear the status.",
		given: havingPools("lan=192.0.2.0/28"), edits: nil, state: "203.0.113.9 ForeignAddress",
		fix: func(w *world) {
			w.must(w.Status().Patch(context.Background(), w.get("web"), client.RawPatch("application/merge-patch+json", []byte(`{"status":{"loadBalancer":null}}`))))
		}, then: "192.0.2.0",
	},
}

// TestWhyPending has Services that are stuck, each for another reason. What each shows is in docs/why-pending.md, word for
// word, and what stands there to do about it helps.
func TestWhyPending(t *testing.T) {
	var doc bytes.Buffer
	fmt.Fprint(&doc, `# Why is my Service pending?

`+"`kubectl describe service`"+` shows an event with the reason, and the condition `+"`metallb.io/AddressAllocated`"+` has it for as long as it holds:

    kubectl get service NAME -o jsonpath='{.status.conditions[?(@.type=="metallb.io/AddressAllocated")].message}'

These are all reasons, each with an example of what the condition says (the Service is `+"`shop/web`"+`) and what to do. Made by a test that
meets every one of them and does what is said here (`+"`go test ./controllers/service -run WhyPending -update`"+`).
`)
	seen := map[string]bool{}
	for _, tt := range stuckServices {
		t.Run(tt.why, func(t *testing.T) {
			w := newWorld(t)
			foreign := strings.HasSuffix(tt.state, ForeignAddress)
			if !foreign {
				w.start()
			}
			tt.given(w)
			svc := w.service("web", tt.edits...)
			if foreign {
				svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.9"}}
				w.must(w.Status().Update(context.Background(), svc))
				w.start()
			}
			svc = w.expect("web", tt.state)
			text := strings.NewReplacer(w.apps, "shop", w.namespace, "metallb-system").Replace(condition(svc).Message)
			fmt.Fprintf(&doc, "\n## %s\n\n`%s`: %s\n\n**%s**\n", tt.why, condition(svc).Reason, text, tt.remedy)
			seen[condition(svc).Reason] = true
			tt.fix(w)
			start := time.Now()
			w.expect("web", tt.then)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("it took %s until the remedy helped", took)
			}
		})
	}
	if t.Failed() {
		return
	}
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "docs", "why-pending.md")
	if *update {
		if err := os.WriteFile(path, doc.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if is, err := os.ReadFile(path); err != nil || !bytes.Equal(is, doc.Bytes()) {
		t.Errorf("%s is not what Services show; -update writes it (%v):\n%s", path, err, doc.String())
	}
	if len(seen) != 15 {
		t.Errorf("%d reasons are met: %v", len(seen), seen)
	}
}
