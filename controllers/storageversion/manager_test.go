package storageversion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"metallb.io/operator/internal/testenv"
)

const operatorNamespace = "metallb-system"

// Two replicas of the operator, both at it at once, with the operator's rights and no others. What makes them work is the
// change of the CRD alone.
func TestTwoReplicasWithTheOperatorsRights(t *testing.T) {
	w := newWorld(t)
	w.installRights()
	for range 2 {
		w.start()
	}
	w.store(peers, "v1beta1", w.in(peer("a"), peer("b"), peer("c"))...)
	w.store(pools, "v1alpha1", w.in(pool("a"))...)
	for crd, storage := range map[string]string{peers: "v1beta2", pools: "v1beta1"} {
		eventually(t, func() error {
			if got := w.crd(crd).Status.StoredVersions; !slices.Equal(got, []string{storage}) {
				return fmt.Errorf("the stored versions of %s are %v", crd, got)
			}
			return nil
		})
		if got := w.storedIn(crd, "a"); got != "metallb.io/"+storage {
			t.Errorf("a is stored in %s", got)
		}
		w.event("CustomResourceDefinition", metav1.NamespaceDefault, crd, ReasonMigrated)
	}
}

// installRights applies config/rbac's objects for the operator.
func (w *world) installRights() {
	w.t.Helper()
	ns := &corev1.Namespace{}
	ns.Name = operatorNamespace
	must(w.t, client.IgnoreAlreadyExists(w.Create(w.t.Context(), ns)))
	root, err := testenv.Root()
	must(w.t, err)
	for _, name := range []string{"operator_role.yaml", "operator_binding.yaml"} {
		f, err := os.Open(filepath.Join(root, "config", "rbac", name))
		must(w.t, err)
		defer func() { _ = f.Close() }()
		for dec := utilyaml.NewYAMLOrJSONDecoder(f, 4096); ; {
			o := &unstructured.Unstructured{}
			if err := dec.Decode(&o.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				w.t.Fatal(err)
			}
			if len(o.Object) > 0 {
				must(w.t, w.Apply(w.t.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("kubectl")))
			}
		}
	}
}

// start runs a replica until the test ends.
func (w *world) start() {
	w.t.Helper()
	access := rest.CopyConfig(w.config)
	access.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + operatorNamespace + ":metallb-operator",
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + operatorNamespace, "system:authenticated"},
	}
	mgr, err := ctrl.NewManager(access, ctrl.Options{
		Scheme:     w.Scheme(),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: ptr.To(true)}, // more than one in this process
	})
	must(w.t, err)
	r := &Reconciler{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Recorder: w.recorder(access), Ready: func() error { return nil }, Settle: 200 * time.Millisecond}
	must(w.t, r.SetupWithManager(mgr))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the replica ended with: %v", err)
		}
	})
}
