package olm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/test/e2e/product"
)

// version is one of the operator that follows the present one.
type version struct {
	csv, number string // metallb-operator.v0.1.1, v0.1.1
	// image of the operator and so of all it runs, and the bundle's: a directory, and where its image is.
	image, dir, bundle string
}

// makeVersion makes the version that is so many patches after the catalog's: another image, with a flaw, and its bundle.
func makeVersion(t *testing.T, o *OLM, patches int, flaw product.Flaw) version {
	t.Helper()
	ctx := product.Within(t, patience)
	start := time.Now()
	_, present, _ := strings.Cut(csv, ".v")
	var major, minor, patch int
	_, err := fmt.Sscanf(present, "%d.%d.%d", &major, &minor, &patch)
	product.Must(t, err)
	number := fmt.Sprintf("%d.%d.%d", major, minor, patch+patches)
	v := version{csv: strings.TrimSuffix(csv, present) + number, number: "v" + number, dir: filepath.Join(t.TempDir(), "bundle")}
	v.image, err = o.AddVersion(ctx, v.number, flaw)
	product.Must(t, err)

	product.Must(t, os.CopyFS(v.dir, os.DirFS(projectDir(t, "bundle"))))
	file := filepath.Join(v.dir, "manifests/metallb-operator.clusterserviceversion.yaml")
	text, err := os.ReadFile(file)
	product.Must(t, err)
	before := fmt.Sprintf("%s.v%d.%d.%d", strings.TrimSuffix(csv, ".v"+present), major, minor, patch+patches-1)
	for _, change := range []struct {
		from, to string
		times    int
	}{
		{"\n  name: " + csv + "\n", "\n  name: " + v.csv + "\n", 1},
		{"\n  version: " + present + "\n", "\n  version: " + number + "\n  replaces: " + before + "\n", 1},
		{operatorImage(t, text), v.image, 3}, // the Deployment, relatedImages, and for who reads it
	} {
		if n := bytes.Count(text, []byte(change.from)); n != change.times {
			t.Fatalf("%s: %q is there %d times, want %d", file, change.from, n, change.times)
		}
		text = bytes.ReplaceAll(text, []byte(change.from), []byte(change.to))
	}
	product.Must(t, os.WriteFile(file, text, 0o644))
	v.bundle, err = o.AddBundle(ctx, v.dir)
	product.Must(t, err)
	t.Logf("%s is made after %s: %s", v.csv, since(start), v.image)
	return v
}

// operatorImage is the image in the bundle that `make bundle` made.
func operatorImage(t *testing.T, csv []byte) string {
	t.Helper()
	const key = "containerImage: "
	for line := range strings.Lines(string(csv)) {
		if image, found := strings.CutPrefix(strings.TrimSpace(line), key); found {
			return image
		}
	}
	t.Fatalf("the ClusterServiceVersion has no %s", key)
	return ""
}

// rolledOut waits until controller and all speakers are of the version and nothing else is there any more.
func rolledOut(t *testing.T, o *OLM, v version) {
	t.Helper()
	ctx := product.Within(t, patience)
	product.Must(t, product.Until(ctx, "controller and speakers of "+v.number, func() (bool, error) {
		m, err := metallb(ctx, o)
		if err != nil {
			return false, err
		}
		have := map[string]bool{}
		for _, c := range m.Status.Conditions {
			have[c.Type] = c.Status == "True"
		}
		pods := operands(t, o)
		well := have[v1beta1.ConditionAvailable] && !have[v1beta1.ConditionProgressing] && !have[v1beta1.ConditionDegraded]
		return m.Status.ObservedVersion == v.number && well && len(pods) == 1+len(o.Nodes()) && !slices.ContainsFunc(pods, func(p corev1.Pod) bool {
			return image(p) != v.image || !ready(p)
		}), fmt.Errorf("observedVersion %s, %v, %d pods", m.Status.ObservedVersion, have, len(pods))
	}))
}

func metallb(ctx context.Context, o *OLM) (*v1beta1.MetalLB, error) {
	m := &v1beta1.MetalLB{}
	return m, o.Get(ctx, client.ObjectKey{Namespace: metallbNamespace, Name: "metallb"}, m)
}

// operands are the pods of controller and speakers.
func operands(t *testing.T, o *OLM) []corev1.Pod {
	t.Helper()
	pods := &corev1.PodList{}
	product.Must(t, o.List(t.Context(), pods, client.InNamespace(metallbNamespace), client.MatchingLabels{"app": "metallb"}))
	return pods.Items
}

func image(p corev1.Pod) string { return p.Spec.Containers[0].Image }

func ready(p corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// degraded waits until the MetalLB resource is Degraded for a reason, and returns what it says.
func degraded(t *testing.T, o *OLM, reason string) string {
	t.Helper()
	ctx := product.Within(t, patience)
	message := ""
	product.Must(t, product.Until(ctx, "MetalLB to be Degraded", func() (bool, error) {
		m, err := metallb(ctx, o)
		if err != nil {
			return false, err
		}
		c := meta.FindStatusCondition(m.Status.Conditions, v1beta1.ConditionDegraded)
		if c == nil || c.Status != "True" || c.Reason != reason {
			return false, fmt.Errorf("it is %+v", c)
		}
		message = c.Message
		return true, nil
	}))
	return message
}

// runs checks what the workloads are to run.
func runs(t *testing.T, o *OLM, controllers, speakers version) {
	t.Helper()
	ctx := product.Within(t, patience)
	key := func(name string) client.ObjectKey { return client.ObjectKey{Namespace: metallbNamespace, Name: name} }
	controller, speaker := &appsv1.Deployment{}, &appsv1.DaemonSet{}
	product.Must(t, o.Get(ctx, key("controller"), controller), o.Get(ctx, key("speaker"), speaker))
	if c, s := controller.Spec.Template.Spec.Containers[0].Image, speaker.Spec.Template.Spec.Containers[0].Image; c != controllers.image || s != speakers.image {
		t.Errorf("the controller is to run %s and the speakers %s, want %s and %s", c, s, controllers.image, speakers.image)
	}
}
