package olm

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
)

// settled is how long a ClusterServiceVersion must stay Succeeded after an upgrade.
const settled = 15 * time.Second

// upgrade publishes a next version of the operator in the catalog, which the Subscription follows, and returns its name.
// Meanwhile the Service answers every request.
func upgrade(t *testing.T, o *OLM, history *History, catalog Catalog, address netip.Addr) string {
	t.Helper()
	ctx := within(t, 2*patience)
	next, dir := nextBundle(t)
	image, err := o.AddBundle(ctx, dir)
	must(t, err)
	catalog, err = o.Extend(ctx, catalog, dir, image, csv)
	must(t, err)

	traffic, stop := context.WithCancel(ctx)
	users := o.Users(traffic, netip.AddrPortFrom(address, 33001))
	refused := make(chan outage, 1)
	go func() { refused <- admissionOutage(traffic, o) }()
	start := time.Now()
	must(t, o.Publish(ctx, catalog))
	t.Logf("the next version is published after %s", since(start))
	_, err = history.WaitPhase(ctx, next, "Succeeded", 0)
	must(t, err)
	succeeded := stillSucceeded(t, history, next, settled)
	stop()
	sent := users.Stop()
	t.Logf("%s Succeeded for good %s after its publication began:\n%s", next, succeeded.Sub(start).Round(100*time.Millisecond), lines(history.Since(start)))
	if last, err := history.Last(csv); err != nil || last.Phase != gone {
		t.Errorf("%s is still there: %s, %v", csv, last, err)
	}
	must(t, o.WaitRollout(ctx, operatorNamespace, operatorDeployment))
	for machine, fared := range sent {
		t.Logf("%s: %s", machine, fared)
		if fared.Sent < 200 || fared.Lost() > 0 {
			t.Errorf("%s lost %d of %d requests while the operator was upgraded", machine, fared.Lost(), fared.Sent)
		}
	}
	out := <-refused
	t.Logf("admission: %d requests, %d without an answer of the operator's, over at most %s", out.made, out.failed, out.longest.Round(100*time.Millisecond))
	return next
}

// nextBundle makes a bundle of the next patch version, of the same operator, and returns its name and its directory.
func nextBundle(t *testing.T) (name, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "bundle")
	must(t, os.CopyFS(dir, os.DirFS(projectDir(t, "bundle"))))
	file := filepath.Join(dir, "manifests/metallb-operator.clusterserviceversion.yaml")
	text, err := os.ReadFile(file)
	must(t, err)
	_, version, _ := strings.Cut(csv, ".v")
	var major, minor, patch int
	_, err = fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch)
	must(t, err)
	later := fmt.Sprintf("%d.%d.%d", major, minor, patch+1)
	name = strings.TrimSuffix(csv, version) + later
	changed := bytes.ReplaceAll(text, []byte("\n  name: "+csv+"\n"), []byte("\n  name: "+name+"\n"))
	changed = bytes.ReplaceAll(changed, []byte("\n  version: "+version+"\n"), []byte("\n  version: "+later+"\n  replaces: "+csv+"\n"))
	if bytes.Count(changed, []byte(later)) != 2 {
		t.Fatalf("%s is not made of %s", name, file)
	}
	must(t, os.WriteFile(file, changed, 0o644))
	return name, dir
}

// outage is how a stream of requests fared.
type outage struct {
	made, failed int
	longest      time.Duration // from the first of a row of failures to the next answer
}

// admissionOutage asks the operator's webhooks about a pool that is wrong, ten times a second until ctx ends.
func admissionOutage(ctx context.Context, o *OLM) (seen outage) {
	wrong := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: metallbNamespace, Name: "wrong"},
		Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"198.51.100.0/28", "198.51.100.1/32"}}}
	var down time.Time
	for ctx.Err() == nil {
		err := o.Create(ctx, wrong.DeepCopy(), client.DryRunAll)
		if ctx.Err() != nil {
			break
		}
		seen.made++
		if apierrors.IsInvalid(err) {
			if !down.IsZero() {
				seen.longest = max(seen.longest, time.Since(down))
			}
			down = time.Time{}
		} else {
			seen.failed++
			if down.IsZero() {
				down = time.Now()
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return seen
}
