package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

const (
	// reportBar is how soon a foreign machine with a Service's address must be reported, looseReportBar on a machine that does
	// other things beside.
	reportBar, looseReportBar = 2 * time.Second, 6 * time.Second
	// clearBar is for the end of it, and outageBar for what a client may miss meanwhile, which goes to the other machine until the
	// owner has claimed the address anew.
	clearBar, outageBar = 20 * time.Second, 10 * time.Second
)

// A machine on the LAN that is no node takes the address of a Service, with and without saying so: that is reported, the
// address goes on answering, and when the machine has left nothing is reported any more. The router plays the machine.
func TestForeignHolder(t *testing.T) {
	p, ns, address := aspera(t)
	ctx := product.Within(t, 4*time.Minute)
	owner, _, err := p.Announcer(ctx, address)
	product.Must(t, err)
	_, err = p.Answer(ctx, lab.Client, "tcp", netip.AddrPortFrom(address, 33001))
	product.Must(t, err)
	lan := p.Machine(lab.Router).NICs[lab.LAN]
	nic, mac, token := lan.Name, lan.MAC.String(), metricsReader(ctx, t, p, ns)
	for _, how := range []string{"silent", "announced"} {
		t.Run(how, func(t *testing.T) {
			t.Cleanup(func() {
				_, _ = p.Exec(context.Background(), lab.Router, "ip", "addr", "del", address.String()+"/32", "dev", nic)
			})
			users, stop := context.WithCancel(ctx)
			defer stop()
			stream := make(chan []product.Request, 1)
			go func() {
				stream <- p.Stream(users, lab.Client, "tcp", netip.AddrPortFrom(address, 33001), 20*time.Millisecond)
			}()
			time.Sleep(time.Second)

			start := time.Now()
			_, err := p.Exec(ctx, lab.Router, "ip", "addr", "add", address.String()+"/32", "dev", nic)
			product.Must(t, err)
			if how == "announced" {
				product.Must(t, gratuitous(p, nic, address))
			}
			conflictIs(ctx, t, p, ns, func(c *metav1.Condition) bool {
				return c != nil && c.Status == "True" && c.Reason == "ForeignHolder" && strings.Contains(c.Message, mac)
			})
			took := time.Since(start)
			t.Logf("%s: reported after %s", how, took.Round(time.Millisecond))
			if took > reportBar && *bars || took > looseReportBar {
				t.Errorf("%s: reported after %s", how, took)
			}
			product.Must(t, product.Until(ctx, "the event", func() (bool, error) {
				out, err := p.Kubectl(ctx, "get", "events", "-n", ns, "--field-selector", "reason=addressConflict", "-o", "jsonpath={.items[*].message}")
				return err == nil && strings.Contains(out, mac), fmt.Errorf("events: %q %w", out, err)
			}))
			counted := []string{"metallb_layer2_conflicts{", address.String(), "ForeignHolder"}
			metric(ctx, t, p, owner, token, true, counted...)
			time.Sleep(3 * time.Second) // the holder stays for a while
			macs, err := p.Answerers(address, time.Second)
			product.Must(t, err)
			if len(macs) != 2 {
				t.Errorf("%v answer, want the owner and the foreign machine", macs)
			}

			left := time.Now()
			_, err = p.Exec(ctx, lab.Router, "ip", "addr", "del", address.String()+"/32", "dev", nic)
			product.Must(t, err)
			conflictIs(ctx, t, p, ns, func(c *metav1.Condition) bool { return c == nil })
			took = time.Since(left)
			t.Logf("%s: cleared %s after it left", how, took.Round(time.Millisecond))
			if took > clearBar {
				t.Errorf("%s: cleared after %s", how, took)
			}
			metric(ctx, t, p, owner, token, false, counted...)
			stop()
			fared := product.How(<-stream)
			t.Logf("%s: meanwhile %s", how, fared)
			if len(fared.Failed) > 0 {
				t.Logf("%s", fared.Failures())
			}
			if fared.Sent == 0 || fared.Outage > outageBar {
				t.Errorf("%s: the address did not go on answering: %s without an answer", how, fared.Outage)
			}
			if now, _, err := p.Announcer(ctx, address); err != nil || now != owner {
				t.Errorf("%s: %s announces it now, %s did: %v", how, now, owner, err)
			}
		})
	}
}

// conflictIs waits until the Service's condition about conflicts is so.
func conflictIs(ctx context.Context, t *testing.T, p *product.Product, ns string, ok func(*metav1.Condition) bool) {
	t.Helper()
	product.Must(t, product.Until(ctx, "the condition AddressConflict to follow", func() (bool, error) {
		svc := &corev1.Service{}
		if err := p.Get(ctx, client.ObjectKey{Namespace: ns, Name: "aspera-tcp-proxy"}, svc); err != nil {
			return false, err
		}
		c := meta.FindStatusCondition(svc.Status.Conditions, "metallb.io/AddressConflict")
		return ok(c), fmt.Errorf("it is %+v", c)
	}))
}

// gratuitous has the router claim an address, in the form of a request and in that of a reply.
func gratuitous(p *product.Product, nic string, address netip.Addr) error {
	return p.InNamespace(lab.Router, func() error {
		ifi, err := net.InterfaceByName(nic)
		if err != nil {
			return err
		}
		c, err := arp.Dial(ifi)
		if err != nil {
			return err
		}
		defer c.Close()
		all := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		for _, op := range []arp.Operation{arp.OperationRequest, arp.OperationReply} {
			claim, err := arp.NewPacket(op, ifi.HardwareAddr, address, ifi.HardwareAddr, address)
			if err == nil {
				err = c.WriteTo(claim, all)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// metricsReader makes an account that may read metrics and returns its token.
func metricsReader(ctx context.Context, t *testing.T, p *product.Product, ns string) (token string) {
	t.Helper()
	for _, args := range [][]string{
		{"create", "serviceaccount", "reader", "-n", ns},
		{"create", "clusterrolebinding", "reader-" + ns, "--clusterrole=metallb-metrics-reader", "--serviceaccount=" + ns + ":reader"},
	} {
		_, err := p.Kubectl(ctx, args...)
		product.Must(t, err)
	}
	t.Cleanup(func() { _, _ = p.Kubectl(context.Background(), "delete", "clusterrolebinding", "reader-"+ns) })
	token, err := p.Kubectl(ctx, "create", "token", "reader", "-n", ns)
	product.Must(t, err)
	return strings.TrimSpace(token)
}

// metric waits until what the speaker of a node counts has a line with these parts, or has none.
func metric(ctx context.Context, t *testing.T, p *product.Product, node, token string, there bool, parts ...string) {
	t.Helper()
	at := netip.AddrPortFrom(p.Machine(node).NICs[lab.LAN].IPv4.Addr(), 9120).String()
	web := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the certificate is the speaker's own
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return p.Dial(ctx, lab.Client, "tcp", at) },
	}}
	defer web.CloseIdleConnections()
	product.Must(t, product.Until(ctx, fmt.Sprintf("the metric %v to be there: %v", parts, there), func() (bool, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+at+"/metrics", nil)
		if err != nil {
			return false, err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		answer, err := web.Do(r)
		if err != nil {
			return false, err
		}
		defer answer.Body.Close()
		b, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			return false, fmt.Errorf("%s: %w", answer.Status, err)
		}
		found := false
		for line := range strings.Lines(string(b)) {
			found = found || !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) })
		}
		return found == there, fmt.Errorf("the line is there: %v", found)
	}))
}
